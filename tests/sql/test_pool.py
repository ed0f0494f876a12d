"""Connections that died in the pool, and what it costs to find out."""

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Engine, text

from sql.engine import make_engine


@pytest.fixture
def pool(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    engine = make_engine(settings.DATABASE_URL, application_name="test of the pool")
    monkeypatch.setattr("sql.pool.FRESH_SECONDS", 1_000)
    yield engine
    engine.dispose()


@pytest.fixture
def pings(pool: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows by one with each round trip that only asks whether a session lives."""
    asked: list[Any] = []
    ping = pool.dialect.do_ping
    monkeypatch.setattr(pool.dialect, "do_ping", lambda session: asked.append(session) or ping(session))
    return asked


def pids(engine: Engine, number: int) -> set[int]:
    """Of so many sessions, in use at once."""
    with ExitStack() as defer:
        connections = [defer.enter_context(engine.connect()) for _ in range(number)]
        return {one.execute(text("SELECT pg_backend_pid()")).scalar_one() for one in connections}


def test_a_session_that_was_used_a_moment_ago_is_not_asked_whether_it_lives(pool, pings) -> None:
    for _ in range(3):
        pids(pool, 1)
    assert pings == []


def test_one_that_was_not_used_for_a_second_is_asked(pool, pings, monkeypatch) -> None:
    pids(pool, 1)
    monkeypatch.setattr("sql.pool.FRESH_SECONDS", 0)
    pids(pool, 1)
    assert len(pings) == 1


@pytest.mark.parametrize("number", [1, 5])
def test_sessions_that_the_server_has_ended_are_replaced_however_fresh(number, pool, sql) -> None:
    before = pids(pool, number)
    sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'test of the pool'")
    after = pids(pool, number)
    assert len(after) == number
    assert not after & before


def test_a_session_that_dies_without_a_word_is_replaced_after_a_second(pool, monkeypatch) -> None:
    before = pids(pool, 1)

    def lost(_session: Any) -> bool:
        monkeypatch.undo()
        raise psycopg2.OperationalError("no answer")

    monkeypatch.setattr("sql.pool.FRESH_SECONDS", 0)
    monkeypatch.setattr(pool.dialect, "do_ping", lost)
    assert not pids(pool, 1) & before


def test_what_the_server_says_in_passing_costs_no_session(pool, pings, sql) -> None:
    with pool.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("LISTEN news"))
    before = pids(pool, 1)
    sql("NOTIFY news")
    assert pids(pool, 1) == before


def test_a_file_number_beyond_1023_is_looked_at_too(pool, pings, sql) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_000), hard))
    with ExitStack() as defer:
        defer.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while (number := os.dup(0)) < 1_100:
            defer.callback(os.close, number)
        defer.callback(os.close, number)
        before = pids(pool, 1)
        assert pids(pool, 1) == before
        sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'test of the pool'")
        assert not pids(pool, 1) & before
        pool.dispose()
