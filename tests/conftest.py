"""Real servers, a fresh database and bucket for each test, and factories that fill in what a state implies."""

import base64
import json
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from actors.runtime.base.config import Settings, load_settings
from actors.runtime.base.periodic import Periodic
from actors.runtime.base.storage import Bucket
from actors.runtime.jobs.context import JobContext
from actors.runtime.jobs.kinds import by_every_name, load_kinds
from service.auth import create_token
from service.local import runs, sandbox
from service.local.client import Client
from service.local.embedded import free_port
from service.local.mail_server import MailServer
from service.local.processes import ROOT, signal_group, start_process, stop_process, wait_until
from sql.engine import make_engine
from sql.release import release
from sql.states import FINISHED
from sql.url import DRIVER, at_database, connector
from tests.buckets import Buckets
from tests.databases import Databases
from tests.mail_servers import MailServers


def pytest_configure() -> None:
    """A closed terminal (SIGHUP) ends a run like Ctrl-C, with what it started. Called in each of its processes."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores it
            signal.signal(number, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of whole processes wait more than they work: their modules are spread among the others, but for the end."""
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    spread = [path for path in modules if path.is_relative_to(ROOT / "tests" / "system")]
    places = {path: 0.8 * n / len(spread) for n, path in enumerate(spread)}
    others = [path for path in modules if path not in places]
    places |= {path: n / len(others) for n, path in enumerate(others)}
    items[:] = [item for path in sorted(modules, key=places.__getitem__) for item in modules[path]]


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, str]]:
    """The environment that reaches a Postgres with a released template database, and an S3 server."""
    with sandbox.sandbox("tests") as environment:
        engine = make_engine(environment["DATABASE_URL"], application_name="tests")
        release(engine)
        engine.dispose()
        yield environment


@pytest.fixture
def environment(servers: dict[str, str], databases: Databases, buckets: Buckets) -> Iterator[dict[str, str]]:
    """What a process of the Procfile needs: its own database, as released, and its own bucket."""
    with databases.one() as url, buckets.one() as bucket:
        yield {**servers, **bucket, "DATABASE_URL": url}


@pytest.fixture(scope="session")
def databases(servers: dict[str, str]) -> Iterator[Databases]:
    with closing(Databases(servers["DATABASE_URL"])) as databases:
        yield databases


@pytest.fixture(scope="session")
def buckets(servers: dict[str, str]) -> Iterator[Buckets]:
    with closing(Buckets(servers)) as buckets:
        yield buckets


@pytest.fixture
def other_encoding(servers: dict[str, str]) -> Iterator[Callable[[str], str]]:
    """other_encoding("LATIN1"): the URL of a new, empty database that is not in UTF-8."""
    server = create_engine(DRIVER, creator=connector(servers["DATABASE_URL"]), isolation_level="AUTOCOMMIT")
    made: list[str] = []

    def new(encoding: str) -> str:
        made.append(f"longhaul_test_{secrets.token_hex(4)}")
        runs.note("database", made[-1])
        with server.connect() as connection:
            kind = f"ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
            connection.execute(text(f"CREATE DATABASE {made[-1]} {kind}"))
        return at_database(servers["DATABASE_URL"], made[-1])

    yield new
    with server.connect() as connection:
        for name in made:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    """For work in the test's process: no throttle, no rate limit."""
    return load_settings({**environment, "THROTTLE_MS": "0", "DELETE_RATE_LIMIT_SECONDS": "0"})


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = make_engine(settings.DATABASE_URL, application_name="test", pool_size=10, max_overflow=50)
    yield engine
    engine.dispose()


@pytest.fixture
def bucket(settings: Settings) -> Bucket:
    return Bucket(settings)


# Only our functions may do this to a job; a test may too, to create a state that is hard to reach.
BY_HAND = re.compile(r"UPDATE (public\.)?background_jobs\s+SET status|DELETE FROM (public\.)?background_jobs")


@pytest.fixture
def sql(engine: Engine) -> Callable[..., list[dict[str, Any]]]:
    """Runs a statement in its own transaction; returns its rows."""
    return runner(engine)


def runner(engine: Engine) -> Callable[..., list[dict[str, Any]]]:
    def run(statement: str, **values: Any) -> list[dict[str, Any]]:
        with engine.begin() as connection:
            if BY_HAND.search(statement):
                connection.execute(text("SET LOCAL longhaul.verb = 'test'"))
            result = connection.execute(text(statement), values)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []

    return run


Sql = Callable[..., list[dict[str, Any]]]


def minutes_ago(minutes: float) -> datetime:
    return datetime.now(UTC) - timedelta(minutes=minutes)


@dataclass
class Make:
    """Rows for tests."""

    sql: Sql
    engine: Engine
    bucket: Bucket

    def business(self, name: str = "Test & Sons") -> int:
        return int(self.sql("INSERT INTO businesses (name) VALUES (:name) RETURNING id", name=name)[0]["id"])

    def token(self, business_id: int | None, role: str = "owner", user_id: int = 7) -> str:
        with self.engine.begin() as connection:
            return create_token(connection, role, business_id, user_id)

    def receipts(self, business_id: int, number: int) -> list[int]:
        rows = self.sql(
            """INSERT INTO receipts (business_id, vendor, amount, currency)
               SELECT :business_id, 'Vendor ' || n, n, 'EUR' FROM generate_series(1, :number) n RETURNING id""",
            business_id=business_id,
            number=number,
        )
        return [row["id"] for row in rows]

    def attachments(self, receipt_ids: list[int], folder: Path) -> list[str]:
        """An attachment with a real object for each of these receipts; returns the keys."""
        file = folder / "attachment.pdf"
        file.write_bytes(b"%PDF-1.1")
        rows = self.sql(
            """INSERT INTO attachments (receipt_id, business_id, object_key, content_type, size)
               SELECT id, business_id, 'receipts/' || id || '.pdf', 'application/pdf', 8
               FROM receipts WHERE id = ANY(:ids) RETURNING object_key""",
            ids=receipt_ids,
        )
        keys = [row["object_key"] for row in rows]
        for key in keys:
            self.bucket.put(key, file, "application/pdf")
        return keys

    def job(self, business_id: int | None = None, status: str = "queued", **columns: Any) -> int:
        """A delete job in this state; fills in what the state implies."""
        implied: dict[str, Any] = {
            "business_id": business_id or self.business(),
            "job_type": "delete_receipts",
            "queue": "maintenance",
            "actor": "delete_receipts",
            "status": status,
            "params": {"max_id": 2**40},
        }
        if status != "queued":
            implied |= {"started_at": minutes_ago(0), "attempt": 1}
        if status == "running":
            implied |= {"heartbeat_at": minutes_ago(0)}
        if status in FINISHED:
            implied |= {"finished_at": minutes_ago(0)}
        implied |= columns
        for name in ("params", "cursor"):
            if isinstance(implied.get(name), dict):
                implied[name] = json.dumps(implied[name])
        return int(
            self.sql(
                f"INSERT INTO background_jobs ({', '.join(implied)}) VALUES "
                f"({', '.join(':' + name for name in implied)}) RETURNING id",
                **implied,
            )[0]["id"]
        )


@pytest.fixture(scope="session")
def mail_servers() -> Iterator[MailServers]:
    with closing(MailServers()) as servers:
        yield servers


@pytest.fixture
def mails(mail_servers: MailServers) -> Iterator[MailServer]:
    """A real IMAP server with one empty mailbox."""
    with mail_servers.one() as server:
        yield server


@pytest.fixture
def connecting() -> dict[str, Any]:
    """The settings that allow connecting to a mailbox on this machine."""
    return {
        "CONNECTION_KEYS": (base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),),
        "ALLOW_PRIVATE_HOSTS": True,
    }


@pytest.fixture
def make(sql: Sql, engine: Engine, bucket: Bucket) -> Make:
    return Make(sql, engine, bucket)


@pytest.fixture
def job_row(sql: Sql) -> Callable[[int], dict[str, Any]]:
    return lambda job_id: sql("SELECT * FROM background_jobs WHERE id = :id", id=job_id)[0]


@pytest.fixture
def events(sql: Sql) -> Callable[[int], list[dict[str, Any]]]:
    return lambda job_id: sql("SELECT * FROM job_events WHERE job_id = :id ORDER BY id", id=job_id)


@contextmanager
def worker_at(
    engine: Engine, queues: Sequence[str] = (), kinds: Sequence[str] | None = None, *, speaks: bool = True
) -> Iterator[Connection]:
    """A worker that is alive as far as the database can see: a row, and a session that holds its lock.

    It speaks each second, as a worker's does: on a slow machine it would fall silent otherwise.
    """
    with engine.connect() as connection:
        with connection.begin():
            statement = """INSERT INTO workers (hostname, pid, queues, kinds, release)
                           VALUES ('dyno7', 42, :queues, :kinds, '') RETURNING id"""
            row = {"queues": list(queues), "kinds": None if kinds is None else list(kinds)}
            worker_id = connection.execute(text(statement), row).scalar_one()
            connection.execute(text("SELECT pg_advisory_lock(worker_lock_space(), :id)"), {"id": worker_id})
        connection.info["worker_id"] = worker_id
        voice = Periodic(1, "voice", lambda: speak(connection))
        if speaks:
            voice.start()
        try:
            yield connection
        finally:
            if speaks:
                voice.stop(30)
            connection.invalidate()


def speak(connection: Connection) -> None:
    with suppress(SQLAlchemyError), connection.begin():  # somebody may have ended the session
        connection.execute(text("SELECT 1"))


@pytest.fixture
def worker_id(engine: Engine) -> Iterator[int]:
    with worker_at(engine) as connection:
        yield connection.info["worker_id"]


@pytest.fixture
def place(engine: Engine, settings: Settings, worker_id: int) -> JobContext:
    """A worker's context, in the test's process."""
    kinds = tuple(by_every_name(load_kinds().values()))
    return JobContext(engine, settings, lambda: worker_id, Event(), lambda: None, kinds=kinds)


@dataclass
class Dyno:
    """A process of the Procfile, and what it logged."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def lines(self, event: str) -> list[dict[str, Any]]:
        written = self.log.read_bytes().rpartition(b"\n")[0]  # behind it may be a part of a line
        lines = [json.loads(line) for line in written.splitlines() if line.startswith(b"{")]
        return [line for line in lines if line["event"] == event]

    def complaints(self) -> str:
        """The last warnings, errors and lines that are not JSON, such as tracebacks."""
        lines = self.log.read_text(errors="replace").splitlines(keepends=True)
        return "".join([line for line in lines if '"level": "info"' not in line][-50:])

    def signal(self, number: signal.Signals) -> None:
        signal_group(self.process, number)

    def stop(self) -> int:
        return stop_process(self.process)


@pytest.fixture
def start(environment: Mapping[str, str], tmp_path: Path) -> Iterator[Callable[..., Dyno]]:
    """start("worker", THROTTLE_MS=0): a line of the Procfile, stopped at the end of the test."""
    with dynos(environment, tmp_path) as start:
        yield start


@contextmanager
def dynos(environment: Mapping[str, str], folder: Path) -> Iterator[Callable[..., Dyno]]:
    with ExitStack() as defer:

        def start_one(name: str, root: Path = ROOT, **changes: object) -> Dyno:
            log = folder / f"{name}-{secrets.token_hex(4)}.log"
            given = {**environment, "LOG_FORMAT": "json", **{key: str(value) for key, value in changes.items()}}
            with log.open("wb") as output:
                dyno = Dyno(start_process(name, given, output, root), log)
            defer.callback(lambda: sys.stdout.write(dyno.complaints()))  # pytest shows it if the test has failed
            defer.callback(stop_process, dyno.process, 0)  # the test is over: no need for a clean stop
            return dyno

        yield start_one


@pytest.fixture
def web(start: Callable[..., Dyno]) -> Callable[..., Client]:
    """web(token): a client of a real web process, started with the first call."""
    running: list[str] = []

    def client(token: str | None = None, **changes: object) -> Client:
        if not running:
            port = free_port()
            start("web", PORT=port, **{"DELETE_RATE_LIMIT_SECONDS": 0, **changes})
            running.append(f"http://127.0.0.1:{port}")
            wait_until(lambda: answers(Client(running[0])), 30, "the web process")
        return Client(running[0], token)

    return client


def answers(client: Client) -> bool:
    try:
        return client.get("/healthz").status == 200
    except OSError:
        return False
