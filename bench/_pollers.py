"""Many browsers that poll a job, as far as a server sees them: a connection each, a cookie, and If-None-Match."""

import asyncio
import random
import re
import time
from dataclasses import dataclass, field

EACH_SECONDS = 1.5  # as the page does while a job moves


@dataclass
class Poller:
    """One page: the address of its job and its cookie."""

    port: int
    path: str
    cookie: str
    times: list[float] = field(default_factory=list)
    unchanged: int = 0
    tag: str = ""

    async def run(self, begins_at: float, ends_at: float) -> None:
        """Polls until then; what it measures before `begins_at` is not kept."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        at = time.perf_counter() + random.uniform(0, EACH_SECONDS)
        while at < ends_at:
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            began = time.perf_counter()
            await self._ask(reader, writer)
            if began >= begins_at:
                self.times.append(time.perf_counter() - began)
            at = max(at + EACH_SECONDS, time.perf_counter())
        writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        known = f"If-None-Match: {self.tag}\r\n" if self.tag else ""
        writer.write(f"GET {self.path} HTTP/1.1\r\nHost: x\r\nCookie: {self.cookie}\r\n{known}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = head.split(" ", 2)[1]
        assert status in ("200", "304"), head
        if status == "304":
            self.unchanged += 1
            return
        length = re.search(r"(?i)^content-length: ([0-9]+)", head, re.MULTILINE)
        assert length, head
        await reader.readexactly(int(length[1]))
        self.tag = re.findall(r"(?i)^etag: (.*?)\r", head, re.MULTILINE)[0]


def poll(pollers: list[Poller], warm_up: float, seconds: float) -> None:
    """All of them at once, for so long; each keeps how long each of its polls took."""

    async def all_of_them() -> None:
        begins_at = time.perf_counter() + warm_up
        await asyncio.gather(*(one.run(begins_at, begins_at + seconds) for one in pollers))

    asyncio.run(all_of_them())
