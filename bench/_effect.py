"""What every contender's actor does: counts its calls, and records how long its message took to arrive."""

import mmap
import os
import struct
import time
from pathlib import Path
from threading import Lock

COUNT = struct.Struct("q")

_lock = Lock()
_count = 0
_files: dict[int, tuple[mmap.mmap, int]] = {}  # by process: a worker may fork


def effect(sent_at: float) -> None:
    """`sent_at`: seconds since 1970, or 0 if the latency is not measured."""
    global _count
    arrived = time.time()
    with _lock:
        if os.getpid() not in _files:
            _count = 0
            _files[os.getpid()] = _open(Path(os.environ["BENCH_EFFECTS"]))
        count, latencies = _files[os.getpid()]
        _count += 1
        COUNT.pack_into(count, 0, _count)
        if sent_at:
            os.write(latencies, f"{arrived - sent_at}\n".encode())


def _open(folder: Path) -> tuple[mmap.mmap, int]:
    count = folder / f"{os.getpid()}.count"
    count.write_bytes(COUNT.pack(0))
    with count.open("r+b") as file:
        return mmap.mmap(file.fileno(), COUNT.size), os.open(
            folder / f"{os.getpid()}.latency", os.O_CREAT | os.O_WRONLY
        )


def total(folder: Path) -> int:
    """The number of calls, in all processes."""
    return sum(COUNT.unpack(file.read_bytes())[0] for file in folder.glob("*.count") if file.stat().st_size)


def latencies(folder: Path) -> list[float]:
    """Seconds from send to start, for messages sent with a time."""
    return [float(line) for file in folder.glob("*.latency") for line in file.read_text().splitlines()]
