"""The site under fire: its processes, its customers, and the book-keeping of how long each job stood."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import psycopg2
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.storage import Bucket
from service.local.client import Client
from service.local.embedded import free_port
from service.local.processes import stop_process, wait_until
from sql.url import database_name
from tests.conftest import Dyno
from tests.system.outages import invariants
from tests.system.outages.breakable import Postgres, Proxy, proxy
from tests.system.outages.faults import FAULTS
from tests.system.outages.neighbour import Neighbour

WORKERS = 3
BUSINESSES = 8
TICK_SECONDS = 0.2
CHECK_SECONDS = 1.0
AT_ONCE = 3  # faults
MOST_UNEXPLAINED_SECONDS = 40  # that an active job may stand without an ordinary fault
SETTLE_SECONDS = 180  # after the last fault is mended, all jobs end within this


@dataclass
class Process:
    """A line of the Procfile that is started again when it ends, behind a network of its own."""

    name: str
    start: Callable[[], Any]
    database: Proxy
    dyno: Any = None

    def keep_alive(self) -> None:
        if self.dyno is None or self.dyno.process.poll() is not None:
            self.dyno = self.start()


@dataclass
class Standing:
    """A job, what it looked like last, and since when."""

    looks: tuple[Any, ...] = ()
    since: float = 0.0
    met: Counter[str] = field(default_factory=Counter)  # the faults then and since


@dataclass(frozen=True)
class Pause:
    """For how long an active job stood."""

    seconds: float = 0.0
    until: float = 0.0
    job_id: int = 0
    met: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s (job {self.job_id}), during {dict(self.met) or 'no fault'}"


class Chaos:
    def __init__(
        self,
        seed: int,
        postgres: Postgres,
        environment: dict[str, str],
        start: Callable[..., Any],
        make: Any,
        sql: Callable[..., list[dict[str, Any]]],
        bucket: Bucket,
        bucket_network: Proxy,
        folder: Path,
        workers: int = WORKERS,
        *,
        hostile: bool = False,
        ordinary: bool = True,
    ) -> None:
        """With the hostile neighbour, and with the ordinary faults."""
        self.chance = random.Random(seed)
        self.seed = seed
        self.postgres = postgres
        self.environment = environment
        self.url = environment["DATABASE_URL"]
        self.sql = sql
        self.make = make
        self.bucket = bucket
        self.bucket_network = bucket_network
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.active: list[tuple[float, str, Iterator[float]]] = []
        self.standing: dict[int, Standing] = {}
        self.longest = self.unexplained = Pause()
        self.checks = 0
        self._defer = ExitStack()
        self.defer = self._defer.callback
        self._over = Event()
        self._mending = Lock()
        self.port = free_port()
        self._start = start
        self._ordinary = ordinary
        self._through = {"S3_ENDPOINT_URL": f"http://127.0.0.1:{bucket_network.port}"}
        self.workers = [self.worker_process() for _ in range(workers)]
        self.web = self._process("web", start, PORT=self.port, DELETE_RATE_LIMIT_SECONDS=0, **self._through)
        self.clients: dict[int, Client] = {}
        self.businesses = [self.add_business(f"Busy {n}") for n in range(BUSINESSES)]
        self.bystander = make.business("Bystander")
        make.attachments(make.receipts(self.bystander, 30)[:10], folder)
        self.neighbour = Neighbour(self) if hostile else None
        self.hostile = self.neighbour.businesses if self.neighbour else []

    def add_business(self, name: str) -> int:
        business_id: int = self.make.business(name)
        self.clients[business_id] = Client(f"http://127.0.0.1:{self.port}", self.make.token(business_id))
        return business_id

    def worker_process(
        self, start: Callable[..., Any] | None = None, role: str = "postgres", **changes: object
    ) -> Process:
        given = {"THROTTLE_MS": 80, "WORKER_THREADS": 4, **self._through, **changes}
        return self._process("worker", start or self._start, role, **given)

    def _process(self, name: str, start: Callable[..., Any], role: str = "postgres", **changes: object) -> Process:
        network = self._defer.enter_context(proxy(self.postgres.socket))
        url = f"postgresql://{role}@127.0.0.1:{network.port}/{database_name(self.url)}"
        return Process(name, lambda: start(name, DATABASE_URL=url, **changes), network)

    def stopped_at_end(self, dyno: Dyno) -> Dyno:
        self._defer.callback(stop_process, dyno.process, 0)
        return dyno

    def __enter__(self) -> "Chaos":
        self._in_background(self._platform)
        return self

    def __exit__(self, *error: object) -> None:
        self._mend_all()
        self._defer.close()

    def run(self, seconds: float) -> str:
        """Faults for so long, then peace until every job has ended; returns what happened. AssertionError if broken."""
        self._in_background(self._watch)
        began = time.monotonic()
        next_fault, next_check = began + 3, began
        if self.neighbour:
            self.neighbour.plan(began, seconds)
        while (now := time.monotonic()) < began + seconds:
            if self.neighbour:
                self.neighbour.go_on(now)
            if self._ordinary and now >= next_fault and len(self.active) < AT_ONCE:
                self._break_something()
                next_fault = now + self.chance.uniform(0.5, 3.0)
            self._customers(starting=True)
            if now >= next_check:
                self._check()
                next_check = now + CHECK_SECONDS
            self._over.wait(TICK_SECONDS)
        self._mend_all()
        self._settle()
        return self._report(time.monotonic() - began)

    def cancel_during(self, fault: str) -> dict[str, Any]:
        """A job of its own, cancelled while this is broken; returns it as it is at its end."""
        business_id = self.add_business(fault)
        self.make.attachments(self.make.receipts(business_id, 3000)[:200], self.folder)

        def job() -> dict[str, Any]:
            rows = self.sql("SELECT id, status, processed, total FROM background_jobs WHERE business_id = :b",
                            b=business_id)  # fmt: skip
            return rows[0] if rows else {"status": "none", "processed": 0}

        def started() -> bool:
            self._post(business_id, "/api/receipts/delete_all", {"confirm": "DELETE"})
            return job()["status"] != "none"

        def cancelled() -> bool:
            if job()["status"] != "cancelled":
                self.sql("SELECT cancel_job(:id, 'dana')", id=job()["id"])
            return bool(job()["status"] == "cancelled")

        self._until(started, "the job to start")
        self._until(lambda: job()["processed"] > 0, "the job to run")
        undo = FAULTS[fault](self)
        self.active.append((time.monotonic() + min(next(undo), 3.0), fault, undo))
        self._until(cancelled, f"the job to be cancelled during {fault}")
        self._mend_all()
        self._check()
        return job()

    def _until(self, met: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Asked of servers that may be away."""

        def asked() -> bool:
            with suppress(DBAPIError, psycopg2.Error):
                return met()
            return False

        wait_until(asked, seconds, what)

    # --- the people and the platform

    def _in_background(self, function: Callable[[], None]) -> None:
        """Until the end. In a thread: the rest waits for locks, and for answers of processes whose database is away."""
        thread = Thread(target=function)
        thread.start()
        self._defer.callback(thread.join)
        self._defer.callback(self._over.set)

    def _platform(self) -> None:
        """Starts what has ended, and mends what was broken for long enough."""
        while not self._over.wait(TICK_SECONDS):
            for process in (*self.workers, self.web):
                process.keep_alive()
            self._mend_due(time.monotonic())

    def _customers(self, *, starting: bool) -> None:
        with suppress(DBAPIError, psycopg2.Error):
            for business_id in (*self.businesses, *self.hostile):
                self._customer(business_id, starting=starting)
            for business_id in self.businesses:
                self._exporter(business_id, starting=starting)

    def _exporter(self, business_id: int, *, starting: bool) -> None:
        """Now and then wants a file of what there is, while it is being deleted."""
        job_id, status = self._last_job(business_id, "export_receipts")
        if status in ("completed", "cancelled") and starting and self.chance.random() < 0.02:
            params = {"format": self.chance.choice(("csv", "jsonl"))}
            self._post(business_id, "/api/jobs", {"job_type": "export_receipts", "params": params})
        elif status in ("paused", "failed") and (not starting or self.chance.random() < 0.2):
            self._post(business_id, f"/api/jobs/{job_id}/resume")

    def _last_job(self, business_id: int, job_type: str) -> tuple[int, str]:
        rows = self.sql(
            "SELECT id, status FROM background_jobs WHERE business_id = :b AND job_type = :t ORDER BY id DESC LIMIT 1",
            b=business_id,
            t=job_type,
        )
        return (rows[0]["id"], rows[0]["status"]) if rows else (0, "completed")

    def _customer(self, business_id: int, *, starting: bool) -> None:
        """Starts a deletion when none is active, gets receipts meanwhile, resumes what was paused or has failed."""
        job_id, status = self._last_job(business_id, "delete_receipts")
        if status in ("completed", "cancelled") and starting:
            if business_id not in self.hostile or not self._has_receipts(business_id):  # its starts fail as well
                ids = self.make.receipts(business_id, self.chance.randrange(100, 2000))
                self.make.attachments(ids[: self.chance.randrange(0, 8)], self.folder)
            self._post(business_id, "/api/receipts/delete_all", {"confirm": "DELETE"})
        elif status in ("queued", "running") and starting and self.chance.random() < 0.05:
            self.make.receipts(business_id, 3)  # these come after the start: they stay
        elif status in ("paused", "failed") and (not starting or self.chance.random() < 0.2):
            self._post(business_id, f"/api/jobs/{job_id}/resume")

    def _has_receipts(self, business_id: int) -> bool:
        return bool(self.sql("SELECT FROM receipts WHERE business_id = :b AND NOT is_deleted LIMIT 1", b=business_id))

    def _post(self, business_id: int, path: str, body: dict[str, Any] | None = None) -> None:
        with suppress(OSError):  # the web process may be down, or its database away: the customer tries again
            answer = self.clients[business_id].post(path, body)
            expected = (200, 202, 409, 503, 500) if business_id in self.hostile else (200, 202, 409, 503)
            assert answer.status in expected, answer

    def _watch(self) -> None:
        """How long has each job been standing that should go on by itself?"""
        while not self._over.wait(TICK_SECONDS):
            with suppress(DBAPIError, psycopg2.Error):
                self._look()

    def _look(self) -> None:
        now = time.monotonic()
        rows = self.sql("""SELECT id, status, processed, status IN ('queued', 'running') AS active,
                                  extract(epoch FROM clock_timestamp())::float AS at
                           FROM background_jobs WHERE id >= :first AND business_id <> ALL (:hostile)""",
                        first=min(self.standing, default=0), hostile=self.hostile)  # fmt: skip
        for row in rows:
            looks = (row["status"], row["processed"])
            known = self.standing.setdefault(row["id"], Standing(looks, now))
            if known.looks != looks or not row["active"]:
                pause = Pause(now - known.since, row["at"], row["id"], known.met)
                self.longest = max(self.longest, pause, key=lambda pause: pause.seconds)
                if not known.met.keys() & FAULTS.keys():
                    self.unexplained = max(self.unexplained, pause, key=lambda pause: pause.seconds)
                self.standing[row["id"]] = Standing(looks, now, Counter(name for _, name, _ in self.active))
            if row["status"] in ("completed", "cancelled"):
                del self.standing[row["id"]]

    def _check(self) -> None:
        try:
            broken = invariants.broken(self.url, self.bystander, self.hostile)
        except psycopg2.Error:
            return  # Postgres is away
        self.checks += 1
        assert not broken, f"seed {self.seed}, after {dict(self.counts)}: {broken}"

    def _settle(self) -> None:
        """No faults any more: everything ends by itself, what was paused or has failed after one resume."""
        if self.neighbour:
            self._until(self.neighbour.relent, "the neighbour to relent")
        try:
            self._until(self._at_rest, f"all to be at rest (seed {self.seed}, {dict(self.counts)})", SETTLE_SECONDS)
        except TimeoutError as error:
            error.add_note(str(self._restless()))
            raise
        self._check()
        kept = self.sql("SELECT object_key FROM attachments WHERE purge_requested_at IS NULL")
        assert sorted(self.bucket.keys()) == sorted(row["object_key"] for row in kept)
        if self.neighbour:
            assert self.unexplained.seconds <= MOST_UNEXPLAINED_SECONDS, self.unexplained
            assert self._ordinary or not (stale := self.neighbour.stale_jobs_of_others()), stale

    def _restless(self) -> list[dict[str, Any]]:
        jobs = self.sql("SELECT * FROM background_jobs WHERE status NOT IN ('completed', 'cancelled') LIMIT 3")
        return [*jobs, *(self.neighbour.unended()[:3] if self.neighbour else [])]

    def _at_rest(self) -> bool:
        self._customers(starting=False)
        # A backoff may have reached minutes, and the lease of a purger that was killed lasts for 45 s.
        # The files of exports would be kept for a week; not before these are done.
        self.sql("""
            UPDATE attachments a SET purge_after = now() WHERE purge_after > now() + interval '5 seconds'
            AND (receipt_id IS NOT NULL OR NOT EXISTS (
                SELECT FROM background_jobs j WHERE j.business_id = a.business_id AND j.job_type = 'export_receipts'
                AND j.status NOT IN ('completed', 'cancelled')))
        """)
        (row,) = self.sql("""
            SELECT EXISTS (SELECT FROM background_jobs WHERE status NOT IN ('completed', 'cancelled'))
                OR EXISTS (SELECT FROM attachments WHERE purge_requested_at IS NOT NULL AND purged_at IS NULL) AS more
        """)
        return not row["more"] and not (self.neighbour and self.neighbour.unended())

    # --- the faults

    def _break_something(self) -> None:
        running = {name for _, name, _ in self.active}
        name = self.chance.choice([name for name in sorted(FAULTS) if name not in running])
        self.begin(name, FAULTS[name](self))

    def begin(self, name: str, undo: Iterator[float]) -> None:
        with suppress(StopIteration, DBAPIError, psycopg2.Error):  # there was nothing to break, or it was away already
            meets = list(self.standing.values())  # before: a restart of Postgres is over when it comes back
            seconds = next(undo)
            self.active.append((time.monotonic() + seconds, name, undo))
            self.counts[name] += 1
            for job in meets:
                job.met[name] += 1

    def _mend_due(self, now: float) -> None:
        with self._mending:
            for entry in [entry for entry in self.active if entry[0] <= now]:
                self.active.remove(entry)
                with suppress(StopIteration, DBAPIError, psycopg2.Error):
                    self.active.append((now + next(entry[2]), *entry[1:]))

    def _mend_all(self) -> None:
        while self.active:
            self._mend_due(float("inf"))

    def worker(self) -> Process:
        return self.chance.choice(self.workers)

    def any_job(self, *statuses: str) -> int | None:
        rows = self.sql("SELECT id FROM background_jobs WHERE status = ANY(:s) ORDER BY id", s=list(statuses))
        return self.chance.choice(rows)["id"] if rows else None

    def _report(self, seconds: float) -> str:
        jobs = self.sql(
            "SELECT count(*) AS n, sum(processed) AS receipts, sum(attempt) AS claims FROM background_jobs"
        )[0]
        events = self.sql("SELECT event, count(*) AS n FROM job_events GROUP BY event ORDER BY n DESC")
        pause = self.longest
        story = self.sql(
            """SELECT extract(epoch FROM at)::float - :began AS after, event, reason, worker_id FROM job_events
               WHERE job_id = :id AND extract(epoch FROM at) BETWEEN :began - 1 AND :until + 1 ORDER BY id""",
            id=pause.job_id, began=pause.until - pause.seconds, until=pause.until)  # fmt: skip
        return "\n".join([
            f"\nseed {self.seed}, {seconds:.0f} s: {sum(self.counts.values())} faults of {len(self.counts)} kinds,"
            f" {self.checks} checks, none broken",
            *(f"  {number:4} {name}" for name, number in self.counts.most_common()),
            f"{jobs['n']} jobs, all ended; {jobs['receipts']} receipts in {jobs['claims']} claims",
            "events: " + ", ".join(f"{row['n']} {row['event']}" for row in events),
            *([self.neighbour.report()] if self.neighbour else []),
            f"the longest that an active job stood with no ordinary fault: {self.unexplained}",
            f"the longest that an active job stood: {pause}",
            *(f"  {e['after']:+6.1f} s  {e['event']}  worker {e['worker_id']}  {e['reason'] or ''}" for e in story),
        ])  # fmt: skip
