"""Where a release meets a database that is not as it expects: the version of another, a role with few rights."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import ProgrammingError

from service.local.processes import wait_until
from service.local.sandbox import database
from sql.engine import make_engine
from sql.locks import RELEASE, holding
from sql.release import UnusableDatabaseError, create_ops, release
from sql.url import at_database
from sql.version import MIGRATIONS, expected_version, schema_version
from tests.system.outages.breakable import own_postgres


@pytest.fixture
def empty(servers: dict[str, str]) -> Iterator[Engine]:
    """A database that was never released to."""
    with database(servers["DATABASE_URL"], f"longhaul_test_{secrets.token_hex(4)}") as url:
        engine = make_engine(url, application_name="test")
        yield engine
        engine.dispose()


@pytest.fixture
def run(empty: Engine) -> Callable[..., list[Any]]:
    """Runs statements there, in a transaction; returns the first column."""

    def execute(statement: str) -> list[Any]:
        with empty.begin() as connection:
            result = connection.execute(text(statement))
            return list(result.scalars()) if result.returns_rows else []

    return execute


def engine_of(servers: dict[str, str], database_name: str, role: str) -> Engine:
    url = at_database(servers["DATABASE_URL"], database_name).replace("//postgres@", f"//{role}@")
    return make_engine(url, application_name="test")


def wait_until_closed(run: Callable[..., list[Any]], role: str) -> None:
    closed = f"SELECT NOT has_schema_privilege('{role}', 'public', 'CREATE')"
    wait_until(lambda: run(closed) == [True], 30, "the doors to be closed")


def version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return schema_version(connection)


# As a database looks whose release still knew the former name only.
AS_BEFORE = """
    DROP TABLE longhaul_version;
    CREATE TABLE alembic_version (
        version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
    INSERT INTO alembic_version VALUES ('{version}')
"""


def test_the_version_is_taken_over_from_the_former_table_which_keeps_in_step(empty, run) -> None:
    release(empty)
    run("INSERT INTO businesses (name) VALUES ('kept')")
    run(AS_BEFORE.format(version=expected_version()))
    for _ in range(2):
        release(empty)
        assert version(empty) == expected_version()
        assert run("SELECT version_num FROM alembic_version") == [expected_version()]
    assert run("SELECT name FROM businesses") == ["kept"]


def test_an_older_version_there_is_migrated_and_the_release_before_sees_the_new_one(empty, run) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with empty.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")
    run(AS_BEFORE.format(version="0007"))
    there = "SELECT count(*) FROM pg_indexes WHERE indexname = 'idx_attachments_purge_job'"
    assert run(there) == [1]
    release(empty)
    assert run(there) == [0]
    assert version(empty) == expected_version()
    assert run("SELECT version_num FROM alembic_version") == [expected_version()]


FOREIGN = {
    "another value": "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('5f3a90c1')",
    "a value like ours": "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('0003')",
    "several rows": "CREATE TABLE alembic_version (version_num text); "
    "INSERT INTO alembic_version VALUES ('0001'), ('0002')",
    "no row": "CREATE TABLE alembic_version (version_num text)",
    "other columns": "CREATE TABLE alembic_version (id int, version_num text); "
    "INSERT INTO alembic_version VALUES (1, '0003')",
    "a view": "CREATE VIEW alembic_version AS SELECT 'x' AS version_num",
}


@pytest.mark.parametrize("made", FOREIGN.values(), ids=list(FOREIGN))
def test_the_version_table_of_another_project_is_left_alone(made, empty, run) -> None:
    run(made)
    before = run("SELECT t::text FROM alembic_version t")
    assert version(empty) is None
    for _ in range(2):
        release(empty)
        assert version(empty) == expected_version()
        assert run("SELECT t::text FROM alembic_version t") == before


def test_one_that_may_not_be_read_is_left_alone_too(empty, run, guest) -> None:
    engine, role = guest
    run(f"CREATE TABLE alembic_version (version_num text); GRANT CREATE ON SCHEMA public TO {role}")
    run(f"CREATE SCHEMA dramatiq AUTHORIZATION {role}")
    release(engine)
    assert version(empty) == expected_version()


@pytest.mark.parametrize("newer", ["9999", "0100", "theirs"])
def test_a_database_that_is_newer_is_refused_and_nothing_is_changed(newer, empty, run) -> None:
    release(empty)
    run(f"UPDATE longhaul_version SET version_num = '{newer}'")
    run("DROP FUNCTION pause_job")
    with pytest.raises(UnusableDatabaseError, match=f"found the database at version {newer}, expected "):
        release(empty)
    assert run("SELECT proname FROM pg_proc WHERE oid = to_regproc('public.pause_job')") == []
    assert version(empty) == newer


@pytest.fixture
def guest(servers, run) -> Iterator[tuple[Engine, str]]:
    """An engine whose role may not make schemas in that database, and its name."""
    role = f"longhaul_test_{secrets.token_hex(4)}"
    here = run("SELECT current_database()")[0]
    run(f"CREATE ROLE {role} LOGIN")
    engine = engine_of(servers, here, role)
    yield engine, role
    engine.dispose()
    run(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_a_role_that_may_make_no_schema_is_enough_where_the_dba_has_made_it(empty, run, guest) -> None:
    engine, role = guest
    run(f"CREATE SCHEMA dramatiq AUTHORIZATION {role}; GRANT CREATE ON SCHEMA public TO {role}")
    assert run(f"SELECT has_database_privilege('{role}', current_database(), 'CREATE')") == [False]
    for _ in range(2):
        release(engine)
    assert version(engine) == expected_version()
    assert run("SELECT count(*) FROM dramatiq.queue") == [0]


def test_a_role_that_is_no_superuser_makes_all_of_it_and_its_verbs_work(empty, run, guest) -> None:
    engine, role = guest
    here = run("SELECT current_database()")[0]
    run(f"GRANT CREATE ON DATABASE {here} TO {role}; GRANT ALL ON SCHEMA public TO {role}")
    for _ in range(2):
        release(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO businesses (name) VALUES ('B')"))
        job_id = connection.execute(
            text("SELECT id FROM start_job(1, 'delete_receipts', 'maintenance', '{}', NULL, NULL, 'dana')")
        ).scalar_one()
        connection.execute(text("SET LOCAL longhaul.token = '7'"))
        for verb in ("pause", "resume", "cancel"):
            connection.execute(text(f"SELECT ops.{verb}_job(:id, 'dana', 'to try it')"), {"id": job_id})
        told = connection.execute(text("SELECT actor, detail ->> 'token_id' FROM job_events ORDER BY id DESC LIMIT 3"))
        assert told.all() == [(f"psql:{role} (dana)", None)] * 3


def test_so_is_one_that_was_granted_the_schema(empty, run, guest) -> None:
    engine, role = guest
    run(f"CREATE SCHEMA dramatiq; GRANT ALL ON SCHEMA dramatiq, public TO {role}")
    release(engine)
    assert version(engine) == expected_version()


def test_without_the_schema_that_right_is_asked_for(run, guest) -> None:
    engine, role = guest
    run(f"GRANT CREATE ON SCHEMA public TO {role}")
    with pytest.raises(Exception, match="permission denied for database"):
        release(engine)
    assert version(engine) is None


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_in_another_encoding_is_refused_before_anything_is_changed(encoding, other_encoding) -> None:
    engine = make_engine(other_encoding(encoding), application_name="test")
    with pytest.raises(UnusableDatabaseError, match=f"whose encoding is {encoding}, expected UTF8"):
        release(engine)
    assert version(engine) is None
    engine.dispose()


def test_a_release_means_what_it_says_whatever_a_backslash_means_there(empty, run) -> None:
    name = run("SELECT current_database()")[0]
    run(f"ALTER DATABASE {name} SET standard_conforming_strings = off")
    empty.dispose()
    release(empty)
    (check,) = run("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE pg_get_constraintdef(oid) LIKE '%cntrl%'")
    assert r"//|\.\.'" in check


def test_a_release_that_is_suspended_is_ended_by_the_server_and_keeps_no_lock(empty) -> None:
    limits = []

    def note(session: Connection, _cursor, statement: str, *_rest) -> None:
        if "CREATE TABLE background_jobs" in statement:
            limits.append(session.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar())

    event.listen(empty, "after_cursor_execute", note)
    release(empty)
    assert limits == ["1min"]


PLANTED = {
    "for other arguments": "CREATE FUNCTION public.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS 'SELECT 1'",
    "with a default": "CREATE FUNCTION public.now(x int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a procedure": "CREATE PROCEDURE public.format(text) LANGUAGE sql AS 'SELECT 1'",
    "an aggregate": "CREATE AGGREGATE public.max(boolean) (SFUNC = booland_statefunc, STYPE = boolean)",
    "a name of ours": "CREATE FUNCTION public.live_workers(x int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a view of ours": "CREATE VIEW public.receipts AS SELECT 1 AS id",
    "our version table": "CREATE TABLE public.longhaul_version (version_num varchar(32) PRIMARY KEY)",
    "an operator": "CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = name, FUNCTION = pg_catalog.textnename)",
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_database_where_another_role_made_something_named_like_a_built_in(what, empty, run, guest) -> None:
    engine, role = guest
    run(f"GRANT CREATE ON SCHEMA public TO {role}")
    with engine.begin() as connection:
        connection.execute(text(PLANTED[what].replace(":", "\\:")))
    names = "ours" if "of ours" in what or what == "our version table" else "Postgres's own"
    with pytest.raises(UnusableDatabaseError, match=f"{role} (has created|owns) the .*, with names of {names}, "):
        release(empty)
    assert version(empty) is None
    run(f"DROP OWNED BY {role}")
    release(empty)


def test_what_others_made_under_names_of_their_own_and_what_is_trusted_is_left_alone(empty, run, guest) -> None:
    engine, role = guest
    run(f"GRANT CREATE ON SCHEMA public TO {role}")
    with engine.begin() as connection:
        connection.execute(text("CREATE FUNCTION public.vat(int) RETURNS int LANGUAGE sql AS 'SELECT 17'"))
    run("CREATE FUNCTION public.unnest(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'")  # a superuser's
    warning = release(empty)
    assert warning is not None
    assert f"{role} may create functions" in warning


# Called in the migrations' own bookkeeping; it leaves no trace of itself.
CALLED_AND_GONE = """
    CREATE TABLE public.loot (who text);
    GRANT ALL ON public.loot TO PUBLIC;
    CREATE FUNCTION public.same(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO public.loot VALUES (current_user);
            DROP OPERATOR IF EXISTS public.= (varchar, varchar);
            RETURN $1::text = $2::text;
        END $$;
    CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.same)
"""


def test_what_another_role_has_in_hand_when_the_doors_are_closed_is_never_called(empty, run, guest) -> None:
    mallory, role = guest
    run("GRANT CREATE ON SCHEMA public TO PUBLIC")
    with mallory.connect() as session, ThreadPoolExecutor() as threads:
        session.exec_driver_sql(CALLED_AND_GONE)
        released = threads.submit(release, empty)
        wait_until_closed(run, role)
        assert not released.done()
        session.commit()
        with pytest.raises(UnusableDatabaseError, match=f"{role} has created the operator"):
            released.result()
        with pytest.raises(ProgrammingError, match="permission denied for schema public"):
            session.exec_driver_sql("CREATE FUNCTION public.more() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    assert run("SELECT who FROM public.loot") == []
    assert version(empty) is None


def test_a_release_waits_only_so_long_for_what_another_role_has_in_hand(empty, run, guest, monkeypatch) -> None:
    monkeypatch.setattr("sql.doors.OPEN_SECONDS", 0.2)
    mallory, role = guest
    run("GRANT CREATE ON SCHEMA public TO PUBLIC")
    with mallory.connect() as session:
        session.exec_driver_sql("SELECT 1")
        for _ in range(2):  # the next release waits too
            with pytest.raises(UnusableDatabaseError, match=rf"\({role} in the session with pid \d+\)"):
                release(empty)
        session.rollback()
        assert release(empty) is None
        session.exec_driver_sql("SELECT 1")  # began too late to make anything
        assert release(empty) is None
    assert version(empty) == expected_version()


PUBLIC_SAYS = "SELECT obj_description('public'::regnamespace, 'pg_namespace')"


def test_after_a_release_that_was_killed_while_it_waited_the_next_one_waits(
    servers, empty, run, guest, monkeypatch
) -> None:
    mallory, role = guest
    here = run("SELECT current_database()")[0]
    run("GRANT CREATE ON SCHEMA public TO PUBLIC; COMMENT ON SCHEMA public IS 'what \\ was ''there'' before'")
    with mallory.connect() as session:
        session.exec_driver_sql(PLANTED["an operator"])
        killed = subprocess.Popen(
            [sys.executable, "-m", "service", "release"],
            env=os.environ | {"DATABASE_URL": at_database(servers["DATABASE_URL"], here)},
        )
        wait_until_closed(run, role)
        killed.kill()
        killed.wait()
        monkeypatch.setattr("sql.doors.OPEN_SECONDS", 0.2)
        for _ in range(2):
            with pytest.raises(UnusableDatabaseError, match=rf"\({role} in the session with pid \d+\)"):
                release(empty)
            assert run(PUBLIC_SAYS)[0].endswith(
                "(closed by a release that has not yet waited for the transactions of others)"
            )
        session.commit()
    with pytest.raises(UnusableDatabaseError, match=f"{role} has created the operator"):
        release(empty)
    run(f"DROP OWNED BY {role}")
    assert release(empty) is None
    assert run(PUBLIC_SAYS) == ["what \\ was 'there' before"]


MAKES_IT_LATER = f"""
    DO $do$ BEGIN
        BEGIN
            CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.nothing);
        EXCEPTION WHEN undefined_function THEN NULL;  -- but now its rights are known to this session
        END;
        PERFORM pg_advisory_lock(42);
        {CALLED_AND_GONE};
    EXCEPTION WHEN insufficient_privilege THEN NULL;
    END $do$
"""


def test_a_statement_that_began_before_the_doors_were_closed_makes_nothing_after(empty, run, guest) -> None:
    mallory, role = guest
    run("GRANT CREATE ON SCHEMA public TO PUBLIC")
    with empty.connect() as holder, mallory.connect() as session, ThreadPoolExecutor() as threads:
        holder.exec_driver_sql("SELECT pg_advisory_lock(42)")
        holder.commit()  # no transaction is to be waited for but Mallory's
        made = threads.submit(session.exec_driver_sql, MAKES_IT_LATER)
        wait_until(lambda: run("SELECT count(*) FROM pg_locks WHERE NOT granted") == [1], 30, "it to wait")
        released = threads.submit(release, empty)
        wait_until_closed(run, role)
        assert not released.done()
        holder.exec_driver_sql("SELECT pg_advisory_unlock(42)")
        holder.commit()  # else the release may wait for this one
        made.result()
        session.commit()
        has_made = run("SELECT count(*) FROM pg_operator WHERE oprnamespace = 'public'::regnamespace") == [1]
        if has_made:
            with pytest.raises(UnusableDatabaseError, match=f"{role} has created the operator"):
                released.result()
        else:
            released.result()
    assert run("SELECT count(*) FROM pg_class WHERE relname = 'loot'") == [has_made]
    assert not has_made or run("SELECT who FROM loot") == []


def test_a_group_is_not_trusted_for_what_its_other_members_make(servers, empty, run, guest) -> None:
    mallory, role = guest
    us, group = (f"longhaul_test_{secrets.token_hex(4)}" for _ in range(2))
    here = run("SELECT current_database()")[0]
    run(f"CREATE ROLE {us} LOGIN; CREATE ROLE {group}; GRANT {group} TO {us}, {role}")
    run(f"GRANT CREATE ON DATABASE {here} TO {us}; GRANT ALL ON SCHEMA public TO {us}, {group}")
    engine = engine_of(servers, here, us)
    try:
        assert f"{group} may create functions in the schema public" in (release(engine) or "")
        with mallory.begin() as connection:
            connection.exec_driver_sql(f"SET ROLE {group}")
            connection.exec_driver_sql(PLANTED["an operator"])
        with pytest.raises(UnusableDatabaseError, match=f"{group} has created the operator"):
            release(engine)
        run(f"REVOKE {group} FROM {role}")  # nobody else is in it any more
        release(engine)
    finally:
        engine.dispose()
        run(f"DROP OWNED BY {us}, {group} CASCADE; DROP ROLE {us}, {group}")


def test_what_another_role_has_done_in_a_superusers_transaction_is_waited_for(empty, run, guest) -> None:
    """As in autovacuum's: an index is computed by a function of the table's owner."""
    mallory, role = guest
    run("GRANT CREATE ON SCHEMA public TO PUBLIC")
    with mallory.begin() as connection:
        connection.exec_driver_sql(f"""
            CREATE FUNCTION public.plants() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN
                IF to_regclass('public.ready') IS NOT NULL AND to_regclass('public.loot') IS NULL THEN
                    {CALLED_AND_GONE}; END IF;
                RETURN 0; END $f$;
            CREATE FUNCTION public.looked_at(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
                $f$ BEGIN RETURN $1 + public.plants(); END $f$;
            CREATE TABLE public.mine (a int);
            INSERT INTO public.mine VALUES (1);
            CREATE INDEX ON public.mine (public.looked_at(a));
            CREATE TABLE public.ready ()
        """)
    with empty.connect() as analyst, ThreadPoolExecutor() as threads:
        analyst.exec_driver_sql("ANALYZE public.mine")
        released = threads.submit(release, empty)
        wait_until_closed(run, role)
        with pytest.raises(TimeoutError):
            released.result(1)
        analyst.commit()
        with pytest.raises(UnusableDatabaseError, match=f"{role} has created the operator"):
            released.result()
    assert run("SELECT who FROM public.loot") == []


@pytest.mark.parametrize(
    "closed_by", ["REVOKE CREATE ON SCHEMA public FROM PUBLIC", "REVOKE ALL ON SCHEMA public FROM {role}"]
)
def test_the_first_release_waits_though_somebody_else_has_closed_the_schema_just_now(
    closed_by, empty, run, guest
) -> None:
    mallory, role = guest
    run(f"GRANT CREATE ON SCHEMA public TO {role if 'role' in closed_by else 'PUBLIC'}")
    with mallory.connect() as session, ThreadPoolExecutor() as threads:
        session.exec_driver_sql(PLANTED["an operator"])
        run(closed_by.format(role=role))
        released = threads.submit(release, empty)
        with pytest.raises(TimeoutError):
            released.result(1)
        session.commit()
        with pytest.raises(UnusableDatabaseError, match=f"{role} has created the operator"):
            released.result(30)


def test_a_transaction_that_is_prepared_while_a_release_waits_for_it_is_waited_for(tmp_path) -> None:
    with own_postgres(tmp_path / "postgres") as server, ThreadPoolExecutor() as threads:
        engine = make_engine(server.url, application_name="test")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ALTER SYSTEM SET max_prepared_transactions = 2")
            connection.exec_driver_sql("CREATE ROLE mallory LOGIN")
            connection.exec_driver_sql("GRANT CREATE ON SCHEMA public TO PUBLIC")
        server.stop()
        server.start()
        mallory = make_engine(server.url.replace("//postgres@", "//mallory@"), application_name="test")
        with mallory.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
            session.exec_driver_sql("BEGIN")
            session.exec_driver_sql(PLANTED["an operator"])
            released = threads.submit(release, engine)
            may_create = "SELECT has_schema_privilege('public', 'CREATE')"
            with mallory.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
                wait_until(lambda: not other.exec_driver_sql(may_create).scalar(), 30, "the doors to be closed")
            session.exec_driver_sql("PREPARE TRANSACTION 'x'")
            with pytest.raises(TimeoutError):
                released.result(1)
            session.exec_driver_sql("COMMIT PREPARED 'x'")
            with pytest.raises(UnusableDatabaseError, match="mallory has created the operator"):
                released.result(30)
        mallory.dispose()
        engine.dispose()


def test_a_release_that_takes_too_long_is_named_by_the_one_that_waits_for_it(empty, run, guest, monkeypatch) -> None:
    monkeypatch.setattr("sql.release.SECONDS_FOR_ANOTHER", 0.3)
    other, role = guest
    with other.connect() as connection, holding(connection, RELEASE) as is_held:
        assert is_held
        with pytest.raises(UnusableDatabaseError, match=f"found another release of {role}, in the session with pid "):
            release(empty)
    release(empty)


NO_FRIENDS = {
    "ours is in it": "GRANT {other} TO {us}",
    "ours is in it without a right": "GRANT {other} TO {us} WITH INHERIT FALSE, SET FALSE",
    "ours may only grant it": "GRANT {other} TO {us} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
    "it is in ours without a right": "GRANT {us} TO {other} WITH INHERIT FALSE, SET FALSE",
    "it is in a group that may grant ours, but cannot use that": "CREATE ROLE {us}_admins; "
    "GRANT {us} TO {us}_admins WITH ADMIN TRUE; GRANT {us}_admins TO {other} WITH INHERIT FALSE, SET FALSE",
    "nobody logs in as it, but ours has no right of it": "ALTER ROLE {other} NOLOGIN; "
    "GRANT {other} TO {us} WITH INHERIT FALSE, SET FALSE",
}


@pytest.mark.parametrize("relation", NO_FRIENDS)
def test_a_role_is_not_trusted_because_ours_is_somehow_related_to_it(relation, servers, empty, run, guest) -> None:
    mallory, role = guest
    us, here = f"longhaul_test_{secrets.token_hex(4)}", run("SELECT current_database()")[0]
    run(f"CREATE ROLE {us} LOGIN; ALTER DATABASE {here} OWNER TO {us}; GRANT CREATE ON SCHEMA public TO PUBLIC")
    with mallory.begin() as connection:
        connection.exec_driver_sql(PLANTED["an operator"])
    run(NO_FRIENDS[relation].format(us=us, other=role))
    engine = engine_of(servers, here, us)
    try:
        with pytest.raises(UnusableDatabaseError, match=f"{role} has created the operator"):
            release(engine)
    finally:
        engine.dispose()
        run(f"ALTER DATABASE {here} OWNER TO postgres; DROP OWNED BY {us} CASCADE; DROP ROLE {us}")
        run(f"DROP ROLE IF EXISTS {us}_admins")


def test_a_role_that_may_grant_itself_ours_is_trusted(servers, empty, run, guest) -> None:
    """As whoever has created ours is, where he is no superuser."""
    admin, role = guest
    us, here = f"longhaul_test_{secrets.token_hex(4)}", run("SELECT current_database()")[0]
    run(f"ALTER ROLE {role} CREATEROLE; ALTER DATABASE {here} OWNER TO {role}")
    with admin.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {us} LOGIN; GRANT CREATE ON DATABASE {here} TO {us}")
        connection.exec_driver_sql(f"GRANT ALL ON SCHEMA public TO {us}; {PLANTED['an operator']}")
    engine = engine_of(servers, here, us)
    try:
        assert release(engine) is None
    finally:
        engine.dispose()
        run(f"ALTER DATABASE {here} OWNER TO postgres; DROP OWNED BY {us} CASCADE; DROP ROLE {us}")


def test_a_type_of_another_role_is_refused_though_its_schema_was_taken_over(empty, run, guest) -> None:
    mallory, role = guest
    run(f"CREATE SCHEMA dramatiq AUTHORIZATION {role}")
    with mallory.begin() as connection:
        connection.exec_driver_sql("CREATE DOMAIN dramatiq.state AS text CHECK (VALUE <> '')")
    run("ALTER SCHEMA dramatiq OWNER TO postgres")
    with pytest.raises(UnusableDatabaseError, match=rf"{role} owns the type dramatiq\.state, with names of ours"):
        release(empty)


def test_a_version_table_that_becomes_a_view_while_it_is_read_runs_nothing(empty, run, guest) -> None:
    mallory, role = guest
    run(f"GRANT CREATE ON SCHEMA public TO {role}")
    with mallory.connect() as session, ThreadPoolExecutor() as threads:
        session.exec_driver_sql("""
            CREATE TABLE public.loot (who text); GRANT ALL ON public.loot TO PUBLIC;
            CREATE TABLE public.longhaul_version (version_num text); GRANT ALL ON public.longhaul_version TO PUBLIC;
            CREATE FUNCTION public.seen() RETURNS text LANGUAGE plpgsql AS $$
                BEGIN INSERT INTO public.loot VALUES (current_user); RETURN '0020'; END $$
        """)
        session.commit()
        session.exec_driver_sql("""
            DROP TABLE public.longhaul_version;
            CREATE VIEW public.longhaul_version AS SELECT public.seen() AS version_num;
            GRANT ALL ON public.longhaul_version TO PUBLIC
        """)
        read = threads.submit(version, empty)
        wait_until(lambda: run("SELECT count(*) FROM pg_locks WHERE NOT granted") == [1], 30, "it to wait")
        session.commit()
        assert read.exception() is not None or read.result() is None
    assert run("SELECT who FROM loot") == []


RUNS_AS_WE = """
    CREATE FUNCTION public.seen_by_policy() RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO public.loot VALUES (current_user); RETURN true; END $$;
    CREATE FUNCTION public.seen_by_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO public.loot VALUES (current_user); RETURN NEW; END $$;
    CREATE TYPE public.odd AS (version text);
    CREATE FUNCTION public.odd_as_text(public.odd) RETURNS text LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO public.loot VALUES (current_user); RETURN ($1).version; END $$;
    CREATE CAST (public.odd AS text) WITH FUNCTION public.odd_as_text(public.odd);
    CREATE TABLE public.loot (who text)
"""
TRAPS = {
    "a policy": "CREATE TABLE alembic_version (version_num text); CREATE POLICY p ON alembic_version "
    "USING (seen_by_policy()); ALTER TABLE alembic_version ENABLE ROW LEVEL SECURITY",
    "a type": "CREATE TABLE alembic_version (version_num odd)",
    "a trigger": "CREATE TABLE alembic_version (version_num text); CREATE TRIGGER t BEFORE UPDATE ON alembic_version "
    "FOR EACH ROW EXECUTE FUNCTION seen_by_trigger()",
}


@pytest.mark.parametrize("trap", TRAPS)
def test_the_version_table_of_another_role_runs_nothing_of_its_own(trap, servers, empty, run, guest) -> None:
    mallory, role = guest
    ours = f"longhaul_test_{secrets.token_hex(4)}"
    here = run("SELECT current_database()")[0]
    run(f"CREATE ROLE {ours} LOGIN; GRANT CREATE ON DATABASE {here} TO {ours}")
    run(f"GRANT ALL ON SCHEMA public TO {ours}, {role}")
    engine = engine_of(servers, here, ours)
    try:
        release(engine)
        with mallory.begin() as connection:
            connection.exec_driver_sql(RUNS_AS_WE)
            connection.exec_driver_sql(TRAPS[trap])
            value = f"ROW('{expected_version()}')::odd" if trap == "a type" else f"'{expected_version()}'"
            connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ({value})")
            connection.exec_driver_sql(
                "GRANT ALL ON alembic_version, loot TO PUBLIC; GRANT USAGE ON TYPE odd TO PUBLIC"
            )
        run("DELETE FROM loot")
        release(engine)
        assert run("SELECT who FROM loot") == []
    finally:
        engine.dispose()
        run(f"DROP OWNED BY {ours} CASCADE; DROP ROLE {ours}")


def test_what_another_role_makes_while_a_release_runs_is_refused_too(empty, run, guest, monkeypatch) -> None:
    mallory, role = guest
    run(f"GRANT CREATE ON SCHEMA public TO {role}")

    def and_meanwhile(connection: Connection) -> str | None:
        with mallory.begin() as session:
            session.exec_driver_sql(PLANTED["an operator"])
        return create_ops(connection)

    monkeypatch.setattr("sql.release.create_ops", and_meanwhile)
    with pytest.raises(UnusableDatabaseError, match=f"{role} has created the operator"):
        release(empty)
    assert version(empty) is None


def test_tables_with_names_of_ours_run_nothing_of_the_role_that_made_them(empty, run, guest) -> None:
    mallory, role = guest
    run(f"GRANT CREATE ON SCHEMA public TO {role}")
    with mallory.begin() as connection:
        connection.exec_driver_sql(RUNS_AS_WE)
        connection.exec_driver_sql("""
            CREATE TABLE public.background_jobs ();
            CREATE TABLE public.longhaul_version (version_num varchar(32) NOT NULL);
            INSERT INTO public.longhaul_version VALUES ('0020');
            CREATE TRIGGER t BEFORE UPDATE ON public.longhaul_version FOR EACH ROW EXECUTE FUNCTION seen_by_trigger()
        """)
    with pytest.raises(UnusableDatabaseError, match=r"owns the table public\.background_jobs and 1 more, with "):
        release(empty)
    assert run("SELECT who FROM loot") == []


def test_a_release_names_the_owner_of_the_database_who_owns_its_schema_too(empty, run, guest) -> None:
    _, role = guest
    run("ALTER SCHEMA public OWNER TO pg_database_owner")
    here = run("SELECT current_database()")[0]
    run(f"ALTER DATABASE {here} OWNER TO {role}")
    try:
        assert f"{role} owns the schema public and can replace what is in it" in (release(empty) or "")
    finally:
        run(f"ALTER DATABASE {here} OWNER TO postgres")


def test_a_superusers_release_over_another_roles_tables_is_refused(empty, run, guest) -> None:
    engine, role = guest
    here = run("SELECT current_database()")[0]
    run(f"GRANT CREATE ON DATABASE {here} TO {role}; GRANT ALL ON SCHEMA public TO {role}")
    release(engine)
    with pytest.raises(UnusableDatabaseError, match=rf"owns the function .* and \d+ more, .* REASSIGN OWNED BY {role}"):
        release(empty)
    release(engine)
    run(f"REASSIGN OWNED BY {role} TO postgres; REVOKE ALL ON SCHEMA public FROM {role}")
    assert release(empty) is None


def test_a_role_may_release_what_its_group_owns_unless_somebody_logs_in_as_that(servers, empty, run, guest) -> None:
    engine, role = guest
    here = run("SELECT current_database()")[0]
    member = f"longhaul_test_{secrets.token_hex(4)}"
    run(f"GRANT CREATE ON DATABASE {here} TO {role}; GRANT ALL ON SCHEMA public TO {role}")
    run(f"CREATE ROLE {member} LOGIN IN ROLE {role}")
    release(engine)
    other = engine_of(servers, here, member)
    try:
        with pytest.raises(
            UnusableDatabaseError, match=f"{role} owns the .*, release as that role, or let a superuser "
        ):
            release(other)
        run(f"ALTER ROLE {role} NOLOGIN")
        release(other)
        run(AS_BEFORE.format(version=expected_version()))
        run(f"ALTER TABLE alembic_version OWNER TO {role}")
        release(other)  # the version is taken over from a table of that role
        assert version(empty) == expected_version()
    finally:
        other.dispose()
        run(f"DROP OWNED BY {member}; DROP ROLE {member}")
