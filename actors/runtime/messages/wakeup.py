"""What wakes the fetcher: notifications on its session, and a pipe for other threads."""

import os
import select
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection


class Wakeup:
    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def wake(self) -> None:
        with suppress(BlockingIOError, OSError):
            os.write(self._write, b".")

    def wait(self, session: Connection | None, seconds: float) -> None:
        """Sleeps until another thread wakes us, a message is sent to a queue of `session`, or the time is up."""
        sockets: list[Any] = [self._read]
        connection = None if session is None else session.connection.driver_connection
        if connection is not None:
            if connection.notifies:  # it came with the claim's response, and may be newer than what the claim saw
                connection.notifies.clear()
                return
            sockets.append(connection)
        select.select(sockets, [], [], seconds)
        with suppress(BlockingIOError):
            os.read(self._read, 65536)
        if connection is not None:
            connection.poll()
            connection.notifies.clear()
