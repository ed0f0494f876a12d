"""The grand total in the lines of a mail: the amount after the words that say so, or none where that is in doubt."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from actors.mail.money import Seen, amounts_in
from actors.mail.verdict import Context
from actors.mail.words import NO_TOTAL, TAX_AFTER, TOTALS
from actors.receipts.amounts import Money
from actors.receipts.currencies import read_currency

MAX_LABEL = 60  # characters before an amount …
MOST_WORDS = 4  # … and words beside those of the total: what says more is a sentence
_NAMED = re.compile(r"\(?\b([A-Z]{3})\b\)?")


@dataclass(frozen=True)
class Total:
    """What the strongest words say: one amount, or None where there are several or one that can't be read."""

    money: Money | None
    rank: int


def find_total(lines: Sequence[str], context: Context, *, is_credit: bool) -> Total | None:
    """None: no words of a total stand before any amount."""
    found: dict[int, set[Money | None]] = {}
    for rank, money in _labelled(lines, context):
        if rank == 6 and not is_credit:
            continue
        if money is None or money.amount:  # "balance due: 0.00" stands below what was paid
            found.setdefault(rank, set()).add(money)
    if not found:
        return None
    rank = max(found)
    values = {money if money is None or is_credit is False else _negated(money) for money in found[rank]}
    return Total(next(iter(values)) if len(values) == 1 else None, rank)


def _negated(money: Money) -> Money:
    return Money(-abs(money.amount), money.currency)


def _labelled(lines: Sequence[str], context: Context) -> Iterator[tuple[int, Money | None]]:
    for number, line in enumerate(lines):
        seen = amounts_in(line, context, _named_currency(line))
        label = line[: seen[0].start] if seen else line
        rank = rank_of(label)
        if rank is None:
            continue
        if seen:
            yield rank, _the_one(line, seen)
        elif len(line) <= MAX_LABEL and number + 1 < len(lines) and not re.search(r"\d", line):
            after = amounts_in(lines[number + 1], context, _named_currency(line))
            if after and not lines[number + 1][: after[0].start].strip(" \t:("):
                yield rank, _the_one(lines[number + 1], after)


def rank_of(label: str) -> int | None:
    """Which total the words before an amount name; None for another amount, and for a sentence."""
    label = re.split(r"\t|(?<=\d) {2,}", label.strip())[-1].strip() if "\t" in label.strip() else label.strip()
    if not label or len(label) > MAX_LABEL or NO_TOTAL.search(label):
        return None
    for rank, words in TOTALS:
        if match := words.search(label):
            beside = f"{label[: match.start()]} {re.sub(r'[(].*?[)]', '', label[match.end() :])}"
            return rank if len(beside.split()) <= MOST_WORDS else None
    return None


def _the_one(line: str, seen: Sequence[Seen]) -> Money | None:
    """The only amount of its line, or the first where what follows says the tax within it."""
    first = seen[0]
    rest = [one for one in seen[1:] if one.money != first.money]
    if not rest or TAX_AFTER.search(line[first.end : rest[0].start]):
        return first.money
    return None


def _named_currency(line: str) -> str | None:
    """`Total (USD): 12.00`"""
    for match in _NAMED.finditer(line):
        try:
            return read_currency(match[1]) if match[1].isupper() else None
        except ValueError:
            continue
    return None
