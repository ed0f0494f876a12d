"""The time that may follow a day, with its zone."""

import re
from datetime import UTC, time, timedelta, timezone

_TIME = re.compile(
    r"(?P<day>.+?)(?:T|\s*,\s*|\s+)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII,
)
_COMPACT_TIME = re.compile(r"(\d{8})T(\d{2})(\d{2})(\d{2})(Z|[+-]\d{2}:?\d{2})?", re.ASCII)
_DAY_WITH_OFFSET = re.compile(r"(\d{4}-\d{2}-\d{2})(?:Z|[+-]\d{2}:\d{2})", re.ASCII)  # as in XML


def without_time(text: str) -> tuple[str, time | None]:
    """The day's text and its time, if it has one."""
    if compact := _COMPACT_TIME.fullmatch(text):
        day, hour, minute, second, zone = compact.groups()
        return day, time(int(hour), int(minute), int(second), tzinfo=_zone(zone))
    if bare := _DAY_WITH_OFFSET.fullmatch(text):
        return bare[1], None  # the day as written, in whatever zone
    match = _TIME.fullmatch(text)
    if match is None:
        return text, None
    hour = int(match["hour"])
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("expected an hour from 1 to 12 before AM or PM")
        hour = hour % 12 + (12 if match["half"] in "Pp" else 0)
    part = int((match["part"] or "0").ljust(6, "0")[:6])
    return match["day"], time(hour, int(match["minute"]), int(match["second"] or 0), part, _zone(match["zone"]))


def _zone(written: str | None) -> timezone:
    if written in (None, "Z", "UTC", "GMT"):
        return UTC
    digits = written[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if written[0] == "-" else offset)
