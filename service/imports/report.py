"""The report at the end of an import, on streams that may be closed."""

import re
import sys
from collections import Counter
from pathlib import Path

from service.console import say
from service.imports.importer import Outcome

MAX_ALIKE = 10  # lines with the same problem that are listed individually


def report(file: Path, outcome: Outcome) -> None:
    """Lists what was skipped on stderr, and what was done on stdout."""
    alike: Counter[str] = Counter()
    for line in sorted(outcome.unread, key=_number):
        why = line.partition(": ")[2]
        alike[why] += 1
        if alike[why] <= MAX_ALIKE:
            say(f"{file}, {line}", sys.stderr)
    for why, times in alike.items():
        if times > MAX_ALIKE:
            say(f"{file}, {times - MAX_ALIKE} more lines: {why}", sys.stderr)
    for note in outcome.notes:
        say(note, sys.stdout)
    say(
        f"{outcome.made} receipts created, {outcome.known} existed already, "
        f"{outcome.uploaded} files uploaded, {len(outcome.unread)} lines could not be read",
        sys.stdout,
    )


def _number(line: str) -> int:
    found = re.search(r"\d+", line)
    return int(found[0]) if found else 0
