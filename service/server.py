"""The web processes' worker: gunicorn starts, watches and replaces it; waitress reads and writes in one event loop.

So a client that is slow, silent or never reads costs an entry in a table and no thread: the application gets a request
once it has been read completely, and the response is written after its thread has moved on. Every phase of a connection
has its own deadline; there are no limits per address, because behind a router all clients share one.
"""

import logging
import os
import socket
import time
from contextlib import suppress
from typing import Any

from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.workers.base import Worker as GunicornWorker
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer, UnixWSGIServer

from actors.runtime.base.config import load_settings
from service.credentials import cookie_name
from service.loop import Sockets
from service.places import Places, connection_limit
from service.refusals import MAX_BODY_BYTES, MAX_HEAD_BYTES
from service.turns import Turns


class _TcpServer(Places, TcpWSGIServer):  # type: ignore[misc]
    pass


class _UnixServer(Places, UnixWSGIServer):  # type: ignore[misc]
    pass


class _Wakeup(wasyncore.file_dispatcher):  # type: ignore[misc]
    """Ends a turn of the loop when a signal arrives: gunicorn writes into this pipe."""

    def handle_read(self) -> None:
        with suppress(OSError):
            self.recv(4096)

    def writable(self) -> bool:
        return False


class Logger(GunicornLogger):  # type: ignore[misc]
    """`gunicorn --logger-class service.server.Logger`: its lines go where ours go, and never wait for a reader."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True


class Worker(GunicornWorker):  # type: ignore[misc]
    """`gunicorn --worker-class service.server.Worker --threads N`."""

    def run(self) -> None:
        logging.getLogger("waitress").setLevel(logging.ERROR)  # no line for each request that waits for a thread
        sockets = Sockets()
        settings = load_settings()
        dispatcher = Turns(self.cfg.threads, settings.REQUESTS_AT_ONCE, cookie_name(settings))
        adjustments = Adjustments(
            threads=self.cfg.threads,
            ident=None,
            connection_limit=connection_limit(),
            cleanup_interval=1,
            max_request_header_size=MAX_HEAD_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            inbuf_overflow=MAX_BODY_BYTES + 1024,  # so no body needs a file
            outbuf_overflow=64 * 1024,
            clear_untrusted_proxy_headers=True,
        )
        listening = [getattr(wrapped, "sock", wrapped) for wrapped in self.sockets]
        servers = [server_on(sock, self.wsgi, sockets, dispatcher, adjustments) for sock in listening]
        _Wakeup(self.PIPE[0], sockets)
        while self.alive and os.getppid() == self.ppid:
            self._turn(sockets)
        for server in servers:
            server.stop_accepting()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while time.monotonic() < deadline:
            are_busy = [server.is_busy() for server in servers]
            if not any(are_busy):
                break
            self._turn(sockets, seconds=0.1)
        dispatcher.shutdown(timeout=1)

    def _turn(self, sockets: Sockets, seconds: float = 1) -> None:
        sockets.turn(seconds)
        self.notify()


def server_on(sock: socket.socket, application: Any, sockets: Sockets, dispatcher: Turns, adj: Any) -> Any:
    """Adds itself to `sockets`."""
    kind = _UnixServer if sock.family == socket.AF_UNIX else _TcpServer
    return kind(
        application,
        sockets,
        True,
        sock,
        dispatcher=dispatcher,
        adj=adj,
        bind_socket=False,
        sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()),
    )
