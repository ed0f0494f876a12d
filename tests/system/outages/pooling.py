"""A proxy that pools by transaction, as small as it can be: psycopg2 speaks simple queries only."""

import asyncio
import struct
from threading import Thread

from service.local.embedded import free_port


async def message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)


class PoolingProxy:
    """Each client gets one of `size` server sessions for as long as its transaction lasts."""

    def __init__(self, socket: str, size: int) -> None:
        self.port = free_port()
        self._socket = socket
        self._size = size
        self._free: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.LifoQueue()
        self._greeting = b""
        self._opened = 0
        self._loop = asyncio.new_event_loop()
        self._writers: list[asyncio.StreamWriter] = []
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", self.port)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            size = struct.unpack("!I", await reader.readexactly(4))[0]
            hello = await reader.readexactly(size - 4)
            if size == 8:  # it asks for TLS
                writer.write(b"N")
                size = struct.unpack("!I", await reader.readexactly(4))[0]
                hello = await reader.readexactly(size - 4)
            if self._opened < self._size:
                self._opened += 1
                await self._open(struct.pack("!I", size) + hello)
            writer.write(self._greeting)
            while (query := await message(reader))[:1] != b"X":
                back, server = await self._free.get()
                while True:
                    server.write(query)
                    answer = b""
                    while answer[:1] != b"Z":
                        answer = await message(back)
                        writer.write(answer)
                    if answer[5:6] == b"I":
                        break
                    query = await message(reader)
                self._free.put_nowait((back, server))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _open(self, hello: bytes) -> None:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        self._writers.append(writer)
        writer.write(hello)
        self._greeting, answer = b"", b""
        while answer[:1] != b"Z":
            answer = await message(reader)
            self._greeting += answer
        self._free.put_nowait((reader, writer))

    async def _stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
