"""A look at a job that is as it was: 304, and no body."""

import re
from functools import partial

import pytest

from tests.conftest import worker_at


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


@pytest.fixture
def moving(look, engine, sql):
    """The same job while a worker performs it."""
    with worker_at(engine, ["maintenance"], speaks=False) as session:
        sql("SELECT watch_clock()")
        values = {"id": look.job_id, "worker": session.info["worker_id"]}
        sql(
            "UPDATE background_jobs SET status = 'running', worker_id = :worker, heartbeat_at = now() WHERE id = :id",
            **values,
        )
        yield look


def test_a_moving_job_is_a_304_until_its_next_batch(moving, sql) -> None:
    first = moving()
    tag = first.headers["etag"]
    again = moving(tag)
    assert (again.status_code, again.text, again.headers["etag"]) == (304, "", tag)
    assert (again.headers["cache-control"], again.headers["retry-after"]) == ("private, no-cache", "2")
    assert moving(f'"other", {tag}').status_code == moving("*").status_code == 304
    sql("UPDATE background_jobs SET processed = 1, succeeded = 1, updated_at = now()")
    changed = moving(tag)
    assert (changed.status_code, changed.json["processed"]) == (200, 1)
    assert changed.headers["etag"] != tag


def test_a_pause_of_a_moving_job_is_sent_at_once(moving, sql) -> None:
    tag = moving().headers["etag"]
    sql("SELECT pause_job(:id, 'dana')", id=moving.job_id)
    assert (moving(tag).status_code, moving(tag).json["requested"]) == (200, "pause")


def test_a_moving_job_whose_worker_dies_is_no_304(moving, sql) -> None:
    tag = moving().headers["etag"]
    assert moving(tag).status_code == 304
    sql("SELECT end_sessions(ARRAY[(SELECT worker_id FROM background_jobs)])")
    answer = moving(tag)
    assert (answer.status_code, answer.json["status"]) == (200, "queued")


def test_what_became_of_a_moving_jobs_files_is_sent(moving, sql) -> None:
    sql("INSERT INTO attachment_counts VALUES (:id, 0, 0, 0, 2)", id=moving.job_id)
    tag = moving().headers["etag"]
    assert moving(tag).status_code == 304
    sql("UPDATE attachment_counts SET deleted = 2, pending = 0")
    assert moving(tag).json["stats"]["attachments_deleted"] == 2


def test_the_tag_of_another_role_is_no_304_because_its_links_differ(moving, api, make) -> None:
    tag = moving().headers["etag"]
    member = api(moving.business_id, "member").get(f"/api/jobs/{moving.job_id}", headers={"If-None-Match": tag})
    assert (member.status_code, "pause" in member.json["links"]) == (200, False)
    assert member.headers["etag"] != tag


def test_the_tag_of_a_moving_job_opens_no_other_business(moving, api, make) -> None:
    tag = moving().headers["etag"]
    stranger = api(make.business()).get(f"/api/jobs/{moving.job_id}", headers={"If-None-Match": tag})
    assert (stranger.status_code, stranger.json["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "tag", ['W/"1-owner"', 'W/"0-owner"', 'W/"-owner"', f'W/"{"9" * 400}-owner"', 'W/"1-2-3-owner"']
)
def test_a_version_that_nobody_was_told_is_no_304(tag, moving) -> None:
    assert moving(tag).status_code == 200


def test_a_job_that_stopped_is_a_304_again_only_by_what_it_shows(moving, sql) -> None:
    tag = moving().headers["etag"]
    assert re.fullmatch(r'W/"[0-9a-f]{1,16}-owner"', tag)
    sql("UPDATE background_jobs SET status = 'paused', worker_id = NULL")
    paused = moving(tag)
    assert (paused.status_code, paused.json["status"]) == (200, "paused")
    assert moving(paused.headers["etag"]).status_code == 304
