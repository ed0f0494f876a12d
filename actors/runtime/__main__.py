"""`python -m actors.runtime`: the worker dyno. Checks everything once, then becomes Dramatiq's command line."""

import sys
from collections.abc import Iterable

import structlog
from dramatiq import cli
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.config import Settings, load_settings
from actors.runtime.base.errors import ConfigError, LonghaulError, StorageError, StorageUnreachableError
from actors.runtime.base.failures import describe
from actors.runtime.base.log import set_up_logging
from actors.runtime.base.storage import Bucket
from actors.runtime.base.streams import open_standard_streams, print_without_waiting
from actors.runtime.jobs.kinds import Kind, load_kinds
from actors.runtime.worker.process import set_up
from sql.engine import make_engine
from sql.proxy_check import sessions_are_shared
from sql.release import UnusableDatabaseError, check_database
from sql.version import expected_version, is_at_least, schema_version

log = structlog.get_logger("longhaul.worker")

SHUTDOWN_SECONDS = 20  # the platform kills 30 s after SIGTERM


def main() -> int:
    open_standard_streams()
    try:
        settings = load_settings()
        set_up_logging(settings.LOG_FORMAT)
        kinds = load_kinds().values()
        for kind in kinds:
            kind.check(settings)
        check_queues(settings, kinds)
        check_postgres(settings)
        check_bucket(settings)
    except LonghaulError as error:
        sys.exit(str(error))
    arguments = [
        f"{set_up.__module__}:{set_up.__name__}",  # imported above, so that each process has it as soon as it is forked
        *("--processes", str(settings.WORKER_PROCESSES)),
        *("--threads", str(settings.WORKER_THREADS)),
        *("--worker-shutdown-timeout", str(SHUTDOWN_SECONDS * 1000)),
        "--skip-logging",
        *("--queues", *settings.WORKER_QUEUES),
    ]
    sys.argv[:] = [sys.executable, "-m", "actors.runtime"]  # what Dramatiq becomes after SIGHUP
    print_without_waiting()  # Dramatiq's parent writes its processes' output there
    code: int = cli.main(cli.make_argument_parser().parse_args(arguments))
    return code


def check_bucket(settings: Settings) -> None:
    """Warns if the bucket can't be used. The worker starts anyway: jobs continue without it, and it may come back."""
    try:
        Bucket(settings).check()
    except StorageError as error:
        event = "bucket.unreachable" if isinstance(error, StorageUnreachableError) else "bucket.refused"
        log.warning(event, error=f"{error}; starting anyway: attachments wait in the outbox")


def check_queues(settings: Settings, kinds: Iterable[Kind]) -> None:
    """ConfigError if no kind of job uses any of the queues: the worker would wait forever."""
    theirs = {kind.queue for kind in kinds}
    if not theirs & set(settings.WORKER_QUEUES):
        raise ConfigError(
            f"WORKER_QUEUES: found {', '.join(settings.WORKER_QUEUES)}, which no kind of job uses; "
            f"expected at least one of {', '.join(sorted(theirs))}"
        )


def check_postgres(settings: Settings) -> None:
    """ConfigError if Postgres can't be used, lacks our schema, or is behind a transaction-pooling proxy."""
    engine = make_engine(settings.DATABASE_URL, application_name="longhaul check")
    try:
        with engine.connect() as connection:
            check_database(connection)
            found, expected = schema_version(connection), expected_version()
        shared = sessions_are_shared(engine)
    except UnusableDatabaseError as error:
        raise ConfigError(f"DATABASE_URL: {error}") from None
    except DBAPIError as error:
        raise ConfigError(f"DATABASE_URL: Postgres cannot be used: {describe(error)}") from None
    finally:
        engine.dispose()
    if found is None:
        raise ConfigError(f"DATABASE_URL: found a database without our tables, expected version {expected}: release")
    if not is_at_least(found, expected):
        raise ConfigError(f"DATABASE_URL: found the database at version {found}, expected {expected}: release")
    if shared:
        raise ConfigError(
            "DATABASE_URL: found a transaction-pooling proxy, expected a direct connection (or a session-pooling "
            "proxy): a worker cannot hold the lock that proves it alive there"
        )


if __name__ == "__main__":
    sys.exit(main())
