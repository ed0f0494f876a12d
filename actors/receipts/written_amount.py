"""The parts of a written amount: the number, its sign, and the currency signs beside it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from actors.receipts.currencies import Says, signs
from actors.receipts.plain import plain

MAX_LENGTH = 100  # characters
_NUMBER_HERE = "\x00"

# A point after a letter belongs to an abbreviation: `Rs.50`.
_NUMBER = re.compile(r"(?:(?<![^\W\d_])(?<!/)[.,])?[0-9](?:[0-9.,' ]*[0-9])?(?:[.,](?![\w.,]))?")
_NO_CENTS = re.compile(r"(?<=\d)([.,])\s?-{1,2}(?!\s?\d)")  # `12,-` and `CHF 12.--`
_INDIAN_END = re.compile(r"(?<=\d) ?/-{1,2}(?!\S)")  # `500/-`
GROUPED = re.compile(
    r"[1-9]\d{0,2}(?:([ '])\d{3})(?:\1\d{3})*(?:[.,]\d*)?"  # 1 234 567,50
    r"|[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?"  # 1,234,567.50
    r"|[1-9]\d{0,2}(?:\.\d{3})+(?:,\d*)?"  # 1.234.567,50
    r"|[1-9]\d?(?:,\d{2})+,\d{3}(?:\.\d*)?",  # 12,34,567.50
    re.ASCII,
)
PLAIN = re.compile(r"\d+([.,]\d*)?|[.,]\d+", re.ASCII)
EITHER = re.compile(r"[1-9]\d{0,2}([.,])\d{3}", re.ASCII)
_ACCOUNTING = re.compile(r"(?i)[cdhs]r?\.?|credit|debit|haben|soll")


@dataclass(frozen=True, slots=True)
class Parts:
    number: str  # digits and separators
    said: Sequence[Says] = ()  # what the signs beside it say about the currency
    negative: bool = False
    minus_last: bool = False


def split_amount(written: str) -> Parts:
    if PLAIN.fullmatch(written):
        return Parts(written)
    if len(written) > MAX_LENGTH or _NUMBER_HERE in written:
        raise ValueError("expected a number such as 1234.50")
    text = _NO_CENTS.sub(r"\g<1>00", plain(written))
    text = _INDIAN_END.sub("", text)
    match = _NUMBER.search(text)
    if match is None:
        raise ValueError("expected a number such as 1234.50")
    beside = f"{text[: match.start()]}{_NUMBER_HERE}{text[match.end() :]}"
    negative = False
    if "(" in beside or ")" in beside:
        inside = re.fullmatch(r"([^()]*)\(([^()]*)\)([^()]*)", beside)
        if inside is None or _NUMBER_HERE not in inside[2]:
            raise ValueError("found a parenthesis without its other half")
        beside, negative = " ".join(inside.groups()), True
    marks = re.findall("[-+]", beside)
    if len(marks) + negative > 1:
        raise ValueError("found more than one sign of plus or minus")
    if re.search(r"\S [-+] \S", beside):
        raise ValueError("found a dash between spaces, which may only separate the number from what is beside it")
    words = re.sub("[-+]", " ", beside).replace(_NUMBER_HERE, " ").strip()
    said = signs(words)
    if said is None:
        raise ValueError(_not_understood(words))
    return Parts(match[0], said, negative or marks == ["-"], "-" in beside.partition(_NUMBER_HERE)[2])


def _not_understood(words: str) -> str:
    if _ACCOUNTING.fullmatch(words):
        return f"found {words!r} beside the number; whether that is money in or out depends on the statement"
    return f"found {words[:40]!r} beside the number, expected a currency or nothing"
