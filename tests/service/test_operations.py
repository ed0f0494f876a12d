"""What the platform asks."""


def test_the_process_is_healthy_whatever_the_database_does(api) -> None:
    assert api(DATABASE_URL="postgresql://127.0.0.1:1/none").get("/healthz").status_code == 200


def test_it_is_ready_with_this_releases_schema(api) -> None:
    answer = api().get("/readyz")
    assert answer.status_code == 200
    assert answer.json["schema_version"]


def test_it_is_not_ready_without_a_database_or_with_an_older_schema(api, sql) -> None:
    assert api(DATABASE_URL="postgresql://127.0.0.1:1/none").get("/readyz").status_code == 503
    sql("UPDATE alembic_version SET version_num = '0000'")
    answer = api().get("/readyz")
    assert (answer.status_code, answer.json["code"]) == (503, "schema_too_old")
    assert "run the release command" in answer.json["error"]


def test_it_is_ready_on_the_schema_of_a_newer_release(api, sql) -> None:
    sql("UPDATE alembic_version SET version_num = '9999'")
    assert api().get("/readyz").status_code == 200
