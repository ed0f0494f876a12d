"""schema.sql and the migrations say the same, on every PostgreSQL that we support; a release can be repeated."""

import re
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from service.local.embedded import postgres
from service.local.runs import LOCAL
from service.local.sandbox import database
from service.local.schema import FILE, released_schema
from sql.engine import make_engine
from sql.release import UnusableDatabaseError, release
from sql.states import ACTIVE, FINISHED, REQUESTS, STATUSES
from sql.url import DRIVER, connector
from sql.version import expected_version, schema_version

# Everything that makes a schema, as Postgres itself spells it.
CATALOGUE = """
    SELECT 'column', format('%s.%s %s', attrelid::regclass, attname, concat_ws(' ', format_type(atttypid, atttypmod),
           CASE WHEN attnotnull THEN 'NOT NULL' END, attidentity, pg_get_expr(adbin, adrelid)))
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND c.relkind = 'r' AND relnamespace::regnamespace::text IN ('public', 'dramatiq')
    UNION ALL
    SELECT 'constraint', format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace::regnamespace::text IN ('public', 'dramatiq')
    UNION ALL
    SELECT 'index', indexdef FROM pg_indexes WHERE schemaname IN ('public', 'dramatiq')
    UNION ALL
    SELECT 'options', format('%s %s', oid::regclass, reloptions)
    FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text IN ('public', 'dramatiq')
    UNION ALL
    SELECT 'function', pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'enum', format('%s %s', enumtypid::regtype, enumlabel) FROM pg_enum
    ORDER BY 1, 2
"""


def catalogue(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return [(kind, line) for kind, line in connection.execute(text(CATALOGUE)) if "_version" not in line]


@pytest.fixture(params=[16, 18])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    with postgres(LOCAL / f"postgres-{request.param}-schema", request.param) as url:
        yield url


def test_schema_sql_says_what_the_migrations_make(server: str) -> None:
    """After a migration: `make schema`."""
    with database(server, "schema") as url:
        assert released_schema(url) == FILE.read_text()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE receipts ADD COLUMN drifted text",
        "ALTER TABLE receipts ALTER COLUMN vendor DROP NOT NULL",
        "ALTER TABLE receipts DROP CONSTRAINT receipts_currency_iso",
        "ALTER TABLE receipts ALTER COLUMN id SET INCREMENT BY 2",
        "ALTER TABLE background_jobs RESET (fillfactor)",
        "DROP INDEX idx_receipts_live",
        "DROP TRIGGER keep_event ON job_events",
        "ALTER TYPE dramatiq.state ADD VALUE 'drifted'",
        "COMMENT ON TABLE workers IS 'drifted'",
    ],
)
def test_no_drift_goes_unnoticed(change: str, empty: str) -> None:
    engine = make_engine(empty, application_name="test")
    release(engine)
    with engine.begin() as connection:
        connection.execute(text(change))
    engine.dispose()
    assert released_schema(empty) != FILE.read_text()


def test_functions_are_not_in_schema_sql() -> None:
    assert not re.search("CREATE (OR REPLACE )?FUNCTION", FILE.read_text())


def words(definition: str) -> set[str]:
    return set(re.findall(r"'(\w+)'", definition))


def test_postgres_knows_the_states_and_requests_that_python_knows(sql) -> None:
    found = {row["name"]: words(row["definition"]) for row in sql("""
        SELECT conname AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint
        UNION ALL SELECT indexname, indexdef FROM pg_indexes""")}  # fmt: skip
    assert found["background_jobs_status_known"] == set(STATUSES)
    assert found["background_jobs_requested_known"] == set(REQUESTS)
    assert found["background_jobs_finished_at_iff_finished"] == set(FINISHED)
    assert found["idx_background_jobs_unique_active"] == set(ACTIVE)


@pytest.fixture
def empty(servers: dict[str, str]) -> Iterator[str]:
    with database(servers["DATABASE_URL"], f"longhaul_test_{secrets.token_hex(4)}") as url:
        yield url


def test_a_second_release_changes_nothing(empty: str) -> None:
    engine = make_engine(empty, application_name="test")
    release(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO businesses (name) VALUES ('kept')"))
    before = catalogue(engine)
    release(engine)
    assert catalogue(engine) == before
    with engine.connect() as connection:
        assert schema_version(connection) == expected_version()
        assert connection.execute(text("SELECT name FROM businesses")).scalars().all() == ["kept"]
    engine.dispose()


def test_a_server_that_is_too_old_is_refused_before_anything_is_changed(empty: str, monkeypatch) -> None:
    monkeypatch.setattr("sql.release.OLDEST", 99)
    engine = make_engine(empty, application_name="test")
    with pytest.raises(UnusableDatabaseError, match=r"found PostgreSQL \d+.*, expected 99 or newer"):
        release(engine)
    with engine.connect() as connection:
        assert schema_version(connection) is None
    engine.dispose()


def test_two_releases_at_once_are_harmless(empty: str) -> None:
    engine = make_engine(empty, application_name="test")
    errors: list[Exception] = []

    def one() -> None:
        try:
            release(engine)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with engine.connect() as connection:
        assert schema_version(connection) == expected_version()
    engine.dispose()


def test_a_release_takes_over_the_table_of_a_stock_dramatiq_pg(empty: str) -> None:
    import dramatiq_pg

    schema = Path(dramatiq_pg.__file__).with_name("schema.sql").read_text()
    for name in ("schema", "state", "queue"):
        schema = schema.replace(f':"{name}"', {"schema": "dramatiq", "state": "state", "queue": "queue"}[name])
    statements = "\n".join(line for line in schema.splitlines() if not line.startswith("\\"))
    engine = create_engine(DRIVER, creator=connector(empty))
    with engine.begin() as connection:
        connection.exec_driver_sql(statements)
        connection.execute(text("INSERT INTO dramatiq.queue (message_id, state) VALUES (gen_random_uuid(), 'queued')"))
    kinds_kept = ("column", "constraint", "enum")
    stock = [line for line in catalogue(engine) if "dramatiq" in line[1] and line[0] in kinds_kept]
    release(engine)
    assert [line for line in catalogue(engine) if line in stock] == stock
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM dramatiq.queue")).scalar() == 1
    engine.dispose()
