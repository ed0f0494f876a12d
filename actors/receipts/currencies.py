"""Currencies: the codes of ISO 4217, and the signs and abbreviations that people write beside an amount."""

import re
from collections.abc import Iterable
from functools import lru_cache

from iso4217 import Currency

from actors.receipts.plain import plain

# Replaced in recent years: there are still receipts in them.
_WITHDRAWN = {"ANG": 2, "BGN": 2, "CUC": 2, "HRK": 2, "SLL": 2, "ZWL": 2}

# Metals, baskets and test codes have no minor unit, and nothing is paid in them.
MINOR_UNITS: dict[str, int] = {c.code: c.exponent for c in Currency if c.exponent is not None} | _WITHDRAWN

_DOLLARS = {"A": "AUD", "AU": "AUD", "B": "BND", "Bds": "BBD", "BZ": "BZD", "C": "CAD NIO", "CA": "CAD", "CI": "KYD",
            "EC": "XCD", "FJ": "FJD", "G": "GYD", "HK": "HKD", "J": "JMD", "MX": "MXN", "N": "NAD", "NT": "TWD",
            "NZ": "NZD", "S": "SGD", "SG": "SGD", "TT": "TTD", "US": "USD"}  # fmt: skip

# Sign, in lower case → the currencies that it may mean. Empty: it can mean any currency.
_SIGNS: dict[str, str] = {
    "$": "", "€": "EUR", "₪": "ILS", "₹": "INR", "₩": "KRW", "₽": "RUB", "₺": "TRY", "₴": "UAH", "₸": "KZT",
    "₫": "VND", "đ": "VND", "฿": "THB", "₱": "PHP", "₦": "NGN", "₾": "GEL", "₡": "CRC", "₲": "PYG", "₵": "GHS",
    "₭": "LAK", "₮": "MNT", "₼": "AZN", "円": "JPY", "원": "KRW", "r$": "BRL", "e£": "EGP",
    "¥": "JPY CNY", "元": "CNY TWD", "£": "GBP EGP FKP GIP LBP SDG SHP SSP SYP",
    "rm": "MYR", "rp": "IDR", 'ש"ח': "ILS", "ש''ח": "ILS", "שח": "ILS", "tl": "TRY", "zł": "PLN",
    "zl": "PLN", "kč": "CZK", "лв": "BGN", "руб": "RUB", "р": "RUB", "грн": "UAH", "sfr": "CHF", "ksh": "KES",
    "kshs": "KES", "tsh": "TZS", "ush": "UGX", "dh": "AED MAD", "dhs": "AED MAD", "s/": "PEN", "b/": "PAB",
    "lei": "RON MDL", "din": "RSD", "fr": "CHF XAF XOF XPF", "kr": "SEK NOK DKK ISK", "bs": "BOB VES",
    "rs": "INR PKR LKR NPR MUR SCR", "kd": "KWD", "bd": "BHD", "dt": "TND", "د.إ": "AED", "د.ك": "KWD", "ر.س": "SAR",
    "ج.م": "EGP", "﷼": "SAR OMR QAR YER IRR",
}  # fmt: skip
for country, code in _DOLLARS.items():
    _SIGNS[f"{country}$".lower()] = code
    if len(country) == 2:
        _SIGNS[f"${country}".lower()] = code  # in French
_SIGNS["₨"] = _SIGNS["rs"]
_EXACT = {
    "R": "ZAR",
    "NIS": "ILS",
    "RMB": "CNY",
    "JP¥": "JPY",
    "CN¥": "CNY",
    "Q": "GTQ",
    "KM": "BAM",
    "Ft": "HUF",
}  # in lower case some are words or units
_WORDS = {"ALL", "CUP", "TOP"}  # count as codes only if something else agrees
_PREFERRED = {"£": "GBP", "C$": "CAD"}  # what a sign means by default
_DOTTED = re.compile(r"(?i)(rs|fr|sfr|kr|rp|лв|руб|грн|р|din|s/|b/|bs|dhs?|kshs?)\.")

_APART = re.compile(r"[A-Z]{2} \$|\$ [A-Z]{2}")  # `US $`
_CODE_AND_SIGN = re.compile(r"([A-Z]{3})(\W)|(\W)([A-Z]{3})")

_WRITTEN_WITH_DOLLAR = {code for codes in _DOLLARS.values() for code in codes.split()}
_WRITTEN_WITH_DOLLAR |= {"ARS", "BMD", "BRL", "BSD", "CLP", "COP", "CUP", "DOP", "LRD", "MOP", "SBD", "SRD", "TOP"}
_WRITTEN_WITH_DOLLAR |= {"UYU", "WST", "ZWL"}


class Says:
    """What a sign or a code means: the possible `codes` (empty: any), and the default among them."""

    __slots__ = ("codes", "preferred", "written")

    def __init__(self, written: str, codes: frozenset[str], preferred: str | None) -> None:
        self.written, self.codes, self.preferred = written, codes, preferred


@lru_cache(maxsize=4096)
def sign(written: str) -> Says | None:
    """The meaning of one word beside an amount: `€`, `RM`, `A$`, `EUR`. None if it is not a currency sign.

    Codes count only in capitals: `cup`, `all` and `try` are words.
    """
    if written in MINOR_UNITS:
        return Says(written, frozenset({written}), None if written in _WORDS else written)
    if written in _EXACT:
        return Says(written, frozenset({_EXACT[written]}), _EXACT[written])
    short = written[:-1] if _DOTTED.fullmatch(written) else written
    found = _SIGNS.get(short.lower())
    if found is None:
        return None
    codes = frozenset(found.split())
    return Says(written, codes, next(iter(codes)) if len(codes) == 1 else _PREFERRED.get(short))


def signs(written: str) -> list[Says] | None:
    """The meaning of everything beside an amount, word by word: `US$`, `€`, `CAD $`, `CAD$`. None: not understood."""
    found = []
    for word in [written.replace(" ", "")] if _APART.fullmatch(written) else written.split():
        said = [sign(word)]
        if said == [None] and (halves := _CODE_AND_SIGN.fullmatch(word)):
            said = [sign(half) for half in halves.groups() if half]
        for one in said:
            if one is None:
                return None
            found.append(one)
    return found


def read_currency(written: str) -> str:
    """A currency column, or --currency: a code in any case, or a sign with a single meaning. ValueError otherwise."""
    text = plain(written)
    if re.fullmatch(r"[A-Za-z]{3}", text) and text.upper() in MINOR_UNITS:
        return text.upper()
    said = sign(text)
    if said is None:
        raise ValueError(f"currency {written!r}: expected a code of ISO 4217, such as EUR")
    if said.preferred is None:
        several = " or ".join(sorted(said.codes)) or "of many countries"
        raise ValueError(f"currency {written!r}: it is {several}; expected a code of ISO 4217, such as EUR")
    return said.preferred


def agree(found: Iterable[Says], column: str | None, default: str | None) -> str:
    """The currency that the signs beside an amount and its column agree on; `default` if none is given.

    ValueError if they disagree, or if the signs leave it open.
    """
    all_said = list(found)
    said = [one for one in all_said if one.codes]
    if len(said) < len(all_said) and any(_WRITTEN_WITH_DOLLAR.isdisjoint(one.codes) for one in said):
        raise ValueError(f"found '$' and {said[0].written!r}, expected one currency")
    if column is not None:
        for one in said:
            if column not in one.codes:
                raise ValueError(f"found {one.written!r} beside the amount, but the currency is {column}")
        return column
    if not said:
        if default is None:
            raise ValueError("found no currency, expected a code or a sign")
        return default
    common = frozenset.intersection(*(one.codes for one in said))
    if not common:
        raise ValueError(f"found {' and '.join(repr(one.written) for one in said)}, expected one currency")
    preferred = next((one.preferred for one in said if one.preferred in common), None)
    if default in common and (preferred is None or len(said[0].codes) > 1):
        return default
    if preferred is not None:
        return preferred
    several = " or ".join(sorted(common))
    raise ValueError(f"found {said[0].written!r}, which is {several}; expected a currency column to say which")
