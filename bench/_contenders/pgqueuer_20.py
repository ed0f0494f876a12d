import asyncio
import os
import sys
from collections.abc import Sequence

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.queries import Queries

from bench._effect import effect

TITLE = "pgqueuer, batch 20"
SERVER = "postgres"
NUMBER = 20_000
COMMANDS = [["python", "-m", "bench._contenders.pgqueuer_20", "20"]] * 2  # its command line fails at start (1.6.0)


async def _work(batch_size: int) -> None:
    queue = PgQueuer.from_asyncpg_connection(await asyncpg.connect(os.environ["DATABASE_URL"]))

    @queue.entrypoint("effect")
    async def one(job) -> None:  # type: ignore[no-untyped-def]
        effect(float(job.payload))

    await queue.run(batch_size=batch_size)


async def _with_queries(times: Sequence[float], *, at_once: bool) -> None:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    queries = Queries.from_asyncpg_connection(connection)
    if at_once:
        await queries.enqueue(["effect"] * len(times), [str(at).encode() for at in times], [0] * len(times))
    else:
        for at in times:
            await queries.enqueue("effect", str(at).encode())
    await connection.close()


def install() -> None:
    async def make_tables() -> None:
        connection = await asyncpg.connect(os.environ["DATABASE_URL"])
        queries = Queries.from_asyncpg_connection(connection)
        if not await queries.schema_is_installed():
            await queries.install()
        await connection.close()

    asyncio.run(make_tables())


def send(times: Sequence[float]) -> None:
    asyncio.run(_with_queries(times, at_once=False))


def send_at_once(times: Sequence[float]) -> None:
    asyncio.run(_with_queries(times, at_once=True))


if __name__ == "__main__":
    uvloop.run(_work(int(sys.argv[1])))
