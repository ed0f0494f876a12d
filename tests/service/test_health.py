"""What the platform asks."""

import secrets

import pytest

from sql.url import database_name
from sql.version import expected_version


@pytest.fixture(autouse=True)
def each_look_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.shared_answer.SECONDS", 0)


def test_the_process_is_healthy_whatever_the_database_does(api) -> None:
    assert api(DATABASE_URL="postgresql://127.0.0.1:1/none").get("/healthz").status_code == 200


def test_it_is_ready_with_this_releases_schema(api) -> None:
    answer = api().get("/readyz")
    assert answer.status_code == 200
    assert answer.json["schema_version"]


def test_it_is_not_ready_without_a_database_or_with_an_older_schema(api, sql) -> None:
    assert api(DATABASE_URL="postgresql://127.0.0.1:1/none").get("/readyz").status_code == 503
    sql("UPDATE longhaul_version SET version_num = '0000'")
    answer = api().get("/readyz")
    assert (answer.status_code, answer.json["code"]) == (503, "schema_too_old")
    assert "run the release command" in answer.json["error"]


def test_it_is_ready_on_the_schema_of_a_newer_release(api, sql) -> None:
    sql("UPDATE longhaul_version SET version_num = '9999'")
    assert api().get("/readyz").status_code == 200


@pytest.mark.parametrize("version", ["10000", f"0{expected_version()}"])
def test_versions_are_compared_as_numbers(version, api, sql) -> None:
    sql("UPDATE longhaul_version SET version_num = :version", version=version)
    assert api().get("/readyz").status_code == 200


def test_a_version_of_somebody_elses_does_not_make_it_ready(api, sql) -> None:
    sql("DROP TABLE longhaul_version")
    sql("CREATE TABLE IF NOT EXISTS alembic_version (version_num text)")
    sql("INSERT INTO alembic_version VALUES ('9999')")
    answer = api().get("/readyz")
    assert (answer.status_code, answer.json["code"]) == (503, "schema_too_old")


def test_it_is_not_ready_while_the_database_is_read_only_and_is_at_once_afterwards(api, settings, sql) -> None:
    name = database_name(settings.DATABASE_URL)
    sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    caller = api()
    for _ in range(2):
        answer = caller.get("/readyz")
        assert (answer.status_code, answer.json["code"]) == (503, "read_only")
        assert "accepts no writes" in answer.json["error"]
    sql(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    assert caller.get("/readyz").status_code == 200


def test_a_web_process_that_has_lived_through_a_read_only_minute_writes_again(api, make, settings, sql) -> None:
    name, business_id = database_name(settings.DATABASE_URL), make.business()
    caller = api(business_id)
    sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert caller.post("/api/receipts/delete_all", {"confirm": "DELETE"}).status_code == 503
    sql(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    assert caller.post("/api/receipts/delete_all", {"confirm": "DELETE"}).status_code == 202


RIGHTS = (
    "GRANT USAGE ON SCHEMA public, dramatiq TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA public, dramatiq TO {role}"
)


@pytest.fixture
def role(sql):
    """A role that may all that a web process has to."""
    name = f"longhaul_test_{secrets.token_hex(4)}"
    sql(f"CREATE ROLE {name} LOGIN")
    sql(RIGHTS.format(role=name))
    yield name
    sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.parametrize(
    ("revoke", "lacking"),
    [
        ("INSERT ON background_jobs", "INSERT public.background_jobs"),
        ("UPDATE ON dramatiq.queue", "UPDATE dramatiq.queue"),
        (
            "USAGE ON SCHEMA public",
            "INSERT public.background_jobs, SELECT public.background_jobs, UPDATE public.background_jobs",
        ),
        ("USAGE ON SCHEMA dramatiq", "INSERT dramatiq.queue, SELECT dramatiq.queue, UPDATE dramatiq.queue"),
    ],
)
def test_it_is_not_ready_when_its_role_may_not_write_what_it_has_to(revoke, lacking, role, api, settings, sql) -> None:
    caller = api(DATABASE_URL=settings.DATABASE_URL.replace("//postgres@", f"//{role}@"))
    assert caller.get("/readyz").status_code == 200
    sql(f"REVOKE {revoke} FROM {role}, PUBLIC")
    answer = caller.get("/readyz")
    assert (answer.status_code, answer.json["code"]) == (503, "rights_missing")
    assert f"may not {lacking}:" in answer.json["error"]


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_it_is_not_ready_on_a_database_that_cannot_hold_every_name(encoding, api, other_encoding) -> None:
    answer = api(DATABASE_URL=other_encoding(encoding)).get("/readyz")
    assert (answer.status_code, answer.json["code"]) == (503, "wrong_encoding")
    assert f"Found a database whose encoding is {encoding}, expected UTF8" in answer.json["error"]
