"""A Postgres and a store of this folder's own, to be broken, and what stands between them and the processes."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
from sqlalchemy import create_engine, text

from service.local import embedded
from sql.engine import make_engine
from sql.release import release
from sql.url import DRIVER, at_database, connector, database_name
from tests.buckets import Buckets
from tests.databases import Databases
from tests.system.outages.breakable import Postgres, Proxy, own_postgres, proxy
from tests.system.outages.chaos import Chaos


@pytest.fixture(scope="module")
def clock_steps() -> bool:
    """A module in which Postgres's clock steps has its own of these."""
    return False


@pytest.fixture(scope="module")
def postgres(clock_steps: bool) -> Iterator[Postgres]:
    folder = embedded.LOCAL / f"broken-{secrets.token_hex(4)}"
    try:
        with own_postgres(folder, clock_steps=clock_steps) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def store() -> Iterator[embedded.S3Server]:
    with embedded.s3(embedded.LOCAL / f"broken-{secrets.token_hex(4)}-s3") as server:
        yield server


@pytest.fixture(scope="module")
def servers(postgres: Postgres, store: embedded.S3Server) -> dict[str, str]:
    admin = create_engine(DRIVER, creator=connector(postgres.url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE template"))
    url = at_database(postgres.url, "template")
    engine = make_engine(url, application_name="tests")
    release(engine)
    engine.dispose()
    admin.dispose()
    return {**store.environment, "DATABASE_URL": url}


@pytest.fixture(scope="module")
def databases(servers: dict[str, str]) -> Iterator[Databases]:
    with closing(Databases(servers["DATABASE_URL"])) as databases:
        yield databases


@pytest.fixture(scope="module")
def buckets(servers: dict[str, str]) -> Iterator[Buckets]:
    with closing(Buckets(servers)) as buckets:
        yield buckets


def through(front: Proxy, url: str) -> str:
    """The URL of this database through that proxy."""
    return f"postgresql://postgres@127.0.0.1:{front.port}/{database_name(url)}"


@dataclass
class Between:
    """The test itself talks to the servers directly."""

    database: Proxy
    bucket: Proxy
    addresses: dict[str, str]


@pytest.fixture
def between(postgres, environment) -> Iterator[Between]:
    host, port = environment["S3_ENDPOINT_URL"].removeprefix("http://").split(":")
    with proxy(postgres.socket) as database, proxy((host, int(port))) as bucket:
        addresses = {
            "DATABASE_URL": through(database, environment["DATABASE_URL"]),
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{bucket.port}",
        }
        yield Between(database, bucket, addresses)


@pytest.fixture
def start(start, between):
    """Every process reaches its servers through the proxies, unless told otherwise."""
    return lambda name, **changes: start(name, **{**between.addresses, **changes})


@pytest.fixture
def chaos(postgres, environment, start, make, sql, bucket, between, tmp_path):
    return lambda seed, **more: Chaos(
        seed, postgres, environment, start, make, sql, bucket, between.bucket, tmp_path, **more
    )
