"""The process that mails are parsed in, for some are made to kill whoever opens them.

It has little memory, little time for each mail, no secrets, and no way out but its pipes. It reads a length and a
JSON head, a length and the raw mail; it writes the same: what was judged, and the files one after the other.
"""

import json
import resource
import signal
import struct
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from actors.mail.judge import judge
from actors.mail.parts import UnreadableError, take_apart
from actors.mail.verdict import Context, Judged

MEMORY_BYTES = 768 * 1024 * 1024
SECONDS = 10
DAYS = ("day", "printed_day")
LENGTH = struct.Struct(">Q")


def main() -> None:
    # The whole dyno gets its signals: this one ends with its pipe, after the mail in hand.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # if the machine has no memory left, this process ends, and not the worker
        Path("/proc/self/oom_score_adj").write_text("1000")
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while (head := read_block(source)) is not None:
        raw = read_block(source) or b""
        signal.alarm(SECONDS)  # without a handler: it ends the process
        answer, files = work(json.loads(head), raw)
        signal.alarm(0)
        write_block(sink, json.dumps(answer).encode())
        write_block(sink, b"".join(files))
        del raw, answer, files  # or a large mail would be in memory until the next comes


def work(head: dict[str, Any], raw: bytes) -> tuple[dict[str, Any], list[bytes]]:
    context = Context(**{**head, "received_at": datetime.fromisoformat(head["received_at"])})
    try:
        mail = take_apart(raw)
        judged = judge(mail, context)
    except UnreadableError as error:
        return {"unreadable": error.code}, []
    except (RecursionError, MemoryError):
        return {"unreadable": "too_complex"}, []
    except Exception as error:  # a mail that our parser cannot take is one mail; its kind of error says enough
        return {"unreadable": f"parser_{type(error).__name__}"[:60]}, []
    return {"message_id": mail.message_id, **_as_json(judged)}, [file.content for file in judged.files]


def _as_json(judged: Judged) -> dict[str, Any]:
    files = [[file.content_type, len(file.content)] for file in judged.files]
    found: dict[str, Any] | None = None
    if judged.found is not None:
        money = judged.found.money
        days = {name: day and day.isoformat() for name in DAYS for day in [getattr(judged.found, name)]}
        found = {**asdict(judged.found), "money": [str(money.amount), money.currency], **days}
    said = {"is_receipt": judged.is_receipt, "reason": judged.reason, "rule": judged.rule}
    return {**said, "found": found, "files": files}


def read_block(source: IO[bytes]) -> bytes | None:
    """None at the end."""
    length = source.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(length)
    block = source.read(size)
    return block if len(block) == size else None


def write_block(sink: IO[bytes], block: bytes) -> None:
    sink.write(LENGTH.pack(len(block)))
    sink.write(block)
    sink.flush()


if __name__ == "__main__":
    main()
