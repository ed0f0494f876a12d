"""A worker whose actor inserts a row for each message: what test_queue.py counts."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import local

import dramatiq
import psycopg2

from actors.runtime.base.config import load_settings
from actors.runtime.base.log import set_up_logging
from actors.runtime.worker.process import Process

ROOT = Path(__file__).parent.parent.parent
THREADS = 4

_thread = local()


def start(environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "dramatiq", "tests.system.inserting:set_up", "-p", "1", "-t", str(THREADS)],
            cwd=ROOT,
            env={**environment, "PATH": os.environ["PATH"], "WORKER_THREADS": str(THREADS)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def insert(n: int) -> None:
    """In a transaction of its own: it can be done twice, and then there are two rows."""
    if not hasattr(_thread, "connection") or _thread.connection.closed:
        _thread.connection = psycopg2.connect(os.environ["DATABASE_URL"])
        _thread.connection.autocommit = True
    with _thread.connection.cursor() as cursor:
        cursor.execute("INSERT INTO effects (n, process) VALUES (%s, %s)", (n, os.getpgrp()))


def kill(_n: int) -> None:
    """What a bug in a library of C does, or the kernel when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def set_up() -> None:
    settings = load_settings()
    set_up_logging(settings.LOG_FORMAT)
    broker = Process(settings).broker()
    dramatiq.actor(insert, broker=broker, queue_name="low", max_retries=100, min_backoff=100, max_backoff=1000)
    dramatiq.actor(kill, broker=broker, queue_name="low")
    dramatiq.set_broker(broker)
