"""The models and the migrations say the same, on every PostgreSQL that we support."""

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from service.local.embedded import postgres
from service.local.runs import LOCAL
from service.local.sandbox import database
from sql.engine import make_engine
from sql.models import Base
from sql.release import UnusableDatabaseError, create_functions, release
from sql.url import DRIVER, connector
from sql.version import expected_version, schema_version

# Everything that makes a schema, as Postgres itself spells it.
CATALOGUE = """
    SELECT 'column', format('%s.%s %s', attrelid::regclass, attname, concat_ws(' ', format_type(atttypid, atttypmod),
           CASE WHEN attnotnull THEN 'NOT NULL' END, attidentity, pg_get_expr(adbin, adrelid)))
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND c.relkind = 'r' AND relnamespace::regnamespace::text IN ('public', 'dramatiq')
    UNION ALL
    SELECT 'constraint', format('%s %s %s', conrelid::regclass, conname,
                                replace(pg_get_constraintdef(oid), ' NOT VALID', ''))  -- no table is born with one
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


def test_the_models_and_the_migrated_database_agree(server: str) -> None:
    with database(server, "migrated") as migrated_url, database(server, "modelled") as modelled_url:
        migrated = make_engine(migrated_url, application_name="test")
        modelled = make_engine(modelled_url, application_name="test")
        release(migrated)
        with modelled.begin() as connection:
            connection.execute(text("CREATE SCHEMA dramatiq"))
            Base.metadata.create_all(connection)
            create_functions(connection)
        found, expected = catalogue(migrated), catalogue(modelled)
        migrated.dispose()
        modelled.dispose()
    assert len(found) > 100
    assert found == expected


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
