"""Databases for one test after the other.

Making one is the dearest part of a small test: the server writes checkpoints, for one test at a time. So a database is
emptied and used again, without the tables, functions and triggers that the test has made, and with our functions as
they were. One that was changed in any other way is dropped: whoever revokes a right or sets a default spoils it for the
next.
"""

import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor

from service.local import runs
from service.local.processes import wait_until
from sql.url import at_database, connector, database_name

MOST_BYTES = 2_000_000  # that it may have grown by: dead rows would slow the next test, and mislead the planner

OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'
"""
CATALOGS = """
    SELECT oid::regclass::text FROM pg_class
    WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared
      AND relname NOT IN ('pg_statistic', 'pg_description', 'pg_depend', 'pg_collation')  -- see AROUND; large
"""
# What is another row if it is put back as it was, and what any temporary table leaves behind.
ELSEWHERE = {"pg_proc": "oid >= 16384", "pg_namespace": r"nspname ~ '^pg_(toast_)?temp_\d+$'"}
# Its owner and rights, its settings, transactions that are prepared, what the planner knows of our tables, and our
# functions.
AROUND = """
    SELECT d.datdba, d.datacl, d.datconnlimit, d.datallowconn,
        (SELECT array_agg(s::text ORDER BY s::text) FROM pg_db_role_setting s WHERE s.setdatabase IN (0, d.oid)),
        (SELECT count(*) FROM pg_prepared_xacts p WHERE p.database = d.datname),
        (SELECT array_agg(c.oid::text || ' ' || c.reltuples ORDER BY c.oid) FROM pg_class c
         WHERE c.reltuples > 0 AND c.oid >= 16384),
        (SELECT md5(string_agg(f::text, '' ORDER BY f.oid)) FROM pg_proc f WHERE f.oid >= 16384)
    FROM pg_database d WHERE d.datname = current_database()
"""
FUNCTIONS = "SELECT oid, f::text, oid::regprocedure::text FROM pg_proc f WHERE oid >= 16384"
DEFINITIONS = "SELECT oid, f::text, pg_get_functiondef(oid) FROM pg_proc f WHERE oid >= 16384"
TABLES = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
SIZE = "SELECT pg_database_size(current_database())"


class Databases:
    """Of one server; `url` is that of the released database that all begin as."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: list[str] = []
        with _session(url) as template:
            ((released_at,),) = _rows(template, "SELECT pg_current_xact_id()::text")
            self._catalogs = _union([name for (name,) in _rows(template, CATALOGS)], released_at)
            self._tables = set(_rows(template, TABLES))
            self._functions = {oid: (whole, definition) for oid, whole, definition in _rows(template, DEFINITIONS)}
            ((self._size,),) = _rows(template, SIZE)
            self._as_released = self._state(template)
            self._empty = _emptying(template, self._tables)

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

    def _new(self) -> str:
        name = f"longhaul_test_{secrets.token_hex(4)}"
        runs.note("database", name)
        with _session(at_database(self._url, "postgres")) as server:
            template = database_name(self._url)
            server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        return name

    def _drop(self, name: str) -> None:
        with _session(at_database(self._url, "postgres")) as server:
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _made_as_new(self, name: str) -> bool:
        try:
            with _session(at_database(self._url, name)) as session:
                wait_until(lambda: not _rows(session, OTHERS), 20, "the test's sessions to end")
                if self._state(session) != self._as_released:
                    self._undo(session)
                    if self._state(session) != self._as_released:
                        return False
                session.execute(self._empty)
                ((size,),) = _rows(session, SIZE)
                return bool(size < self._size + MOST_BYTES)
        except Exception:  # dropped, renamed, closed to all: whatever it is, nobody else can use it
            return False

    def _undo(self, session: cursor) -> None:
        for table in set(_rows(session, TABLES)) - self._tables:
            session.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier(*table)))
        for oid, whole, name in _rows(session, FUNCTIONS):
            as_released, definition = self._functions.get(oid, (None, None))
            if definition is None:  # CASCADE: with the triggers that call it
                session.execute(f"DROP ROUTINE IF EXISTS {name} CASCADE")
            elif whole != as_released:
                session.execute(definition)

    def _state(self, session: cursor) -> list[Any]:
        return [*_rows(session, self._catalogs), *_rows(session, AROUND)]


@contextmanager
def _session(url: str) -> Iterator[cursor]:
    with closing(connector(url)()) as connection:
        connection.autocommit = True
        with connection.cursor() as session:
            yield session


def _rows(session: cursor, query: str) -> list[Any]:
    session.execute(query)
    return session.fetchall()


def _union(catalogs: list[str], released_at: str) -> str:
    """Each row of a catalog names the transaction that wrote it: how many there are, and how many are newer."""
    newer = f"count(*) FILTER (WHERE age(xmin) < age('{released_at}'::xid))"
    elsewhere = {name: f"WHERE NOT ({which})" for name, which in ELSEWHERE.items()}
    looks = [f"SELECT '{name}', count(*), {newer} FROM {name} {elsewhere.get(name, '')}" for name in catalogs]
    return " UNION ALL ".join(looks)


def _emptying(session: cursor, tables: Iterable[Any]) -> str:
    """Statements that delete all rows, put back those of the release and start sequences and statistics anew."""
    parts: list[sql.Composable] = [
        sql.SQL("BEGIN; SET LOCAL session_replication_role = replica; SET LOCAL statement_timeout = '20s'")
    ]
    for table in [sql.Identifier(*names) for names in sorted(tables)]:
        parts.append(sql.SQL("DELETE FROM {}").format(table))
        session.execute(sql.SQL("SELECT json_agg(t) FROM {} t").format(table))
        ((rows,),) = session.fetchall()
        if rows is not None:
            insert = sql.SQL("INSERT INTO {0} SELECT * FROM json_populate_recordset(NULL::{0}, {1})")
            parts.append(insert.format(table, sql.Literal(json.dumps(rows))))
    parts.append(sql.SQL("SELECT setval(seqrelid, seqstart, false) FROM pg_sequence"))
    parts.append(sql.SQL("SELECT pg_stat_reset(); COMMIT"))
    return sql.SQL("; ").join(parts).as_string(session)
