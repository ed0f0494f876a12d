"""What the amounts of one file prove about points and commas: which are decimal points, and which group thousands."""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

from actors.receipts.written_amount import EITHER, GROUPED, split_amount

Written = str | int | float | Decimal  # text, or a JSON number


@dataclass
class Separators:
    """The amounts of one file, seen one by one: which uses of separators do they prove?"""

    points: set[str] = field(default_factory=set)  # decimal points
    groups: set[str] = field(default_factory=set)  # thousands separators
    ungrouped: str | None = None  # the first amount above 999 without a separator
    open: str | None = None  # the first amount with one separator before exactly three digits

    def see(self, written: Written) -> None:
        if not isinstance(written, str):
            with suppress(ArithmeticError):  # out of range; the line itself will report it
                if Decimal(str(written)) % 1:
                    self.points.add(".")
            return
        try:
            number = split_amount(written).number
        except (ValueError, ArithmeticError):
            return
        if EITHER.fullmatch(number):
            self.open = self.open or written
            return
        last = max(number.rfind("."), number.rfind(","))
        if last >= 0 and number.count(number[last]) == 1:
            self.points.add(number[last])
        if GROUPED.fullmatch(number):
            self.groups.add(next(c for c in number if not c.isdigit()))
        elif len(re.split("[.,]", number)[0].lstrip("0")) > 3:
            self.ungrouped = self.ungrouped or written

    def doubt(self, separator: str) -> str | None:
        """Why a lone separator before three digits may not group thousands; None if it does."""
        if separator in self.points:
            return f"{separator!r} is the decimal point of other amounts here"
        if self.groups and separator not in self.groups:
            return f"other amounts here group their thousands with {min(self.groups)!r}"
        if self.ungrouped is not None and not self.points and not self.groups:
            return f"other amounts here do not group their thousands ({self.ungrouped[:40]})"
        return None

    def explain(self) -> str | None:
        """What was decided without proof, as a sentence for the file's owner."""
        if self.open is None or self.points or self.groups or self.ungrouped:
            return None
        return f"Amounts such as {self.open[:40]} are read as thousands: no amount of this file proves otherwise."


NOTHING_PROVEN = Separators()
