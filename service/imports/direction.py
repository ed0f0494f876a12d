"""A column that says whether an amount was spent or came back: used if its owner says so, never silently ignored."""

import re

from actors.receipts.amounts import Money
from service.imports.cells import text_of
from service.imports.columns import NAMES, Layout, key_of_name
from service.imports.rows import Row

_OUT = {"debit", "dr", "dbit", "d", "out", "outgoing", "expense", "purchase", "sale", "withdrawal", "soll", "s", "af",
        "חובה", "+", "no", "false", "0"}  # fmt: skip
_IN = {"credit", "cr", "crdt", "c", "in", "incoming", "income", "deposit", "haben", "h", "bij", "זכות", "-", "yes",
       "true", "1"}  # fmt: skip
_IN_WORDS = re.compile(
    r".*(refund|\breturn|revers|revert|charge ?back|credit(?! ?card)|gutschrift|erstattung|rembours|reimburs|abono|"
    r"devoluci|estorno|zwrot|avoir|storno|uznanie|money in|transfer in|inflow|received|top ?-?up|זיכוי|החזר|"
    r"declin|cancel|void|fail|reject|denied|refused|abgelehnt|expired|error|deleted|removed).*"
)


def directed(row: Row, layout: Layout, money: Money, *, told: bool) -> Money:
    """The amount with its sign; `told`: the owner has named the column. ValueError if in doubt."""
    for position in layout.money_in:
        text = text_of(row.cells[position]) if position < len(row.cells) else None
        if text is not None and any(c in "123456789" for c in text):
            raise ValueError(f"found {text[:40]} in the column {row.names[position].strip()!r}: that is not an expense")
    signs = {
        _sign(row, position, money, told=told) for tier in layout.tiers.get("direction", ()) for position in tier
    } - {0}
    if len(signs) > 1:
        raise ValueError("found two directions, expected one, or --columns direction=NAME")
    return Money(-money.amount, money.currency) if signs == {-1} and money.amount else money


def _sign(row: Row, position: int, money: Money, *, told: bool) -> int:
    """1 for an expense, -1 for money that came back, 0 if the word says neither."""
    name = row.names[position].strip()[:40]
    cell = row.cells[position] if position < len(row.cells) else None
    word = (text_of(str(cell) if isinstance(cell, bool) else cell) or "").casefold().rstrip(".")
    strict = told or key_of_name(name) not in NAMES["direction"][1]  # the others often hold something else
    if (word in _IN and (strict or len(word) > 1 or word == "c")) or _IN_WORDS.fullmatch(word):
        sign = -1
    elif word in _OUT and (strict or len(word) > 1):
        sign = 1
    elif strict and (word or told):
        raise ValueError(f"{name} {word[:40]!r}: expected a word such as debit or credit")
    else:
        return 0
    if money.amount < 0:
        raise ValueError(
            f"found {word[:40]!r} in the column {name!r} and a minus: a purchase or a refund? "
            "--columns direction= takes amounts as written"
        )
    if sign < 0 and not told:
        raise ValueError(
            f"found {word[:40]!r} in the column {name!r}: --columns 'direction={name}' makes such amounts negative, "
            "and --columns direction= takes them as written"
        )
    return sign
