"""Clients that are slow, silent or never read, on a real web process: nobody else waits for them."""

import asyncio
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Event
from types import SimpleNamespace
from urllib.request import urlopen

import psutil
import pytest
from sqlalchemy import text

from service.channel import Channel
from service.local.client import Client
from service.local.processes import wait_until
from service.task import Task
from tests.service.wire import AT_ONCE, HEAD, PARTS, ask, longest_wait


@pytest.fixture
def connect(web: Callable[..., Client]) -> Iterator[Callable[[], socket.socket]]:
    """connect(): a connection to the web process, closed at the end."""
    host, port = web().address.removeprefix("http://").split(":")
    with ExitStack() as defer:
        yield lambda: defer.enter_context(socket.create_connection((host, int(port)), timeout=30))


def test_a_request_that_expects_100_without_a_body_lends_its_token_to_no_other(web, connect, make) -> None:
    token = make.token(make.business()).encode()
    client = connect()
    client.sendall(HEAD + b"Authorization: Bearer " + token + b"\r\nExpect: 100-continue\r\n\r\n")
    answer = b""
    while not answer.endswith(b'{"success": true}'):  # the head and the body may come one after the other
        answer += client.recv(9999)
    assert answer.startswith(b"HTTP/1.1 200 ")
    client.sendall(b"GET /api/jobs HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.recv(9999).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("sort", "seconds"), [pytest.param("says nothing", 10, marks=pytest.mark.scale), ("drips its head", 10)]
)
def test_a_head_that_takes_longer_than_10_s_is_cut_off_however_it_drips(sort: str, seconds: float, connect) -> None:
    first, rest = PARTS[sort]
    client = connect()
    began = time.monotonic()
    client.sendall(first)
    client.settimeout(0.5)
    while time.monotonic() - began < seconds + 20:
        try:
            if not client.recv(100):
                break
        except TimeoutError:
            if rest:
                client.sendall(rest[:1])
        except ConnectionError:
            break
    assert seconds - 1 <= time.monotonic() - began < seconds + 15


@pytest.mark.parametrize(
    ("state", "in_a_crowd", "at_the_end"),
    [
        ({}, 2, 10),  # it has said nothing yet
        ({"request": SimpleNamespace(headers_finished=False)}, 2, 10),
        ({"request": SimpleNamespace(headers_finished=True)}, 5, 30),
        ({"total_outbufs_len": 1}, 5, 5),
        ({"served": 1}, 2, 75),
        ({"requests": ["one"]}, None, None),  # it waits for us
    ],
)
@pytest.mark.parametrize("ends", [False, True])
def test_who_is_waited_for_keeps_a_place_in_a_crowd_for_some_seconds_only(ends, state, in_a_crowd, at_the_end) -> None:
    """When the process is to end, a begun request has a time of its own."""
    seconds = at_the_end if ends else in_a_crowd
    channel = Channel.__new__(Channel)
    vars(channel).update({"requests": [], "total_outbufs_len": 0, "request": None, "will_close": False, **state})
    channel._since = 100.0
    closed: list[int] = []
    channel.handle_close = lambda: closed.append(now - 101)  # type: ignore[method-assign]
    for now in range(100, 200):
        channel.check_deadline(float(now), crowded=True, ends=ends)
    assert closed[:1] == ([] if seconds is None else [seconds])


def test_clients_that_ask_for_much_and_never_read_cost_neither_threads_nor_memory(web, connect, make, sql) -> None:
    business_id = make.business()
    token = make.token(business_id)
    sql(
        """INSERT INTO background_jobs (business_id, job_type, queue, actor, params, status, finished_at)
           SELECT :b, 'delete_receipts', 'maintenance', 'delete_receipts', '{}', 'cancelled', now()
           FROM generate_series(1, 500)""",
        b=business_id,
    )
    client = web(token)
    (process, *_) = listeners(int(client.address.rpartition(":")[2]))
    before = process.memory_info().rss
    request = f"GET /api/jobs?limit=500 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    for _ in range(40):
        greedy = connect()
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.sendall(request * (8000 // len(request)))
    longest_wait(client, 3)  # while the 40 answers are made; after that, nobody waits
    assert longest_wait(client, 1) < AT_ONCE
    assert process.memory_info().rss < before + 60 * 2**20


@pytest.mark.scale
def test_all_slow_sorts_together_for_a_minute_delay_nobody(web, connect, make) -> None:
    token = make.token(make.business())
    master = web(token)
    port = int(master.address.rpartition(":")[2])
    listening = {
        c.pid for c in psutil.net_connections("tcp") if c.laddr.port == port and c.status == "LISTEN" and c.pid
    }
    processes = [psutil.Process(pid) for pid in listening]
    before = {process.pid: process.memory_info().rss for process in processes}
    deadline = time.monotonic() + 60

    def attack(sort: str) -> None:
        first, rest = PARTS[sort]
        while time.monotonic() < deadline:
            clients = [connect() for _ in range(30)]
            for n in range(5):
                for client in clients:
                    try:
                        client.sendall(first if n == 0 else rest[n : n + 1])
                    except OSError:
                        continue
                time.sleep(1)  # a slow client is slow

    def longest(path: str, method: str) -> float:
        found = 0.0
        while time.monotonic() < deadline:
            began = time.monotonic()
            answer = master.get(path) if method == "GET" else master.post(path, {"confirm": "DELETE"})
            assert answer.status in (200, 202, 409)
            found = max(found, time.monotonic() - began)
        return found

    with ThreadPoolExecutor() as pool:
        attacks = [pool.submit(attack, sort) for sort in PARTS]
        waits = [
            pool.submit(longest, "/healthz", "GET"),
            pool.submit(longest, "/api/jobs", "GET"),
            pool.submit(longest, "/api/receipts/delete_all", "POST"),
        ]
        assert max(wait.result() for wait in waits) < AT_ONCE
        for one in attacks:
            one.result()
    assert all(process.is_running() for process in processes)
    assert all(process.memory_info().rss < before[process.pid] + 50 * 2**20 for process in processes)


def test_a_web_process_that_is_told_to_stop_is_gone_though_connections_are_open(start, connect, web) -> None:
    clients = [connect() for _ in range(3)]
    clients[1].sendall(HEAD)
    ask(clients[2], HEAD + b"Connection: close\r\n\r\n")
    (listening, *_) = listeners(int(web().address.rpartition(":")[2]))
    master = listening.parent() or listening
    began = time.monotonic()
    master.terminate()
    wait_until(lambda: not listening.is_running(), 30, "the web process to stop")
    assert time.monotonic() - began < 15  # of the 20 s that requests in hand would get


def test_a_web_process_that_is_told_to_stop_cuts_nobody_off_who_goes_on_asking(start, connect, web) -> None:
    def ask_until_it_closes(client: socket.socket) -> bytes:
        answer = b""
        while b"connection: close" not in answer.lower():
            client.sendall(HEAD + b"\r\n")
            answer = b""
            while not answer.endswith(b'{"success": true}'):
                part = client.recv(9999)
                assert part, "cut off"
                answer += part
        return client.recv(9999)

    clients = [connect() for _ in range(4)]
    (listening, *_) = listeners(int(web().address.rpartition(":")[2]))
    with ThreadPoolExecutor(len(clients)) as pool:
        asked = [pool.submit(ask_until_it_closes, client) for client in clients]
        (listening.parent() or listening).terminate()
        assert [one.result(60) for one in asked] == [b""] * len(clients)
    wait_until(lambda: not listening.is_running(), 15, "the web process to stop")


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_web_process_that_is_told_to_stop_refuses_new_clients_and_ends_the_rest(start, connect, web) -> None:
    begins, reads = connect(), connect()
    reads.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    reads.sendall(b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reads.recv(1) == b"H"
    port = int(web().address.rpartition(":")[2])
    (listening, *_) = listeners(port)
    begins.sendall(
        b"POST /api/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{"
    )
    (listening.parent() or listening).terminate()
    wait_until(lambda: is_refused(port), 10, "a new client to be refused")
    assert listening.is_running()
    begins.sendall(b'"token": "x"}')
    assert b"401" in begins.recv(9999)
    head, _, body = (b"H" + b"".join(iter(lambda: reads.recv(9999), b""))).partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length is not None
    assert len(body) == int(length[1])
    wait_until(lambda: not listening.is_running(), 30, "the web process to stop")


def test_who_is_answered_long_after_a_web_process_was_told_to_stop_may_ask_once_more(
    start, connect, web, make, engine, sql
) -> None:
    business = make.business()
    token = b"Authorization: Bearer " + make.token(business).encode() + b"\r\n"
    start_job = b'{"confirm": "DELETE"}'
    post = b"POST /api/receipts/delete_all HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + token
    client = connect()
    port = int(web().address.rpartition(":")[2])
    (listening, *_) = listeners(port)
    with engine.connect() as connection:
        connection.execute(text("SELECT id FROM businesses WHERE id = :id FOR UPDATE"), {"id": business})
        client.sendall(post + b"Content-Length: %d\r\n\r\n" % len(start_job) + start_job)
        waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        wait_until(lambda: sql(waits), 30, "the request to wait for the lock")
        told = time.monotonic()
        (listening.parent() or listening).terminate()
        wait_until(lambda: is_refused(port) and time.monotonic() - told > 3, 30, "the two seconds to be over")
        connection.rollback()
    assert client.recv(9999).startswith(b"HTTP/1.1 202 ")
    body = b'{"confirm": "' + b"x" * 20_000 + b'"}'
    client.sendall(post + b"Content-Length: %d\r\n\r\n" % len(body))
    client.sendall(body)  # is read in several turns
    answer = client.recv(9999)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in answer.lower()


HOLDS = {
    "was refused": HEAD + b"Transfer-Encoding: x\r\n\r\n",
    "sent more than its request": HEAD + b"\r\n\r\n",
    "has its answer": HEAD + b"\r\n",
    "sent nothing": b"",
    "drips its head": HEAD,
    "drips its body": b"POST /api/session HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n",
    "drips its chunks": b"POST /api/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\n",
    "expects 100": b"POST /api/session HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
}


@pytest.mark.parametrize("byte", [b"\n", b"a"])
def test_nobody_keeps_a_web_process_that_is_told_to_stop_by_a_byte_now_and_then(byte, start, connect, web) -> None:
    def drip() -> None:
        left = [connect() for _ in HOLDS]
        for client, first in zip(left, HOLDS.values(), strict=True):
            client.sendall(first)
        has_begun.set()
        while left:
            for client in tuple(left):
                try:
                    client.sendall(byte)
                except OSError:
                    left.remove(client)
            time.sleep(0.1)  # the fault itself: a byte now and then

    has_begun = Event()
    (listening, *_) = listeners(int(web().address.rpartition(":")[2]))
    with ThreadPoolExecutor() as pool:
        dripping = pool.submit(drip)
        assert has_begun.wait(30)
        began = time.monotonic()
        (listening.parent() or listening).terminate()
        wait_until(lambda: not listening.is_running(), 30, "the web process to stop")
        assert time.monotonic() - began < 15  # of 20
        dripping.result()


def listeners(port: int) -> list[psutil.Process]:
    found = [c for c in psutil.net_connections("tcp") if c.laddr.port == port and c.status == "LISTEN"]
    return [psutil.Process(c.pid) for c in found if c.pid]


def used(processes: list[psutil.Process]) -> float:
    """Seconds of a processor, whatever else the machine does meanwhile."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


LONG = 31_000
HOSTILE = {
    "an address of digits": b"GET a://" + b"1" * LONG + b" X\r\n",
    "an address of digits that is one": b"GET http://" + b"1" * LONG + b" HTTP/1.1\r\n",
    "blanks before a value": b"GET /healthz HTTP/1.1\r\nX:" + b" " * LONG + b"a\r\n",
    "blanks before a control character": b"GET /healthz HTTP/1.1\r\nX:" + b" " * LONG + b"\x01\r\n",
    "tabs and blanks": b"GET /healthz HTTP/1.1\r\nX:" + b" \t" * (LONG // 2) + b"a\r\n",
    "blanks in the request line": b"GET" + b" " * LONG + b"/ HTTP/1.1\r\n",
    "a long method": b"A" * LONG + b" / HTTP/1.1\r\n",
    "a long version": b"GET / HTTP/" + b"1" * LONG + b"\r\n",
    "many short headers": b"GET /healthz HTTP/1.1\r\n" + b"a:\r\n" * (LONG // 4),
    "a long number": b"GET /healthz HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n",
    "an address that is none": b"GET http://[ HTTP/1.1\r\n",
    "semicolons": b'POST /healthz HTTP/1.1\r\nContent-Type: a; b="' + b";" * LONG + b"\r\n",
}


def test_no_head_costs_the_loop_more_than_its_length_does(web, connect) -> None:
    processes = listeners(int(web().address.rpartition(":")[2]))
    for hostile, head in HOSTILE.items():
        client, before = connect(), used(processes)
        client.sendall(head + b"Connection: close\r\n\r\n")
        longest_wait(web(), 0.2)
        assert used(processes) - before < 0.7, hostile  # with what the questions of these 0.2 s have cost
        assert ask(client, b"")[0] in (200, 400, 404, 405, 415, 431), hostile


def test_bodies_that_are_sent_in_part_cost_no_more_files_than_there_are_places(web, connect) -> None:
    (process, *_) = listeners(int(web().address.rpartition(":")[2]))
    before = process.num_fds()
    for _ in range(100):
        connect().sendall(
            b"POST /api/receipts/delete_all HTTP/1.1\r\nHost: x\r\nContent-Length: 102000\r\n\r\n" + b"x" * 101_000
        )
    assert longest_wait(web(), 0.5) < AT_ONCE
    assert process.num_fds() <= before + 110


def test_many_heads_at_once_cost_neither_time_nor_memory(web, connect) -> None:
    (process, *_) = listeners(int(web().address.rpartition(":")[2]))
    before = process.memory_info().rss
    distinct = b"".join(b"a%d:\r\n" % n for n in range(4000))
    heads = [b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 8000, b"GET /" + b"%" * 30_000 + b" HTTP/1.1\r\n"]
    heads.append(b"POST /healthz HTTP/1.1\r\nContent-Length: 90000\r\n" + distinct)
    clients = [connect() for _ in range(150)]
    for n, client in enumerate(clients):
        client.sendall(heads[n % 3])
    for client in clients:
        client.sendall(b"\r\n")
    assert longest_wait(web(), 0.5) < AT_ONCE
    assert process.memory_info().rss < before + 40 * 2**20


@pytest.mark.parametrize(
    ("status", "length", "body", "written"),
    [
        ("200 OK", 5, [b"hello"], ["head+hello"]),
        ("200 OK", 10, [b"hello", b"world"], ["head", "hello", "world"]),
        ("200 OK", None, [b"hello"], ["head", "5\r\nhello\r\n", "0\r\n\r\n"]),
        ("200 OK", 3, [b"hello"], ["head", "hel"]),
        ("200 OK", 0, [], ["head"]),
        ("304 Not Modified", None, [], ["head"]),
        ("304 Not Modified", 5, [b"hello"], ["head"]),
    ],
)
def test_a_body_that_is_whole_is_written_with_its_head(status, length, body, written) -> None:
    pieces: list[bytes] = []
    server = SimpleNamespace(adj=SimpleNamespace(ident=None))
    channel = SimpleNamespace(server=server, write_soon=pieces.append)
    task = Task(channel, SimpleNamespace(version="1.1", headers={}))
    task.complete, task.status, task.content_length = True, status, length
    task.start()
    for part in body:
        task.write(part)
    task.finish()
    head = b"".join(pieces).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert head.startswith(b"HTTP/1.1 " + status.encode())
    assert [piece.replace(head, b"head+").decode().removesuffix("+") for piece in pieces] == written


def test_a_304_leaves_the_connection_open_for_the_next_poll(web, connect, make) -> None:
    business_id = make.business()
    head = (
        f"GET /api/jobs/{make.job(business_id, status='paused')} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {make.token(business_id)}\r\nIf-None-Match: *\r\n"
    ).encode()
    client = connect()
    for _ in range(3):
        client.sendall(head + b"\r\n")
        answer = client.recv(9999)
        assert answer.startswith(b"HTTP/1.1 304 ")
        assert b"Connection: close" not in answer
    client.sendall(head + b"Connection: close\r\n\r\n")
    answer = b""
    while chunk := client.recv(9999):
        answer += chunk
    assert b"Connection: close" in answer


@pytest.mark.parametrize("flooded_with", ["made-up tokens", "the token of another business"])
def test_a_flood_delays_neither_signing_in_nor_the_page_nor_tokens_that_are_new(flooded_with, web, make) -> None:
    address = web().address
    host, port = address.removeprefix("http://").split(":")
    business_id, over = make.business(), Event()
    valid, statuses = make.token(make.business()), []

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not over.is_set():
            token = f"lh_1_{secrets.token_hex(16)}" if flooded_with == "made-up tokens" else valid
            writer.write(f"GET /api/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            statuses.append(head.split(b" ", 2)[1])
            await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))

    async def flood() -> None:
        while not over.is_set():
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(host, int(port))
                try:
                    await ask(reader, writer)
                finally:
                    writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(flood() for _ in range(300)))

    def took(what: str) -> float:
        token = make.token(business_id)
        began = time.monotonic()
        if what == "the page":
            assert urlopen(address, timeout=60).status == 200  # noqa: S310 - our own server
        elif what == "whether I am signed in":
            assert Client(address).get("/api/session").status in (200, 401)
        elif what == "signing in":
            assert Client(address).post("/api/session", {"token": token}).status == 200
        else:
            assert Client(address, token).get("/api/jobs").status == 200
        return time.monotonic() - began

    with ThreadPoolExecutor(5) as pool, ExitStack() as defer:
        defer.callback(over.set)
        flooding = pool.submit(asyncio.run, all_of_them())
        for _ in range(15):  # from the very first of the flood on
            questions = ("the page", "whether I am signed in", "signing in", "a new token")
            asked = [pool.submit(took, question) for question in questions]
            assert max(one.result(60) for one in asked) < AT_ONCE
        wait_until(lambda: len(statuses) > 300, 30, "the flood")
        over.set()
        flooding.result(60)
    assert set(statuses) == ({b"401"} if flooded_with == "made-up tokens" else {b"200", b"429"})
