"""The database's doors: whose function is called, who may change the timeline, and what is left in the queue."""

import json
import secrets
import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from actors.export_receipts import MAKE_FILE as EXPORT
from actors.mail.storing import MAKE_FILE as MAIL
from actors.runtime.jobs.kinds import load_kinds
from actors.runtime.worker.sweep import sweep
from service.auth import NEXT_ID


def test_every_function_of_ours_looks_for_names_in_the_catalogue_only(sql) -> None:
    rows = sql("SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
    assert len(rows) > 25
    assert [row["proname"] for row in rows if "search_path=pg_catalog, pg_temp" not in row["proconfig"]] == []


def test_nobody_else_may_make_functions_beside_ours(sql) -> None:
    assert sql("SELECT has_schema_privilege('public', 'public', 'CREATE') AS may") == [{"may": False}]


def test_no_id_of_ours_comes_from_another_roles_function(engine, make) -> None:
    """Sequences are named by a text, which would match it better than Postgres's own."""
    business_id = make.business()
    values = {"business_id": business_id, "content_type": "x", "format": "csv", "days": 7, "suffix": ""}
    values["sha256"] = b"x" * 32
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE FUNCTION public.nextval(text) RETURNS bigint LANGUAGE sql AS 'SELECT 777'")
        made = [connection.execute(make_file, values).one().id for make_file in (EXPORT, MAIL)]
        made.append(connection.execute(NEXT_ID).scalar_one())
        assert 777 not in made
        connection.rollback()


WITHIN_A_TRIGGER = """
    CREATE TEMP TABLE door (x int);
    CREATE FUNCTION pg_temp.knock() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN DELETE FROM public.job_events; RETURN NEW; END $$;
    CREATE TRIGGER knock BEFORE INSERT ON door FOR EACH ROW EXECUTE FUNCTION pg_temp.knock();
    INSERT INTO door VALUES (1)
"""


@pytest.mark.parametrize(
    "statement", ["UPDATE job_events SET actor = 'nobody'", "DELETE FROM job_events", WITHIN_A_TRIGGER]
)
def test_events_are_not_changed_and_go_only_with_their_job(statement, make, sql) -> None:
    job_id = make.job()
    sql("SELECT pause_job(:id, 'dana')", id=job_id)
    with pytest.raises(DBAPIError, match="append-only"):
        sql(statement)
    assert [row["actor"] for row in sql("SELECT actor FROM job_events")] == ["dana"]
    sql("DELETE FROM background_jobs WHERE id = :id", id=job_id)
    assert sql("SELECT FROM job_events") == []


@pytest.mark.parametrize(
    "statement", ["UPDATE connection_events SET actor = 'nobody'", "DELETE FROM connection_events"]
)
def test_events_of_connections_are_not_changed_and_go_only_with_their_connection(statement, make, sql) -> None:
    business_id = make.business()
    connection_id = sql(
        """INSERT INTO connections (business_id, provider, account, settings, secret)
           VALUES (:b, 'imap', 'dana', '{}', 'sealed') RETURNING id""",
        b=business_id,
    )[0]["id"]
    sql(
        "INSERT INTO connection_events (connection_id, business_id, event, actor) VALUES (:c, :b, 'tested', 'user:7')",
        c=connection_id,
        b=business_id,
    )
    with pytest.raises(DBAPIError, match="append-only"):
        sql(statement)
    assert [row["actor"] for row in sql("SELECT actor FROM connection_events")] == ["user:7"]
    sql("DELETE FROM connections WHERE id = :c; DELETE FROM businesses WHERE id = :b", c=connection_id, b=business_id)
    assert sql("SELECT FROM connection_events") == []


def test_a_job_that_is_paused_and_resumed_again_and_again_leaves_one_message(make, sql) -> None:
    business_id = make.business()
    job_id = sql("SELECT id FROM start_job(:b, 'delete_receipts', 'maintenance', '{}', 3, 7, 'user:7')", b=business_id)
    for _ in range(50):
        sql("SELECT pause_job(:id, 'dana')", id=job_id[0]["id"])
        assert sql("SELECT FROM dramatiq.queue") == []
        sql("SELECT resume_job(:id, 'dana')", id=job_id[0]["id"])
    assert sql("SELECT message_id, state::text FROM dramatiq.queue") == sql(
        "SELECT message_id, 'queued' AS state FROM background_jobs"
    )
    sql("SELECT cancel_job(:id, 'dana')", id=job_id[0]["id"])
    assert sql("SELECT FROM dramatiq.queue") == []


def test_forty_thousand_stale_messages_are_gone_in_no_time_and_no_others(engine, settings, make, sql) -> None:
    business_id = make.business()
    ended = make.job(business_id, "completed")
    (live,) = sql(
        "SELECT id, message_id FROM start_job(:b, 'delete_receipts', 'maintenance', '{}', 3, 7, 'u')", b=business_id
    )
    fill = """INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime, message)
              SELECT gen_random_uuid(), 'maintenance', 'queued', now(), CAST(:message AS jsonb)
              FROM generate_series(1, :n)"""
    sql(fill, n=40_000, message=json.dumps({"actor_name": "delete_receipts", "args": [ended]}))
    sql(fill, n=1, message=json.dumps({"actor_name": "somebody_elses", "args": [ended]}))
    sql(fill, n=1, message=json.dumps({"actor_name": "delete_receipts", "args": ["x"]}))
    sql(fill, n=1, message=json.dumps({"actor_name": "delete_receipts", "args": [2**70]}))
    began = time.monotonic()
    kinds = load_kinds().values()
    with engine.connect() as connection:
        while (swept := sweep(connection, kinds, settings)) is not None and swept.dropped:
            pass
    assert time.monotonic() - began < 30  # one by one it took a minute with eight threads
    left = sql("SELECT message_id, message #>> '{args,0}' AS argument FROM dramatiq.queue ORDER BY seq")
    assert [row["argument"] for row in left] == [str(live["id"]), str(ended), "x", str(2**70)]


def test_a_release_whose_role_does_not_own_the_schema_goes_on(engine) -> None:
    from sql.doors import open_doors

    guest = f"longhaul_test_{secrets.token_hex(4)}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {guest}"))
        try:
            connection.execute(text(f"SET LOCAL ROLE {guest}"))
            assert open_doors(connection) is None  # somebody has closed them before
            connection.execute(text("RESET ROLE"))
            connection.execute(text("GRANT CREATE ON SCHEMA public TO PUBLIC"))
            connection.execute(text(f"SET LOCAL ROLE {guest}"))
            assert "REVOKE CREATE ON SCHEMA public FROM PUBLIC" in (open_doors(connection) or "")
        finally:
            connection.execute(text("RESET ROLE"))
            connection.execute(text(f"DROP ROLE {guest}"))


@pytest.mark.parametrize("schema", ["ops", "dramatiq"])
def test_a_release_says_who_else_owns_a_schema_of_ours_or_may_create_in_it(schema, engine) -> None:
    from sql.doors import open_doors

    guest = f"longhaul_test_{secrets.token_hex(4)}"
    with engine.connect() as connection, connection.begin() as transaction:
        connection.execute(text(f"CREATE ROLE {guest}"))
        assert open_doors(connection) is None
        connection.execute(text(f"GRANT CREATE ON SCHEMA {schema} TO {guest}"))
        assert f"REVOKE CREATE ON SCHEMA {schema} FROM {guest}" in (open_doors(connection) or "")
        connection.execute(text(f"ALTER SCHEMA {schema} OWNER TO {guest}"))
        assert open_doors(connection) == (
            f"{guest} owns the schema {schema} and can replace what is in it; a superuser can ALTER SCHEMA {schema} "
            "OWNER TO this role; then end all transactions that are open, before you release again"
        )
        transaction.rollback()
