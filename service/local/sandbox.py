"""A private database and bucket, for demo, dev and the tests.

On the servers of DATABASE_URL and S3_ENDPOINT_URL if these are set; else on embedded ones.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from botocore.exceptions import ClientError
from sqlalchemy import create_engine, text

from actors.runtime.base.config import DatabaseSettings, load, load_settings
from actors.runtime.base.storage import Bucket
from service.local import runs
from service.local.embedded import postgres, s3
from service.local.runs import LOCAL
from sql.url import DRIVER, at_database, connector

S3_VARIABLES = ("S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


@contextmanager
def sandbox(name: str) -> Iterator[dict[str, str]]:
    """Yields the environment that a Procfile's process needs; database and bucket are removed with the block."""
    left = runs.end_dead_runs()
    with ExitStack() as defer:
        defer.callback(runs.forget)
        given = bool(os.environ.get("DATABASE_URL"))
        server = load(DatabaseSettings).DATABASE_URL if given else defer.enter_context(postgres(LOCAL / "postgres"))
        drop(server, left)
        own = f"longhaul_{name}_{secrets.token_hex(4)}"
        if os.environ.get("S3_ENDPOINT_URL"):
            storage = {key: os.environ[key] for key in S3_VARIABLES if key in os.environ}
        else:
            storage = defer.enter_context(s3(LOCAL / own)).environment
        environment = {**storage, "DATABASE_URL": defer.enter_context(database(server, own))}
        environment |= defer.enter_context(bucket(environment, own.replace("_", "-")))
        yield environment


@contextmanager
def database(server: str, name: str) -> Iterator[str]:
    """A new, empty database on the server; yields its URL."""
    engine = create_engine(DRIVER, creator=connector(server), isolation_level="AUTOCOMMIT")
    try:
        runs.note("database", name)
        with engine.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}"'))
        try:
            yield at_database(server, name)
        finally:
            with engine.connect() as connection:
                connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
    finally:
        engine.dispose()


def drop(server: str, names: list[str]) -> None:
    """Drops databases that a killed run left behind."""
    if names:
        engine = create_engine(DRIVER, creator=connector(server), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for name in names:
                connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        engine.dispose()


@contextmanager
def bucket(environment: Mapping[str, str], name: str) -> Iterator[dict[str, str]]:
    """A new bucket; yields the variable that names it."""
    own = Bucket(load_settings({**environment, "S3_BUCKET": name}))
    own.create()
    try:
        yield {"S3_BUCKET": name}
    finally:
        _drop(own)


def _drop(bucket: Bucket) -> None:
    try:
        bucket.drop()
    except ClientError as error:
        # An upload that was cut off, or two deletions at once, leave the embedded server a folder without a key,
        # and it calls such a bucket not empty. The folder goes with the server's own.
        if error.response["Error"]["Code"] != "BucketNotEmpty" or bucket.keys():
            raise
