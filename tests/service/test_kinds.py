"""What a page needs to know of kinds, to make a form for one that it has never heard of."""

from actors.runtime.jobs.kinds import load_kinds


def kinds(answer) -> dict[str, dict]:
    assert answer.status_code == 200
    return {kind["job_type"]: kind for kind in answer.json["kinds"]}


def test_every_kind_is_listed_with_what_a_start_needs(api, make) -> None:
    found = kinds(api(make.business()).get("/api/kinds"))
    assert found.keys() == load_kinds().keys()
    delete = found["delete_receipts"]
    assert (delete["confirm"], delete["done_label"], delete["queue"]) == ("DELETE", "deleted", "maintenance")
    assert (delete["may_start"], delete["makes_file"], found["export_receipts"]["makes_file"]) == (True, False, True)
    assert delete["cooldown_seconds"] == 0  # as the environment of the tests says


def test_the_schema_has_what_a_start_may_give_and_not_what_is_set_at_the_start(api, make) -> None:
    found = kinds(api(make.business()).get("/api/kinds"))
    assert found["delete_receipts"]["params_schema"]["properties"] == {}
    export = found["export_receipts"]["params_schema"]["properties"]
    assert export.keys() == {"format", "from_date", "to_date"}
    assert export["format"]["enum"] == ["csv", "jsonl"]
    assert found["sync_receipts"]["params_schema"]["properties"].keys() == {
        "connection_id",
        "mode",
        "from_date",
        "to_date",
    }


def test_a_start_with_the_defaults_of_the_schema_is_taken(api, make) -> None:
    owner = api(make.business())
    for name, kind in kinds(owner.get("/api/kinds")).items():
        schema = kind["params_schema"]
        given = {field: one["default"] for field, one in schema["properties"].items() if one.get("default") is not None}
        missing = schema.get("required", [])
        answer = owner.post("/api/jobs", {"job_type": name, "params": given, "confirm": kind["confirm"]})
        assert answer.status_code in ((400,) if missing else (202, 404, 409)), answer.json


def test_who_may_start_what_is_told_by_role(api, make) -> None:
    business_id = make.business()
    assert all(kind["may_start"] for kind in kinds(api(business_id, "admin").get("/api/kinds")).values())
    assert not any(kind["may_start"] for kind in kinds(api(business_id, "member").get("/api/kinds")).values())
    assert not any(kind["may_start"] for kind in kinds(api(None, "operator").get("/api/kinds")).values())
