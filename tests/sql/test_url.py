"""DATABASE_URL: what psql takes we take, and what is refused is not repeated."""

import pytest
from psycopg2.extensions import parse_dsn

from sql.url import at_database, checked_url, database_name


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p%40ss@host:5433/db?sslmode=require",
        "postgresql://u:p%40ss@host:5433/db",
        "postgres://u:p@h1,h2:5432/db?target_session_attrs=read-write",
        "postgres://u:p@h1:1,h2:2,[::1]:3/db",
        "postgres://u:p@%2Fsocket%2Fdir/db",
        "postgres://u@/db?host=/socket/dir",
        "postgres:///db",
        "postgres://u:p@h:/db",
        "postgres://u:p#?!x@h/db",
        "postgres://h/db?options=-c%20work_mem%3D5MB%20-c%20jit%3Doff",
        "postgres://h/db%20with%20blanks",
        "postgres://h?service=longhaul",
        "postgres://u:p?x@h1,h2/db",
    ],
)
def test_what_psql_takes_we_take(url: str) -> None:
    assert checked_url(url) == url
    moved = at_database(url, "an/other ?")
    assert parse_dsn(moved) == {**parse_dsn(url), "dbname": "an/other ?"}
    assert database_name(moved) == "an/other ?"


@pytest.mark.parametrize("around", ["{}\n", " {}", "\t{} \r\n"])
def test_blanks_around_it_are_left_out(around: str) -> None:
    assert checked_url(around.format("postgres://u:p@h/db")) == "postgres://u:p@h/db"


@pytest.mark.parametrize(
    "url", ["", "mysql://u:secret@h/d", "host=db password=secret", "postgresql://u:secret@h", "postgres://h:secret/d",
            "postgres://u:pa/ss@secret@h:1/db", "postgres://u:p?x@secret@h/db", "postgres://u:p/w@secret:1/x@h/db",
            "postgres://u:p@secret@h/db", "postgres://u:%secret@h/db", "postgres://u:secret%00@h/db",
            "postgres://u@h/db?secret", "postgres://u@h/db?secret=1", "postgres://u:secret/5432", "postgres://u@[secret/d",
            "postgres://u:p@h:99999/secret", "postgres://u:p@h:٣/secret",
            "postgres://u:p@h:1 secret/d", "postgres://u:\x00secret@h/d", "postgres://secret\udc80@h/d"]
)  # fmt: skip
def test_another_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="expected") as refusal:
        checked_url(url)
    assert "secret" not in str(refusal.value)
