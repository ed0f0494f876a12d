"""The names of months and weekdays in the languages of receipts."""

from functools import cache

from babel.dates import get_day_names, get_month_names

LANGUAGES = ("en", "he", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "da", "nb", "fi", "cs", "hu", "ro", "tr", "id")
_ELSEWHERE = {"lip", "lis", "listopad", "listopada", "srp"}  # in Croatian, where these are other months


def month(name: str) -> int | None:
    return months().get(name) or (months().get(name[1:]) if name.startswith("ב") else None)  # "in March", in Hebrew


@cache
def months() -> dict[str, int]:
    """Name or abbreviation → month, without those that mean different months in different languages."""
    found: dict[str, set[int]] = {"sept": {9}}
    for language in LANGUAGES:
        for width in ("wide", "abbreviated"):
            for context in ("format", "stand-alone"):
                for number, name in get_month_names(width, context, language).items():
                    found.setdefault(name.casefold().rstrip("."), set()).add(number)
    return {name: min(numbers) for name, numbers in found.items() if len(numbers) == 1 and name not in _ELSEWHERE}


@cache
def weekdays() -> list[tuple[str, set[int]]]:
    """Name or abbreviation, and the weekdays that it means in some language; Monday is 0. Longest names first."""
    found: dict[str, set[int]] = {}
    for language in LANGUAGES:
        for width in ("wide", "abbreviated"):
            for number, name in get_day_names(width, "format", language).items():
                found.setdefault(name.casefold().rstrip("."), set()).add(number)
    return sorted(found.items(), key=lambda item: -len(item[0]))
