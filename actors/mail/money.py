"""Amounts of money within a line of text, each read by the strict parser or not at all."""

import re
from dataclasses import dataclass

from actors.mail.verdict import DOLLARS, Context
from actors.receipts.amounts import Money, read_money
from actors.receipts.currencies import MINOR_UNITS
from actors.receipts.plain import plain

_CODES = "|".join(sorted(MINOR_UNITS))
_SIGN = (
    rf"(?:(?:{_CODES})(?![A-Za-z])|NIS(?![A-Za-z])|(?:US|CA|AU|NZ|HK|SG|MX|NT|[ACRS])?\$|[€£¥₪₹₩₽₺₴₫฿₱₦₡₲]|ש[\"']{{1,2}}ח|שח(?![א-ת])"
    r"|RM(?![A-Za-z])|Rs\.?(?![A-Za-z])|Rp(?![A-Za-z])|kr\.?(?![A-Za-z])|zł|Kč|Ft(?![A-Za-z])|CHF|lei(?![A-Za-z]))"
)
_NUMBER = r"(?:\d{1,3}(?:[ ']\d{3})+(?:[.,]\d{1,2})?|\d[\d.,]*\d|\d)(?:[.,]-{1,2})?"
_MONEY = re.compile(
    rf"(?<![\w.,/#-])(?<!\d:)(?P<open>\()?(?P<minus>- ?)?(?P<before>{_SIGN} ?)?(?P<minus2>- ?)?(?P<number>{_NUMBER})"
    rf"(?![\d%]|[.,:/-]\d| ?%)(?P<after>-(?!\d)| ?{_SIGN})?(?P<close>\))?"
)
_OVERRIDES = re.compile("[\u202d\u202e]")  # what is seen is not what is read: 00.5 for 5.00
_GOES_ON = re.compile(  # 1e5, 5k, 1.2 million
    r"(?<=\d)(?:[^\W\d_]|[¼½¾]"
    r"| (?:k|m|mn|mio|bn|mrd|tsd|thousand|million|billion|lakh|crore|אלף|אלפים|מיליון|מיליארד)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Seen:
    """An amount that stands in a line."""

    money: Money | None  # None: what stands there cannot be read beyond doubt
    start: int
    end: int
    has_currency: bool


def amounts_in(line: str, context: Context, currency: str | None = None) -> list[Seen]:
    """Every amount with a currency, and every number with cents where `currency` or the connection says which.

    The line must be `plain`.
    """
    found = []
    is_turned = bool(_OVERRIDES.search(line))
    for match in _MONEY.finditer(line):
        has_currency = bool(match["before"] or (match["after"] or "-") != "-")
        default = currency or context.currency
        if not has_currency and (default is None or not re.search(r"[.,]\d{2}$", match["number"])):
            continue
        in_doubt = is_turned or _GOES_ON.match(line, match.end())
        money = None if in_doubt else _read(match, default)
        found.append(Seen(money, match.start(), match.end(), has_currency))
    return found


def _read(match: re.Match[str], default: str | None) -> Money | None:
    written = match[0].strip()
    if bool(match["open"]) != bool(match["close"]):  # a parenthesis of the text around it
        written = written.strip("()")
    written = re.sub(r"(?<=-) (?=\S)", "", written)
    try:
        return read_money(written, default=default or (DOLLARS if "$" in written else None))
    except ValueError:
        return None


def plain_line(line: str) -> str:
    return re.sub(r" +", " ", plain(line.replace("\t", " \x1f "))).replace(" \x1f ", "\t").replace("\x1f", "\t")
