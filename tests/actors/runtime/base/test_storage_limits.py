"""A store that trickles keeps its caller no longer than one that hangs."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from io import BytesIO
from threading import Event, Thread
from threading import enumerate as threads
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from actors.runtime.base import storage_limits
from actors.runtime.base.errors import StorageUnreachableError
from actors.runtime.base.storage import Bucket
from service.local.processes import wait_until

BEGINNINGS = {
    "its head": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
    "its body": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\n \r\n",
    ),
}
Trickling = Callable[[str], Bucket]


@pytest.fixture
def trickling(settings: Any) -> Iterator[Trickling]:
    """trickling("its head"): a bucket of a store that sends a byte now and then until the test is over."""
    over = Event()
    with ExitStack() as defer:
        listening = defer.enter_context(socket.create_server(("127.0.0.1", 0)))

        def answer(client: socket.socket, sort: str) -> None:
            begins, goes_on = BEGINNINGS[sort]
            with client, suppress(OSError):
                client.sendall(begins)
                while not over.wait(0.1):
                    client.sendall(goes_on)

        def accept(sort: str) -> None:
            with suppress(OSError):
                while True:
                    Thread(target=answer, args=(listening.accept()[0], sort), daemon=True).start()

        def bucket(sort: str) -> Bucket:
            Thread(target=accept, args=(sort,), daemon=True).start()
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            return Bucket(settings.model_copy(update={"S3_ENDPOINT_URL": address}))

        defer.callback(listening.shutdown, socket.SHUT_RDWR)
        defer.callback(over.set)
        yield bucket
    wait_until(lambda: not abandoned(), 30, "the abandoned calls to end")


def abandoned() -> list[str]:
    return [thread.name for thread in threads() if thread.name.startswith("s3 ")]


CALLS: dict[str, Callable[[Bucket], Any]] = {
    "delete": lambda bucket: bucket.delete(["a", "b"]),
    "put": lambda bucket: bucket.put("a", BytesIO(b"x"), "text/plain"),
    "keys": lambda bucket: bucket.keys(),
    "kept_versions": lambda bucket: bucket.kept_versions(),
}


@pytest.mark.parametrize("sort", BEGINNINGS)
def test_a_worker_that_boots_waits_for_it_some_seconds_only(sort: str, trickling: Trickling) -> None:
    began = time.monotonic()
    with pytest.raises(StorageUnreachableError, match="S3_ENDPOINT_URL"):
        trickling(sort).check()
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("call", CALLS)
def test_every_call_has_an_end(call: str, trickling: Trickling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.runtime.base.storage.CALL_SECONDS", 1)
    monkeypatch.setattr(storage_limits, "UPLOAD_SECONDS", 1)
    began = time.monotonic()
    with suppress(Exception):
        CALLS[call](trickling("its head"))
    assert time.monotonic() - began < 25  # and not until the store has ended


def test_only_so_many_calls_are_abandoned_at_once(trickling: Trickling) -> None:
    bucket = trickling("its head")
    client = bucket._connect(read_timeout=3, attempts=1, call_seconds=0.3)
    most = 2 * max(bucket._settings.WORKER_THREADS, 8)
    for _ in range(most + 2):
        with pytest.raises(Exception, match=r"(?i)timeout"):
            client.list_objects_v2(Bucket="b")
    assert len(abandoned()) == most


def test_a_call_for_which_there_is_no_thread_takes_no_place(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = storage_limits.Call

    def fail(*_anything: Any) -> Any:
        raise RuntimeError("can't start new thread")

    bucket.keys()
    monkeypatch.setattr(storage_limits, "Call", fail)
    for _ in range(2 * max(bucket._settings.WORKER_THREADS, 8)):
        with pytest.raises(RuntimeError):
            bucket.keys()
    monkeypatch.setattr(storage_limits, "Call", begin)
    assert bucket.keys() == []


def test_an_upload_has_the_longer_the_larger_it_is(tmp_path: Any) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(50_000_000))
    with file.open("rb") as body:
        assert storage_limits._upload_seconds(body) == 60 + 2_500
        body.seek(40_000_000)
        assert storage_limits._upload_seconds(body) == 60 + 500
        assert body.tell() == 40_000_000
    assert storage_limits._upload_seconds(bytes(200_000)) == 70


class Slow:
    """In place of boto3's client: a call takes so many seconds, and asks first where the bucket is."""

    meta = SimpleNamespace(endpoint_url="http://store")

    def __init__(self, seconds: float) -> None:
        self.seconds, self.over = seconds, Event()

    def _make_api_call(self, operation: str, parameters: dict[str, Any]) -> str:
        if operation != "HeadBucket":
            self._make_api_call("HeadBucket", {})
            self.over.wait(self.seconds)
        return operation


@pytest.mark.parametrize("operation", ["PutObject", "UploadPart", "GetObject"])
def test_only_an_upload_may_take_longer_than_other_calls(operation: str) -> None:
    client = Slow(60 if operation == "GetObject" else 0.4)
    storage_limits.limit_calls(client, most=1, seconds=0.1)
    if operation == "GetObject":
        with pytest.raises(ReadTimeoutError, match="http://store"):
            client._make_api_call(operation, {})
        with pytest.raises(ReadTimeoutError):
            client._make_api_call(operation, {})  # the first one has the only place
        client.over.set()
        wait_until(lambda: not abandoned(), 30, "the abandoned call to end")
        return
    assert client._make_api_call(operation, {"Body": b""}) == operation


def test_what_a_call_asks_on_its_way_needs_no_place_of_its_own() -> None:
    client = Slow(0)
    storage_limits.limit_calls(client, most=1, seconds=30)
    for _ in range(2):
        assert client._make_api_call("ListObjectsV2", {}) == "ListObjectsV2"
