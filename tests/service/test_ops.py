"""The schema ops, as an operator's role sees it that has no right on any table."""

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from service.__main__ import main
from sql.engine import make_engine
from sql.roles import OPERATOR, grant_to_operator, operator_grants
from tests.actors.runtime.tiny import as_role
from tests.conftest import worker_at

VIEWS = text("SELECT relname FROM pg_class WHERE relnamespace = 'ops'::regnamespace AND relkind = 'v' ORDER BY 1")

WITHOUT_COMMENT = """
    SELECT c.oid::regclass::text AS name FROM pg_class c
    WHERE c.relnamespace::regnamespace::text IN ('public', 'dramatiq', 'ops') AND c.relkind IN ('r', 'v')
      AND obj_description(c.oid, 'pg_class') IS NULL AND c.relname <> 'alembic_version'
    UNION ALL SELECT c.oid::regclass || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace::regnamespace::text IN ('public', 'dramatiq') AND c.relkind = 'r' AND a.attnum > 0
      AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL AND c.relname <> 'alembic_version'
    UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE p.pronamespace::regnamespace::text IN ('public', 'ops') AND obj_description(p.oid, 'pg_proc') IS NULL
"""


@pytest.fixture
def operator(sql, settings) -> Iterator[Engine]:
    """Its name is that of the role."""
    role = f"longhaul_test_{secrets.token_hex(4)}"
    sql(f"CREATE ROLE {role} LOGIN")
    for statement in operator_grants(role):
        sql(statement)
    engine = make_engine(as_role(settings.DATABASE_URL, role), application_name="operator")
    engine.logging_name = role
    yield engine
    engine.dispose()
    sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def ask(operator) -> Callable[..., list[dict[str, Any]]]:
    """ask(statement, **values): as that role."""

    def run(statement: str, **values: Any) -> list[dict[str, Any]]:
        with operator.begin() as connection:
            return [dict(row) for row in connection.execute(text(statement), values).mappings()]

    return run


def test_a_role_without_any_right_on_the_tables_sees_every_view(operator, ask, make, worker_id, sql) -> None:
    make.job(status="running", worker_id=worker_id, heartbeat_at=None)
    queued = sql("SELECT id FROM start_job(:b, 'delete_receipts', 'maintenance', '{}', 3, 7, 'u')", b=make.business())
    make.job(status="failed", last_error="boom")
    with operator.connect() as connection:
        views = connection.scalars(VIEWS).all()
    assert {"active_jobs", "stuck_jobs", "queues", "workers", "history", "throughput"} <= set(views)
    for view in views:
        ask(f"SELECT * FROM ops.{view}")
    stuck = ask("SELECT id, reason, remedy FROM ops.stuck_jobs")
    assert [(row["id"], row["reason"]) for row in stuck] == [(queued[0]["id"], "no_worker")]
    (queue,) = ask("SELECT * FROM ops.queues")
    assert (queue["waiting"], queue["jobs_waiting"], queue["workers"], queue["is_left_alone"]) == (1, 1, 0, True)
    assert [row["state"] for row in ask("SELECT state FROM ops.workers")] == ["alive"]
    for table in ("background_jobs", "receipts", "dramatiq.queue"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            ask(f"SELECT * FROM {table if '.' in table else 'public.' + table}")


def test_a_worker_that_fell_silent_is_shown_with_for_how_long(ask, engine, sql) -> None:
    with worker_at(engine, speaks=False):
        sql("UPDATE watched_clock SET seen_at = clock_timestamp()")
        ask("SELECT pg_sleep(6)")
        sql("UPDATE watched_clock SET seen_at = clock_timestamp()")
        (worker,) = ask("SELECT state, silent_for FROM ops.workers")
        assert worker["state"] == "silent"
        assert 5 < worker["silent_for"].total_seconds() < 15
        sql("INSERT INTO workers (hostname, pid, queues, release) VALUES ('gone', 7, '{}', '')")
        assert [row["state"] for row in ask("SELECT state FROM ops.workers ORDER BY id")] == ["silent", "dead"]


@pytest.mark.parametrize(
    ("verb", "status"),
    [("pause", "queued"), ("pause", "running"), ("cancel", "queued"), ("cancel", "running"), ("resume", "paused")],
)
def test_a_verb_in_psql_leaves_what_the_api_leaves_and_records_who_it_was(
    verb, status, operator, ask, make, api, worker_id, job_row, events, sql
) -> None:
    business_id = make.business()
    columns = {"worker_id": worker_id} if status == "running" else {}
    by_api = make.job(business_id, status, **columns)
    by_psql = make.job(make.business(), status, **columns)
    assert api(business_id).post(f"/api/jobs/{by_api}/{verb}").status_code == 200
    (answer,) = ask(f"SELECT * FROM ops.{verb}_job(:id, 'dana', 'month end')", id=by_psql)
    assert answer == job_row(by_psql)

    own = {"id", "business_id", "message_id", "created_at", "updated_at", "started_at", "finished_at", "heartbeat_at"}
    both = [{name: value for name, value in job_row(one).items() if name not in own} for one in (by_api, by_psql)]
    assert both[0] == both[1]
    told = [[(e["event"], e["from_status"], e["to_status"]) for e in events(one)] for one in (by_api, by_psql)]
    assert told[0] == told[1]
    messages = [sql("SELECT state::text FROM dramatiq.queue WHERE message_id = :m", m=job_row(one)["message_id"])
                for one in (by_api, by_psql)]  # fmt: skip
    assert messages[0] == messages[1]
    (event,) = events(by_psql)
    assert (event["actor"], event["reason"]) == (f"psql:{operator.logging_name} (dana)", "month end")


def test_reset_and_retry_purge_are_there_too_and_nobody_acts_without_a_name(ask, make, worker_id, job_row) -> None:
    job_id = make.job(status="running", worker_id=worker_id)
    with pytest.raises(DBAPIError, match="found nothing, expected your name"):
        ask("SELECT ops.reset_job(:id, ' ', 'why')", id=job_id)
    ask("SELECT ops.reset_job(:id, 'dana', 'it hangs')", id=job_id)
    assert (job_row(job_id)["status"], job_row(job_id)["last_error"]) == ("failed", "it hangs")
    assert ask("SELECT ops.retry_purge('dana', 'new keys') AS n") == [{"n": 0}]


@pytest.mark.parametrize("token", ["7", "no number"])
@pytest.mark.parametrize("verb", ["pause", "cancel", "resume", "reset"])
def test_no_event_of_psql_names_a_token_whatever_the_session_says(verb, token, ask, make, worker_id, events) -> None:
    status = {"resume": "paused", "reset": "running"}.get(verb, "queued")
    job_id = make.job(status=status, worker_id=worker_id if status == "running" else None)
    ask(f"SELECT set_config('longhaul.token', '{token}', false), ops.{verb}_job(:id, 'dana', 'why')", id=job_id)
    assert {(event["detail"] or {}).get("token_id") for event in events(job_id)} == {None}
    assert events(job_id)[-1]["actor"].endswith(" (dana)")


@pytest.mark.parametrize(
    ("who", "why", "sentence"),
    [
        ("dana)\nworker:1 (", "why", "who: found a control character, expected text on one line"),
        ("dana\u202e", "why", "who: found a control character"),
        ("dana\u061c", "why", "who: found a control character"),
        ("dana", "\u200ewhy\u200f", "why: found a control character"),
        ("d" * 101, "why", "who: found 101 characters, expected up to 100"),
        ("dana", "a\r\nb", "why: found a control character, expected text on one line"),
        ("dana", "w" * 501, "why: found 501 characters, expected up to 500"),
    ],
)
def test_names_and_reasons_are_short_and_on_one_line(who, why, sentence, ask, make, job_row) -> None:
    job_id = make.job()
    for call in ("ops.pause_job(:id, :who, :why)", "ops.retry_purge(:who, :why)"):
        with pytest.raises(DBAPIError, match=re.escape(sentence)):
            ask(f"SELECT {call}", who=who, why=why, **({"id": job_id} if ":id" in call else {}))
    assert job_row(job_id)["status"] == "queued"
    ask("SELECT ops.pause_job(:id, :who, :why)", id=job_id, who="ד" * 100, why="é" * 500)
    assert job_row(job_id)["status"] == "paused"


def test_others_than_those_who_were_granted_it_may_not(operator, ask, sql) -> None:
    sql(f"REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA ops FROM {operator.logging_name}")
    with pytest.raises(ProgrammingError, match="permission denied for function"):
        ask("SELECT * FROM ops.why(1)")


def test_ops_functions_run_with_a_fixed_search_path_and_the_owners_rights(sql) -> None:
    rows = sql("SELECT proname, proconfig, prosecdef FROM pg_proc WHERE pronamespace = 'ops'::regnamespace")
    assert len(rows) >= 10
    assert {row["proconfig"][0] for row in rows} == {"search_path=pg_catalog, pg_temp"}
    assert {row["proname"] for row in rows if not row["prosecdef"]} == {"checked", "name_of"}


def test_everything_says_what_it_is_for(sql) -> None:
    assert sql(WITHOUT_COMMENT) == []


def test_roles_prints_what_makes_an_operator_and_runs_nothing(environment, monkeypatch, capsys, sql) -> None:
    monkeypatch.setenv("DATABASE_URL", environment["DATABASE_URL"])
    role = f"Ops {secrets.token_hex(4)}"
    monkeypatch.setattr("sys.argv", ["service", "roles", "--operator", role])
    assert main() == 0
    printed = capsys.readouterr().out
    assert sql("SELECT FROM pg_roles WHERE rolname = :r", r=role) == []
    try:
        sql(printed)
        assert sql(f"SELECT has_schema_privilege('{role}', 'ops', 'USAGE') AS may") == [{"may": True}]
        assert sql(f"SELECT pg_has_role('{role}', 'pg_signal_backend', 'USAGE') AS may") == [{"may": True}]
        capsys.readouterr()
        assert main() == 0
        assert "CREATE ROLE" not in capsys.readouterr().out
    finally:
        sql(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


def test_a_release_grants_to_the_operators_role_where_there_is_one(engine) -> None:
    may = text(f"SELECT has_function_privilege('{OPERATOR}', 'ops.why(bigint)', 'EXECUTE')")
    with engine.connect() as connection:
        grant_to_operator(connection)  # there is none, and none is made
        assert connection.execute(text(f"SELECT FROM pg_roles WHERE rolname = '{OPERATOR}'")).all() == []
        connection.execute(text(f"CREATE ROLE {OPERATOR}"))
        assert connection.execute(may).scalar() is False
        grant_to_operator(connection)
        assert connection.execute(may).scalar() is True
        connection.rollback()
