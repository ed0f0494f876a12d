"""Databases for one test after the other.

Making one is the dearest part of a small test: the server writes checkpoints, for one test at a time. So a database
that a test leaves as it was released is emptied and used again. One that was changed in any other way is dropped:
whoever adds a trigger, revokes a right or sets a default spoils it for the next.
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg2 import sql
from sqlalchemy import Connection, Engine, NullPool, create_engine, text

from service.local import runs
from service.local.processes import wait_until
from sql.url import DRIVER, at_database, connector, database_name

MOST_BYTES = 2_000_000  # that it may have grown by: dead rows would slow the next test, and mislead the planner

OTHERS = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'
""")
CATALOGS = text("""
    SELECT oid::regclass::text FROM pg_class
    WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared
      AND relname NOT IN ('pg_statistic', 'pg_description', 'pg_depend', 'pg_collation')  -- see AROUND; large
""")
# Its owner and rights, its settings, transactions that are prepared, and what the planner knows of our tables.
AROUND = text("""
    SELECT d.datdba, d.datacl, d.datconnlimit, d.datallowconn,
        (SELECT array_agg(s::text ORDER BY s::text) FROM pg_db_role_setting s WHERE s.setdatabase IN (0, d.oid)),
        (SELECT count(*) FROM pg_prepared_xacts p WHERE p.database = d.datname),
        (SELECT array_agg(c.oid::text || ' ' || c.reltuples ORDER BY c.oid) FROM pg_class c
         WHERE c.reltuples > 0 AND c.oid >= 16384)
    FROM pg_database d WHERE d.datname = current_database()
""")
TABLES = text("""
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2
""")
SIZE = text("SELECT pg_database_size(current_database())")


class Databases:
    """Of one server; `url` is that of the released database that all begin as."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._server = _engine(at_database(url, "postgres"))
        self._free: list[str] = []
        with _engine(url).connect() as connection:
            self._catalogs = _union(connection.execute(CATALOGS).scalars().all())
            tables = [sql.Identifier(*row) for row in connection.execute(TABLES)]
            self._size = connection.execute(SIZE).scalar_one()
            self._as_released = self._state(connection)
            self._empty = _emptying(connection, tables)

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a database as released."""
        name = self._free.pop() if self._free else self._new()
        try:
            yield at_database(self._url, name)
        finally:
            if self._made_as_new(name):
                self._free.append(name)
            else:
                self._drop(name)

    def close(self) -> None:
        for name in self._free:
            self._drop(name)
        self._server.dispose()

    def _new(self) -> str:
        name = f"longhaul_test_{secrets.token_hex(4)}"
        runs.note("database", name)
        with self._server.connect() as connection:
            template = database_name(self._url)
            connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY'))
        return name

    def _drop(self, name: str) -> None:
        with self._server.connect() as connection:
            connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    def _made_as_new(self, name: str) -> bool:
        try:
            with _engine(at_database(self._url, name)).connect() as connection:
                wait_until(lambda: not connection.execute(OTHERS).all(), 20, "the test's sessions to end")
                if self._state(connection) != self._as_released:
                    return False
                with connection.connection.driver_connection.cursor() as cursor:  # type: ignore[union-attr]
                    cursor.execute(self._empty)
                return bool(connection.execute(SIZE).scalar_one() < self._size + MOST_BYTES)
        except Exception:  # dropped, renamed, closed to all: whatever it is, nobody else can use it
            return False

    def _state(self, connection: Connection) -> list[Any]:
        return [*connection.execute(self._catalogs), connection.execute(AROUND).one()]


def _engine(url: str) -> Engine:
    return create_engine(DRIVER, creator=connector(url), isolation_level="AUTOCOMMIT", poolclass=NullPool)


def _union(catalogs: Any) -> Any:
    """Each row of a catalog was written by the transaction that it names, so any change changes these sums."""
    looks = [f"SELECT '{name}', count(*), coalesce(sum(xmin::text::bigint), 0) FROM {name}" for name in catalogs]
    return text(" UNION ALL ".join(looks))


def _emptying(connection: Connection, tables: list[sql.Identifier]) -> str:
    """Statements that delete all rows, put back those of the release and start the sequences anew."""
    session: Any = connection.connection.driver_connection
    parts = [sql.SQL("BEGIN; SET LOCAL session_replication_role = replica; SET LOCAL statement_timeout = '20s'")]
    with session.cursor() as cursor:
        for table in tables:
            parts.append(sql.SQL("DELETE FROM {}").format(table))
            cursor.execute(sql.SQL("SELECT json_agg(t) FROM {} t").format(table))
            if (rows := cursor.fetchone()[0]) is not None:
                insert = sql.SQL("INSERT INTO {0} SELECT * FROM json_populate_recordset(NULL::{0}, {1})")
                parts.append(insert.format(table, sql.Literal(json.dumps(rows))))
        parts.append(sql.SQL("SELECT setval(seqrelid, seqstart, false) FROM pg_sequence; COMMIT"))
        return sql.SQL("; ").join(parts).as_string(session)
