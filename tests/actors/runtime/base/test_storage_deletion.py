"""Deleting from stores of every kind: what one can't do costs a detour, and what one key spoils costs that key."""

import pytest

from actors.runtime.base import storage_versions
from actors.runtime.base.storage import NOT_TRIED
from actors.runtime.outbox import Purged, purge
from tests.actors.runtime.fakes3 import error

KEYS = [f"businesses/1/receipts/{n}.pdf" for n in range(1000)]


def test_a_thousand_objects_are_one_call_with_the_checksum_that_older_stores_want(store, fake) -> None:
    bodies: list[bytes] = []
    store.refuse = lambda _name, _key, _query, body: bodies.append(body)
    store.add(*KEYS)
    assert fake().delete(KEYS) == {}
    assert store.keys() == set()
    assert store.calls.count("DeleteObjects") == 1
    assert b"<Quiet>true</Quiet>" in bodies[-1]  # a thousand deleted keys need not come back
    assert store.md5 == [True]


@pytest.mark.parametrize(
    "answer",
    [
        error(501, "NotImplemented"),
        error(405, "MethodNotAllowed"),
        error(400, "MalformedXML"),
        error(400, "InvalidArgument"),
        error(411, "MissingContentLength"),
        error(400, "BadDigest"),
    ],
)
def test_a_store_without_bulk_deletion_is_asked_key_by_key_and_that_is_learned_once(answer, store, fake) -> None:
    store.refuse = lambda name, *_: answer if name == "DeleteObjects" else None
    store.add(*KEYS[:100])
    bucket = fake()
    assert bucket.delete(KEYS[:50]) == {}
    asked = store.calls.count("DeleteObjects")
    assert bucket.delete(KEYS[50:100]) == {}
    assert store.keys() == set()
    assert asked == (1 if answer[0] in (405, 501) else 2)  # these say it, of others it is tried
    assert store.calls.count("DeleteObjects") == asked


@pytest.mark.parametrize("bad", ["a//b", "/a", "a/../b", "spoilt.pdf"])
def test_one_key_that_spoils_its_call_costs_itself_whoever_else_is_in_it(bad, store, fake) -> None:
    def refuse(name: str, key: str, _query: object, body: bytes):
        spoilt = f"<Key>{bad}</Key>".encode() in body or (name == "DELETE" and key in (bad, bad.lstrip("/")))
        return error(400, "InvalidArgument", "what a key") if spoilt else None

    store.refuse = refuse
    store.add(*KEYS)
    bucket = fake()
    assert bucket.delete([*KEYS[:500], bad, *KEYS[500:999]]).keys() == {bad}
    assert store.keys() == {KEYS[999]}
    assert store.calls.count("DeleteObjects") < 40
    assert store.calls.count("DELETE") <= 2


def test_a_key_that_no_call_can_carry_costs_itself(store, fake) -> None:
    store.add(*KEYS[:3], "with\x01control", "with\nnewline")
    store.refuse = lambda name, _key, _query, body: error(400, "MalformedXML") if b"\x01" in body else None
    errors = fake().delete([*KEYS[:3], "", "with\x01control", "with\nnewline", "x" * 1025])
    assert errors.keys() == {"", "x" * 1025}
    assert store.keys() == set()


@pytest.mark.parametrize(
    "errors",
    [
        "<Error><Code>InternalError</Code><Message>no key</Message></Error>",
        "<Error><Key>somebody/elses.pdf</Key><Code>InternalError</Code></Error>",
        "<Error/>",
    ],
)
def test_an_error_that_names_no_key_of_ours_is_found_out_key_by_key(errors, store, fake) -> None:
    store.bulk_errors = lambda _keys: errors
    store.refuse = lambda name, key, *_: error(403, "Locked", "no") if name == "DELETE" and key == KEYS[1] else None
    store.add(*KEYS[:3])
    assert fake().delete(KEYS[:3]) == {KEYS[1]: "Locked: no"}
    assert store.keys() == {KEYS[1]}


def test_each_of_several_objects_that_one_call_leaves_is_told_with_its_own_error(store, fake) -> None:
    stay = {KEYS[1]: "AccessDenied", KEYS[3]: "InternalError", KEYS[4]: "AccessDenied"}

    def delete(keys: list[str]) -> str:
        for key in set(keys) - stay.keys():
            del store.versions[key]
        said = "<Error><Key>{}</Key><Code>{}</Code><Message>no</Message></Error>"
        return "".join(said.format(key, code) for key, code in stay.items())

    store.bulk_errors = delete
    store.add(*KEYS[:6])
    assert fake().delete(KEYS[:6]) == {key: f"{code}: no" for key, code in stay.items()}
    assert store.keys() == stay.keys()


@pytest.mark.parametrize(("left", "error"), [("<Code>Busy</Code>", "Busy: "), ("<Message>no</Message>", "Error: no")])
def test_an_error_is_told_as_far_as_the_store_tells_it(left, error, store, fake) -> None:
    store.bulk_errors = lambda keys: f"<Error><Key>{keys[0]}</Key>{left}</Error>"
    assert fake().delete(KEYS[:2]) == {KEYS[0]: error}


@pytest.mark.parametrize("code", ["NoSuchVersion", "404"])
def test_a_missing_version_is_deleted_however_the_store_says_so(code, store, fake) -> None:
    store.bulk_errors = lambda keys: "".join(f"<Error><Key>{key}</Key><Code>{code}</Code></Error>" for key in keys)
    assert fake().delete(KEYS[:3]) == {}


@pytest.mark.parametrize("code", ["NoSuchKey", "NotFound"])
def test_a_missing_object_is_deleted_however_the_store_says_so(code, store, fake) -> None:
    store.bulk_errors = lambda keys: "".join(f"<Error><Key>{key}</Key><Code>{code}</Code></Error>" for key in keys)
    assert fake().delete(KEYS[:3]) == {}
    store.refuse = lambda name, *_: {
        "DeleteObjects": error(501, "NotImplemented"),
        "DELETE": error(404, code),
    }.get(name)
    assert fake().delete(KEYS[:3]) == {}


def test_a_key_whose_own_call_the_store_breaks_off_is_not_taken_for_deleted(store, fake) -> None:
    def refuse(name: str, key: str, *_more: object):
        if name == "DELETE" and key == KEYS[1]:
            raise ConnectionError("made up: it hangs up")
        return error(501, "NotImplemented") if name == "DeleteObjects" else None

    store.refuse = refuse
    store.add(*KEYS[:3])
    errors = fake().delete(KEYS[:3])
    assert errors.keys() == store.keys() == {KEYS[1]}
    assert "cannot be reached" in errors[KEYS[1]]


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"])
def test_a_refusal_of_us_is_asked_once_and_not_key_by_key(code, store, fake) -> None:
    store.refuse = lambda *_: error(403, code)
    assert fake().delete(KEYS).keys() == set(KEYS)
    assert len(store.calls) <= 3


def test_what_there_is_no_time_for_is_given_back_untried(store, fake, engine, make, sql, tmp_path, monkeypatch) -> None:
    receipts = make.receipts(make.business(), 40)
    keys = make.attachments(receipts, tmp_path)
    sql("UPDATE attachments SET purge_requested_at = now(), purge_after = now(), purge_job_id = 1")
    store.add(*keys)
    monkeypatch.setattr(storage_versions, "MAX_SECONDS", -1)
    bucket = fake()
    assert set(bucket.delete(keys).values()) == {NOT_TRIED}
    assert purge(engine, bucket) == Purged(deleted=0, failed=0)
    rows = sql("SELECT purge_attempts, purge_error, purge_after <= now() AS due FROM attachments")
    assert rows == [{"purge_attempts": 0, "purge_error": None, "due": True}] * 40
    monkeypatch.setattr(storage_versions, "MAX_SECONDS", 25)
    assert purge(engine, bucket) == Purged(deleted=40, failed=0)


# Versions


def test_a_store_that_can_delete_in_bulk_can_do_so_whatever_it_says_later(store, fake) -> None:
    bucket = fake()
    store.add(*KEYS[:9])
    assert bucket.delete(KEYS[:3]) == {}
    store.refuse = lambda name, _key, _query, body: (
        error(501, "NotImplemented") if name == "DeleteObjects" and KEYS[4].encode() in body else None
    )
    assert bucket.delete(KEYS[3:6]) == {}
    assert store.calls.count("DELETE") == 1  # which was alone in the end
    asked = store.calls.count("DeleteObjects")
    assert bucket.delete(KEYS[6:9]) == {}
    assert store.calls.count("DeleteObjects") == asked + 1
    assert store.keys() == set()


@pytest.mark.parametrize(
    ("code", "says"), [("Odd", "Odd: no"), ("AccessDenied", "refuses our credentials (AccessDenied)")]
)
def test_a_key_that_is_refused_alone_says_what_to_look_at_if_it_is_us(code, says, store, fake) -> None:
    store.refuse = lambda name, *_: error(403, code, "no") if name == "DELETE" else None
    store.add("a\x01")
    assert says in fake().delete(["a\x01"])["a\x01"]


def test_a_key_that_goes_alone_is_not_tried_either_once_the_time_is_over(store, fake, monkeypatch) -> None:
    store.refuse = lambda name, *_: error(501, "NotImplemented") if name == "DeleteObjects" else None
    bucket = fake()
    assert bucket.delete(KEYS[:1]) == {}
    calls = store.calls.count("DELETE")
    monkeypatch.setattr(storage_versions, "MAX_SECONDS", -1)
    assert bucket.delete([*KEYS[:3], "a\x01"]) == dict.fromkeys([*KEYS[:3], "a\x01"], NOT_TRIED)
    assert store.calls.count("DELETE") == calls
