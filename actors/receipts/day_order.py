"""What the days of one file prove about the order of day, month and year."""

from dataclasses import dataclass, field
from datetime import date

from actors.receipts.days import Order, readings_of, shortened
from actors.receipts.times import without_time


@dataclass(frozen=True)
class Rule:
    """How to read a day that can be read in more than one order. None: not at all."""

    order: Order | None = Order.DAY_FIRST
    known: bool = False  # proven by the file or chosen by its owner: it gives the year's position
    strict: bool = False  # chosen by its owner: a day that can only be read in another order is refused
    year_open: bool = False  # two-digit years may come first in this file


DEFAULT = Rule()


@dataclass
class Evidence:
    """The days of one file, seen one by one: which orders do they prove?

    A day proves an order if no other order makes it a real day. If a two-digit year would be in the future when read
    first, it is last.
    """

    today: date
    proofs: dict[Order, str] = field(default_factory=dict)  # with the first day that proves it
    year_last: bool = False
    open: str | None = None  # the first day that reads in more than one order
    year_open: bool = False  # a day whose year makes more sense at its start

    def see(self, written: str) -> None:
        try:
            readings = readings_of(without_time(shortened(written))[0])
        except ValueError:
            return
        first = readings.get(Order.YEAR_FIRST)
        if first is not None and len(readings) > 1:
            last = [day for order, day in readings.items() if order is not Order.YEAR_FIRST]
            if first > self.today:
                self.year_last = True
                del readings[Order.YEAR_FIRST]
            elif all(day.year < first.year or day > self.today for day in last):
                self.year_open = True
        if len(readings) == 1:
            self.proofs.setdefault(next(iter(readings)), written)
        elif len(set(readings.values())) > 1:
            self.open = self.open or written

    def rule(self) -> Rule:
        open_year = self.year_open and not self.year_last
        if not self.proofs:
            return Rule(known=self.year_last, year_open=open_year)
        order = next(iter(self.proofs)) if len(self.proofs) == 1 else None
        return Rule(order, known=not open_year or order is Order.YEAR_FIRST, year_open=open_year)

    def explain(self) -> str:
        """What the days prove, as a sentence for the file's owner."""
        if not self.proofs:
            return f"Days such as {self.open} are read day-first: no day of this file proves an order (see --dates)."
        proven = " and ".join(f"{order} ({written})" for order, written in self.proofs.items())
        if len(self.proofs) == 1:
            return f"Days are read as other days of this file prove: {proven}."
        return f"Days such as {self.open} are skipped, because others of this file prove {proven}; choose with --dates."
