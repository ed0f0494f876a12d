"""A whole site on private servers: web and workers from the Procfile, and businesses with receipts."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Engine, text

from service.auth import create_token
from service.local.client import Client
from service.local.embedded import free_port
from service.local.processes import start_process, stop_process, wait_until
from service.local.sandbox import sandbox
from sql.engine import make_engine
from sql.release import release


@dataclass
class Site:
    engine: Engine
    environment: dict[str, str]
    port: int
    workers: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def owner(self, receipts: int) -> Client:
        """A new business with this many receipts, and its owner."""
        with self.engine.begin() as connection:
            business_id: int = connection.execute(
                text("INSERT INTO businesses (name) VALUES ('B') RETURNING id")
            ).scalar_one()
            connection.execute(
                text("""INSERT INTO receipts (business_id, vendor, amount, currency)
                        SELECT :b, 'v', n, 'EUR' FROM generate_series(1, :n) n"""),
                {"b": business_id, "n": receipts},
            )
            token = create_token(connection, "owner", business_id, 1)
        return Client(f"http://127.0.0.1:{self.port}", token)

    def start_worker(self) -> "subprocess.Popen[bytes]":
        self.workers.append(start_process("worker", self.environment, subprocess.DEVNULL))
        return self.workers[-1]

    def live_workers(self) -> set[int]:
        """Process groups of the worker dynos that are registered and alive."""
        query = "SELECT pid FROM workers w JOIN live_workers() AS live (id) ON live.id = w.id"
        with self.engine.begin() as connection:
            return set(connection.execute(text(query)).scalars())

    def wait_for_workers(self, number: int) -> None:
        wait_until(lambda: len(self.live_workers()) >= number, 30, f"{number} workers")


@contextmanager
def site(workers: int, **settings: object) -> Iterator[Site]:
    with ExitStack() as defer:
        environment = defer.enter_context(sandbox("bench"))
        engine = make_engine(environment["DATABASE_URL"], application_name="bench", max_overflow=50)
        release(engine)
        defer.callback(engine.dispose)
        given = {name: str(value) for name, value in settings.items()}
        environment = {**environment, "DELETE_RATE_LIMIT_SECONDS": "0", **given}
        place = Site(engine, environment, free_port())
        web = start_process("web", {**environment, "PORT": str(place.port)}, subprocess.DEVNULL)
        defer.callback(stop_process, web)
        defer.callback(lambda: [stop_process(worker, 0) for worker in place.workers])
        for _ in range(workers):
            place.start_worker()
        wait_until(lambda: answers(place), 30, "the web process")
        place.wait_for_workers(workers * int(environment.get("WORKER_PROCESSES", "1")))
        yield place


def answers(place: Site) -> bool:
    try:
        return Client(f"http://127.0.0.1:{place.port}").get("/readyz").status == 200
    except OSError:
        return False


def percentiles(times: list[float]) -> tuple[float, float, float]:
    """The median, the 99th percentile and the maximum."""
    ordered = sorted(times)
    return ordered[len(ordered) // 2], ordered[int((len(ordered) - 1) * 0.99)], ordered[-1]
