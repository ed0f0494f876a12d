"""The worker's side of the process that parses mails (child.py): it is started, watched, and replaced when it dies."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from threading import Timer
from typing import Any

from actors.mail.child import DAYS, SECONDS, read_block, write_block
from actors.mail.parts import File
from actors.mail.verdict import Context, Found, Judged
from actors.receipts.amounts import Money

ROOT = Path(__file__).parent.parent.parent
GRACE_SECONDS = 2  # for the child's own alarm
TRIES = 2  # of a mail whose child was ended at once: somebody else may have killed it


@dataclass(frozen=True)
class Parsed:
    """`unreadable` says why there is no judgement."""

    message_id: str = ""
    judged: Judged | None = None
    unreadable: str | None = None


class Parser:
    """One child, for one job. One call at a time."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._ended = False

    def parse(self, raw: bytes, context: Context) -> Parsed:
        head = {
            "received_at": context.received_at.isoformat(),
            "currency": context.currency,
            "timezone": context.timezone,
            "dates": context.dates,
        }
        for left in reversed(range(TRIES)):
            began = time.monotonic()
            try:
                return self._ask(json.dumps(head).encode(), raw)
            except (OSError, EOFError, ValueError):  # the last of a pipe that was closed
                self.close()
                if self._ended:
                    raise
                took_long = time.monotonic() - began > SECONDS / 2
                if took_long or not left:
                    return Parsed(unreadable="takes_too_long" if took_long else "parser_died")
        raise AssertionError

    def _ask(self, head: bytes, raw: bytes) -> Parsed:
        child = self._child = self._child or start()
        if self._ended:  # … while it was started
            self.close()
            raise EOFError
        assert child.stdin is not None
        assert child.stdout is not None
        watch = Timer(SECONDS + GRACE_SECONDS, child.kill)
        watch.daemon = True
        watch.start()
        try:
            write_block(child.stdin, head)
            write_block(child.stdin, raw)
            said, files = read_block(child.stdout), read_block(child.stdout)
        finally:
            watch.cancel()
        if said is None or files is None:
            raise EOFError
        return _parsed(json.loads(said), files)

    def end(self) -> None:
        """The job is over. A call that was left behind starts no other child."""
        self._ended = True
        self.close()

    def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            for pipe in (child.stdin, child.stdout):
                try:
                    if pipe is not None:
                        pipe.close()
                except OSError:  # it held what the child had not read
                    pass
            child.wait()


def start() -> "subprocess.Popen[bytes]":
    """Without our environment: it holds secrets."""
    return subprocess.Popen(
        [sys.executable, "-m", "actors.mail.child"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _parsed(said: dict[str, Any], content: bytes) -> Parsed:
    if "unreadable" in said:
        return Parsed(unreadable=said["unreadable"])
    found, at, files = None, 0, []
    if said["found"] is not None:
        amount, currency = said["found"]["money"]
        days = {name: day and date.fromisoformat(day) for name in DAYS for day in [said["found"][name]]}
        found = Found(**{**said["found"], "money": Money(Decimal(amount), currency), **days})
    for content_type, size in said["files"]:
        files.append(File(content_type, content[at : at + size], inline=False))
        at += size
    judged = Judged(said["is_receipt"], said["reason"], said["rule"], found, files)
    return Parsed(said["message_id"], judged)
