"""Many rows with one statement: a row that cannot be written costs itself."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from actors.runtime.base.apart import write_apart

WRITE = text("UPDATE businesses SET name = 'new' WHERE id = ANY (:ids) RETURNING id")


@pytest.fixture
def refusing(make, sql):
    """refusing("RAISE 'no'"): the ids of seven rows, of which the third and the last do that when they are written."""

    def rows(does: str) -> list[int]:
        ids = [make.business() for _ in range(7)]
        sql(f"""CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; RETURN new; END $$;
                CREATE TRIGGER bad BEFORE UPDATE ON businesses FOR EACH ROW WHEN (old.id IN ({ids[2]}, {ids[6]}))
                EXECUTE FUNCTION bad()""")
        return ids

    return rows


@pytest.mark.parametrize("does", ["RAISE 'no'", "RAISE query_canceled", "RAISE lock_not_available", "PERFORM 1 / 0"])
def test_a_row_that_cannot_be_written_is_left_and_named_and_all_others_are_written(does, refusing, engine) -> None:
    ids = refusing(does)
    with engine.connect() as session, capture_logs() as lines:
        written = [row.id for row in write_apart(session, WRITE, ids, what="test")]
    assert written == [*ids[:2], *ids[3:6]]
    left = [("row.left", "test", str(number)) for number in (ids[2], ids[6])]
    assert [(line["event"], line["what"], line["id"]) for line in lines] == left


@pytest.mark.parametrize("does", ["RAISE disk_full", "RAISE admin_shutdown", "RAISE read_only_sql_transaction"])
def test_an_error_of_the_server_is_nobodys_fault_and_raised(does, refusing, engine, sql) -> None:
    ids = refusing(does)
    with engine.connect() as session, capture_logs() as lines, pytest.raises(DBAPIError):
        list(write_apart(session, WRITE, ids, what="test"))
    assert lines == []
    assert sql("SELECT DISTINCT name FROM businesses") == [{"name": "Test & Sons"}]


def test_each_statement_has_a_time_limit_of_its_own_and_what_follows_has_none_of_it(engine) -> None:
    limits = "current_setting('lock_timeout') AS lock, current_setting('statement_timeout') AS statement"
    asks = text(f"SELECT n, {limits} FROM unnest(CAST(:ids AS int[])) AS n")

    def bind(some: Any) -> dict[str, Any]:
        return {"ids": [one + 1 for one in some]}

    with engine.connect() as session:
        before = session.execute(text(f"SELECT {limits}")).all()
        session.commit()
        rows = [tuple(row) for row in write_apart(session, asks, [1, 2], bind, what="test")]
        assert rows == [(2, "1s", "5s"), (3, "1s", "5s")]
        assert session.execute(text(f"SELECT {limits}")).all() == before
        session.commit()
        assert list(write_apart(session, asks, [], bind, what="test")) == []
        silent = text("UPDATE businesses SET name = 'new' WHERE id = ANY (:ids)")
        assert list(write_apart(session, silent, [1], what="test")) == []
