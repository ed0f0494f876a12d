"""Buckets that keep versions: all of them go, and what can't go is said."""

import pytest

from actors.runtime.base import storage_versions
from actors.runtime.base.storage import NOT_TRIED
from actors.runtime.outbox import Purged, purge
from tests.actors.runtime.fakes3 import error

KEYS = [f"businesses/1/receipts/{n}.pdf" for n in range(1000)]


@pytest.mark.parametrize(("versioning", "page"), [("Enabled", 1000), ("Suspended", 1), ("Enabled", 2)])
def test_in_a_bucket_that_keeps_versions_all_of_them_go_and_no_mark_stays(versioning, page, store, fake) -> None:
    store.versioning, store.page = versioning, page
    store.add(*KEYS[:5], *KEYS[:5], "businesses/1/receipts/1.pdf.other")
    store.versions[KEYS[2]].append("mark0")
    bucket = fake()
    assert bucket.delete(KEYS[:5]) == {}
    assert store.versions == {**{key: [] for key in KEYS[:5]}, "businesses/1/receipts/1.pdf.other": ["v11"]}
    assert bucket.kept_versions() is None


@pytest.mark.parametrize(
    "answer", [error(403, "AccessDenied"), (403, ""), error(501, "NotImplemented"), error(405, "MethodNotAllowed")]
)
def test_a_store_that_does_not_list_versions_is_named_and_stops_nothing(
    answer, store, fake, engine, make, sql, tmp_path
) -> None:
    business_id = make.business()
    job_id = make.job(business_id)
    keys = make.attachments(make.receipts(business_id, 3), tmp_path)
    sql("UPDATE attachments SET purge_requested_at = now(), purge_after = now(), purge_job_id = :id", id=job_id)
    store.versioning = "Enabled"
    store.add(*keys)
    store.refuse = lambda name, *_: answer if name == "GET versions" else None
    bucket = fake()
    assert purge(engine, bucket) == Purged(deleted=3, failed=0)
    assert sql("SELECT * FROM attachment_counts") == [
        {"job_id": job_id, "deleted": 0, "kept": 3, "failed": 0, "pending": 0, "error": None}
    ]
    assert all("s3:ListBucketVersions" in row["purge_error"] for row in sql("SELECT purge_error FROM attachments"))
    asked = store.calls.count("GET versions"), store.calls.count("GET")
    assert bucket.delete(KEYS[:3]) == {}
    assert (store.calls.count("GET versions"), store.calls.count("GET")) == asked  # it is known by now


@pytest.mark.parametrize("answer", [error(403, "AccessDenied"), (403, "")])
def test_keys_that_may_not_ask_about_versions_delete_and_say_so_once_they_have(answer, store, fake) -> None:
    store.refuse = lambda name, _key, query, _body: answer if "versioning" in query else None
    store.add(*KEYS[:3])
    bucket = fake()
    assert bucket.delete(KEYS[:3]) == {}
    assert "s3:GetBucketVersioning" in str(bucket.kept_versions())
    asked = store.calls.count("GET")
    assert bucket.delete(KEYS[:3]) == {}
    assert store.calls.count("GET") == asked
    refused = fake()
    store.refuse = lambda *_: error(403, "AccessDenied")
    assert refused.delete(KEYS[:3]).keys() == set(KEYS[:3])
    assert refused.kept_versions() is None  # all is refused: that says nothing of versions
    store.refuse = lambda *_: None
    store.versioning = "Enabled"
    store.add(*KEYS[:3])
    assert refused.delete(KEYS[:3]) == {}
    assert store.keys() == set()


def test_object_lock_is_shown_as_what_it_is_and_costs_its_own_key(store, fake) -> None:
    store.versioning = "Enabled"
    store.add(*KEYS[:3])
    store.locked = {"v2"}
    errors = fake().delete(KEYS[:3])
    assert errors == {KEYS[1]: "a version stays (object lock, or AccessDenied: WORM)"}
    assert store.keys() == {KEYS[1]}


def test_a_store_that_does_not_answer_about_versions_now_is_asked_again(store, fake) -> None:
    store.refuse = lambda name, _key, query, _body: error(503, "SlowDown") if "versioning" in query else None
    store.versioning = "Enabled"
    store.add(*KEYS[:3])
    bucket = fake()
    assert bucket.delete(KEYS[:3]).keys() == set(KEYS[:3])
    store.refuse = lambda *_: None
    assert bucket.delete(KEYS[:3]) == {}
    assert store.keys() == set()


def test_versioning_that_is_switched_on_later_is_noticed_within_minutes(store, fake) -> None:
    bucket = fake()
    store.add(KEYS[0])
    assert bucket.delete(KEYS[:1]) == {}
    store.versioning = "Enabled"
    store.add(KEYS[1])
    asked = store.calls.count("GET")
    assert bucket.delete(KEYS[1:2]) == {}
    assert store.calls.count("GET") == asked  # not at each round
    bucket._versions._asked -= 290
    bucket.delete(KEYS[2:3])
    assert store.calls.count("GET") == asked
    bucket._versions._asked -= 20
    store.add(KEYS[3])
    assert bucket.delete(KEYS[3:4]) == {}
    assert store.versions[KEYS[3]] == []


def test_a_key_has_up_to_1024_bytes(store, fake) -> None:
    longest = "é" * 512
    store.add(longest)
    assert fake().delete([longest, longest + "x", "", "\ud800"]).keys() >= {longest + "x", ""}
    assert store.keys() == set()


def test_keys_that_may_ask_about_versions_by_now_have_no_complaint(store, fake) -> None:
    store.refuse = lambda *_: error(403, "AccessDenied")
    bucket = fake()
    assert bucket.delete(KEYS[:3]).keys() == set(KEYS[:3])
    store.refuse = lambda *_: None
    store.add(*KEYS[:3])
    assert bucket.delete(KEYS[:3]) == {}
    assert bucket.kept_versions() is None
    assert store.keys() == set()


@pytest.mark.parametrize("answer", [error(400, "NotSupported"), error(405, "MethodNotAllowed")])
def test_a_store_that_knows_no_versions_is_asked_once_and_keeps_none(answer, store, fake) -> None:
    store.refuse = lambda name, _key, query, _body: answer if "versioning" in query else None
    store.add(*KEYS[:3])
    bucket = fake()
    for key in KEYS[:3]:
        assert bucket.delete([key]) == {}
    assert store.calls.count("GET") == 1
    assert bucket.kept_versions() is None
    assert store.keys() == set()


@pytest.mark.parametrize(
    ("left", "says"),
    [
        (f"<Error><Key>{KEYS[0]}</Key><Code>Busy</Code><Message>no</Message></Error>", "a version stays (Busy: no)"),
        ("<Error><Code>Busy</Code></Error>", "a version stays (the store did not say what failed)"),
    ],
)
def test_a_version_that_stays_is_told_with_its_own_error(left, says, store, fake) -> None:
    store.versioning = "Enabled"
    store.add(KEYS[0])
    store.bulk_errors = lambda _keys: left
    assert fake().delete(KEYS[:1]) == {KEYS[0]: says}


def test_a_list_of_versions_that_fails_costs_its_own_key_and_says_how(store, fake) -> None:
    answers = {KEYS[0]: error(400, "Odd", "no"), KEYS[1]: error(403, "InvalidAccessKeyId")}

    def refuse(name: str, _key: str, query: dict[str, list[str]], _body: bytes):
        if name == "GET versions" and query["prefix"][0] == KEYS[2]:
            raise ConnectionError("made up: it hangs up")
        return answers.get(query["prefix"][0]) if name == "GET versions" else None

    store.versioning, store.refuse = "Enabled", refuse
    store.add(*KEYS[:4])
    bucket = fake()
    errors = bucket.delete(KEYS[:4])
    assert errors.keys() == store.keys() == set(KEYS[:3])
    assert errors[KEYS[0]] == "Odd: no"
    assert "see AWS_ACCESS_KEY_ID" in errors[KEYS[1]]
    assert "cannot be reached" in errors[KEYS[2]]
    assert bucket.kept_versions() is None


def test_versions_for_which_there_is_no_time_are_not_tried(store, fake, monkeypatch) -> None:
    store.versioning = "Enabled"
    store.add(*KEYS[:3])
    monkeypatch.setattr(storage_versions, "MAX_SECONDS", -1)
    assert fake().delete(KEYS[:3]) == dict.fromkeys(KEYS[:3], NOT_TRIED)
    assert store.keys() == set(KEYS[:3])


def test_of_keys_that_only_begin_alike_the_rest_is_not_read(store, fake) -> None:
    store.versioning, store.page = "Enabled", 2
    store.add(KEYS[1], *(f"{KEYS[1]}.{n}" for n in range(9)))
    assert fake().delete(KEYS[1:2]) == {}
    assert len(store.keys()) == 9
    assert store.calls.count("GET versions") == 2
