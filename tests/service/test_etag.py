"""A look at a job that is as it was: 304, and no body."""

from functools import partial

import pytest


@pytest.fixture
def look(api, make):
    business_id = make.business()
    job_id = make.job(business_id, status="paused", total=10)
    caller = api(business_id)

    def get(tag: str | None = None, path: str = f"/api/jobs/{job_id}"):
        headers = {**caller._headers, **({"If-None-Match": tag} if tag else {})}
        return caller._client.simulate_get(path, headers=headers)

    get.job_id, get.business_id = job_id, business_id
    get.list = partial(get, path="/api/jobs")
    return get


def test_a_job_that_is_as_it_was_is_a_304_without_a_body(look) -> None:
    first = look()
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    again = look(tag)
    assert (again.status_code, again.text, again.headers["etag"]) == (304, "", tag)
    assert look(f'"other", {tag}').status_code == 304
    assert look("*").status_code == 304
    assert look('W/"other"').status_code == 200


def test_thousands_of_tags_are_not_read(look) -> None:
    tag = look().headers["etag"]
    assert look(f"{tag}, {tag}").status_code == 304
    assert look(", ".join([tag] * 500)).status_code == 200


def test_it_may_be_kept_by_its_reader_only_and_is_asked_for_each_time(look) -> None:
    for answer in (look(), look(look().headers["etag"])):
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["vary"] == "Authorization, Cookie"


def test_what_changed_is_sent(look, sql) -> None:
    tag = look().headers["etag"]
    sql("SELECT resume_job(:id, 'dana')", id=look.job_id)
    changed = look(tag)
    assert (changed.status_code, changed.json["status"]) == (200, "queued")
    assert changed.headers["etag"] != tag


def test_the_age_of_its_heartbeat_alone_is_no_change(look, sql) -> None:
    sql("UPDATE background_jobs SET heartbeat_at = now() - interval '5 s'")
    first = look()
    sql("SELECT pg_sleep(1.1)")
    again = look()
    assert again.json["seconds_since_heartbeat"] > first.json["seconds_since_heartbeat"]
    assert again.headers["etag"] == first.headers["etag"]


def test_an_active_job_says_when_to_look_again(look, sql) -> None:
    assert int(look().headers["retry-after"]) >= 1
    sql("SELECT cancel_job(:id, 'dana')", id=look.job_id)
    assert "retry-after" not in look().headers


def test_a_refusal_has_no_tag_and_is_not_kept(api, make) -> None:
    answer = api(make.business()).get("/api/jobs/999")
    assert (answer.status_code, answer.headers.get("etag")) == (404, None)


def test_a_list_that_is_as_it_was_is_a_304_and_one_that_grew_or_moved_is_not(look, sql, make) -> None:
    tag = look.list().headers["etag"]
    assert (look.list(tag).status_code, look.list(tag).text) == (304, "")
    sql("SELECT resume_job(:id, 'dana')", id=look.job_id)
    moved = look.list(tag)
    assert (moved.status_code, moved.json["jobs"][0]["status"]) == (200, "queued")
    make.job(look.business_id, status="completed")
    grown = look.list(moved.headers["etag"])
    assert (grown.status_code, len(grown.json["jobs"])) == (200, 2)


def test_the_ages_in_a_list_are_no_change(look, sql) -> None:
    sql("UPDATE background_jobs SET heartbeat_at = now() - interval '5 s'")
    first = look.list()
    sql("SELECT pg_sleep(1.1)")
    assert look.list(first.headers["etag"]).status_code == 304
