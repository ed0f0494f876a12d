"""What the server makes of bytes, and of many who send them slowly: all of it of one web process."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection

import pytest
from sqlalchemy import text

from service.auth import create_token
from service.local.client import Client
from service.local.embedded import free_port
from service.local.processes import wait_until
from sql.engine import make_engine
from tests.conftest import answers, dynos
from tests.service.wire import AT_ONCE, CHUNKED, HEAD, PARTS, ask, longest_wait

START = "/api/receipts/delete_all"


@pytest.fixture(scope="module")
def site(servers, databases, buckets, tmp_path_factory) -> Iterator[Client]:
    """An owner, of the web process."""
    with databases.one() as url, buckets.one() as bucket:
        engine = make_engine(url, application_name="test")
        with engine.begin() as connection:
            business_id = connection.scalar(text("INSERT INTO businesses (name) VALUES ('Test & Sons') RETURNING id"))
            token = create_token(connection, "owner", business_id, 7)
        engine.dispose()
        with dynos({**servers, **bucket, "DATABASE_URL": url}, tmp_path_factory.mktemp("web")) as start:
            port = free_port()
            start("web", PORT=port)
            client = Client(f"http://127.0.0.1:{port}", token)
            wait_until(lambda: answers(client), 30, "the web process")
            yield client


@pytest.fixture
def connect(site) -> Iterator[Callable[[], socket.socket]]:
    """connect(): a connection to it, closed at the end."""
    host, port = site.address.removeprefix("http://").split(":")
    with ExitStack() as defer:
        yield lambda: defer.enter_context(socket.create_connection((host, int(port)), timeout=30))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nNo colon\r\n\r\n", 400),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n", 431),
        (b"POST /healthz HTTP/1.1\r\nContent-Length: 1x\r\n\r\n", 400),
        (b"POST /healthz HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000, 413),
        (b"POST /healthz HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ],
)
def test_what_the_server_itself_refuses_is_json_too(request_bytes: bytes, status: int, connect) -> None:
    found, body = ask(connect(), request_bytes)
    assert found == status
    assert body["success"] is False
    assert body["error"]
    assert body["code"]


def test_a_request_that_ends_in_the_middle_is_answered(connect) -> None:
    client = connect()
    client.sendall(HEAD)
    client.shutdown(socket.SHUT_WR)
    assert ask(client, b"")[0] == 400


def test_headers_of_a_proxy_change_nothing(connect) -> None:
    status, _ = ask(
        connect(),
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nScript-Name: /healthz\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Ssl: off\r\nConnection: close\r\n\r\n",
    )
    assert status == 200


def test_one_connection_serves_many_requests(site) -> None:
    connection = HTTPConnection(site.address.removeprefix("http://"))
    for _ in range(50):
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)) == (200, {"success": True})
    connection.close()


@pytest.mark.parametrize(
    "head",
    [
        b"POST /healthz HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nTransfer-Encoding: \t\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nTransfer-Encoding: ,\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nTransfer-Encoding: chunked, Chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_a_request_whose_end_is_in_doubt_is_refused_and_the_connection_closed(head, connect) -> None:
    status, _ = ask(connect(), head + HEAD + b"\r\n")
    assert status == 400


@pytest.mark.parametrize("blank", [b" ", b"\t", b"\x0b", b"\x0c", b"\r\n ", b"\n\t"])
@pytest.mark.parametrize("rest", [b"\r\n\r\n", HEAD + b"\r\n"])
def test_a_request_that_begins_with_a_blank_is_refused_however_many_come(blank, rest, connect) -> None:
    status, body = ask(connect(), (blank + rest) * (8000 // len(blank + rest)))
    assert (status, body["code"]) == (400, "invalid_request")


def test_no_request_is_made_of_thousands_of_blank_lines(connect) -> None:
    status, _ = ask(connect(), b"\r\n" * 4000 + HEAD + b"Connection: close\r\n\r\n")
    assert status == 200


@pytest.mark.parametrize(
    ("head", "status"), [(b"Host: a\r\nHost: b\r\n\r\n", 400), (b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431)]
)
def test_a_refusal_of_head_has_no_body(head, status, connect) -> None:
    client = connect()
    client.sendall(b"HEAD /healthz HTTP/1.1\r\n" + head)
    said = b""
    while part := client.recv(4096):
        said += part
    assert said[:13] == f"HTTP/1.0 {status} ".encode()
    assert said.index(b"\r\n\r\n") == len(said) - 4


def test_what_is_sent_behind_a_request_is_dropped_and_the_connection_closed(connect) -> None:
    status, body = ask(connect(), (HEAD + b"\r\n") * 100)
    assert (status, body) == (200, {"success": True})


def test_a_body_of_some_chunks_is_read_however_they_are_cut(web, connect) -> None:
    body = json.dumps({"token": "x" * 200}).encode()
    chunks = b"".join(b"%x;a=b\r\n%b\r\n" % (len(body[n : n + 20]), body[n : n + 20]) for n in range(0, len(body), 20))
    head = CHUNKED.replace(b"Host", b"Content-Type: application/json\r\nConnection: close\r\nHost")
    status, answer = ask(connect(), b"\r\n\r\n" + head + chunks + b"0\r\nSome: trailer\r\n\r\n")
    assert (status, answer["code"]) == (401, "unauthorized")


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/api/jobs", "/api/receipts", "/api/docs", "/api/openapi.json"]
)
def test_head_answers_where_get_does_without_a_body(path, site) -> None:
    connection = HTTPConnection(site.address.removeprefix("http://"))
    for _ in range(2):  # the second would read what the first had left over
        connection.request("HEAD", path, headers=site.headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    connection.request("HEAD", START, headers=site.headers)
    assert connection.getresponse().status == 405
    connection.close()


def test_a_method_that_the_application_refuses_at_once_is_no_error_of_ours(site) -> None:
    connection = HTTPConnection(site.address.removeprefix("http://"), timeout=30)
    connection.request("WEBSOCKET", "/api/jobs")
    assert 400 <= connection.getresponse().status < 500
    connection.close()


@pytest.mark.parametrize("chunks", [b"zz\r\n{}\r\n", b"5\r\n{}", b"-1\r\n"])
def test_malformed_chunks_are_a_400(chunks, site) -> None:
    host, port = site.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"POST {START} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {site.headers['Authorization']}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            + chunks
        )
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("sort", PARTS)
def test_200_clients_of_each_slow_sort_delay_nobody(sort: str, site, connect) -> None:
    first, rest = PARTS[sort]
    clients = [connect() for _ in range(200)]
    for client in clients:
        client.sendall(first)
    for n in range(3):
        for client in clients if rest else []:
            client.sendall(rest[n : n + 1])
        assert longest_wait(site, 0.5) < AT_ONCE


def test_200_clients_that_never_read_their_answers_delay_nobody(site, connect) -> None:
    for _ in range(200):
        client = connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.sendall(b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
    assert longest_wait(site, 2) < AT_ONCE


TINY = {
    "chunks of a byte": CHUNKED + b"1\r\nx\r\n" * 15_000,
    "blank lines between chunks": CHUNKED + b"\r\n" * 45_000,
    "extensions of chunks": CHUNKED + (b'1;a="' + b"\\a" * 400 + b'"\r\nx\r\n') * 100,
    "a trailer that never ends": CHUNKED + b"0\r\na" + b"\r\na" * 20_000,
    "blank lines before a request": b"\r\n" * 45_000,
}


@pytest.mark.parametrize("sort", TINY)
def test_what_a_body_is_framed_with_costs_the_loop_no_more_than_a_body(sort: str, site, connect) -> None:
    clients = [connect() for _ in range(200)]
    for client in clients:
        client.setblocking(False)
        with suppress(OSError):  # what fits into the buffers
            client.send(TINY[sort])
    assert longest_wait(site, 0.5) < AT_ONCE
    if TINY[sort].startswith(CHUNKED):
        client = connect()
        assert ask(client, TINY[sort])[0] == 400
