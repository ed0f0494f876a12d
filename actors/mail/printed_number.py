"""The number that is printed on a receipt: it tells the next one from a copy of the last."""

import re
from collections.abc import Iterable

_PAPER = (
    r"(?:\b(?:invoice|receipt|order|credit note|document)"
    r"|(?<![א-ת])[הב]?(?:חשבונית(?: מס| זיכוי)?(?: ?/? ?קבלה)?|קבלה|הזמנה|מסמך))"
)
_MARK = r"(?: (?:no|nr|number|id)\b\.?| מס(?:'|פר)?(?![א-ת])| ?[:#])[ :#]*"
_MARKED = r"(?P<marked>[A-Z]{0,5}[-/]?\d[\w/-]{0,30})"
_BARE = r"(?P<bare>[A-Z]{0,5}[-/]?\d[\w/-]{2,30})"  # two digits may be a day
_NUMBER = re.compile(rf"{_PAPER}(?:{_MARK}{_MARKED}| {_BARE})(?![.,]\d|\w)", re.IGNORECASE)
_NONE = re.compile(r"(?:19|20)\d\d|\d{1,4}([/-])\d{1,4}(\1\d{1,4})?")  # a year, a month or a day


def printed_number(lines: Iterable[str]) -> str | None:
    """The first one, in capitals; the lines must be `plain`."""
    for line in lines:
        for match in _NUMBER.finditer(line):
            number = match["marked"] or match["bare"]
            if not _NONE.fullmatch(number):
                return number.upper()
    return None
