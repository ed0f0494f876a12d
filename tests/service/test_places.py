"""The web server's event loop; who gets a connection of it, and who loses one, in a flood of them."""

import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel

from service.channel import Channel
from service.local.processes import wait_until
from service.loop import Sockets
from service.server import server_on
from service.turns import Turns

LIMIT = 40
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
Connect = Callable[..., socket.socket]


def answer_later() -> None:
    """For a test to replace."""


def answer(environment: Any, start_response: Any) -> list[bytes]:
    if environment["PATH_INFO"] == "/later":
        answer_later()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


@pytest.fixture
def sockets() -> Sockets:
    """All that the loop looks after; two are the server itself."""
    return Sockets()


@pytest.fixture
def turn(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """turn(): a turn of the loop of a server with few places; turn.connect(bytes): a client."""
    monkeypatch.setattr("service.channel.SECONDS_IN_A_CROWD", {})  # nobody goes because of his deadline
    with ExitStack() as defer:
        listening = defer.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        turns = Turns(2, most_in_flight=0, cookie="session")
        defer.callback(turns.shutdown, timeout=2)
        adjustments = Adjustments(connection_limit=LIMIT)
        server_on(listening, answer, sockets, turns, adjustments)
        defer.callback(wasyncore.close_all, sockets)

        def connect(says: bytes = b"") -> socket.socket:
            client = defer.enter_context(socket.create_connection(listening.getsockname(), timeout=30))
            turn.clients.append(client)  # type: ignore[attr-defined]
            client.sendall(says)
            return client

        def turn() -> None:
            sockets.turn(seconds=0.05)

        turn.connect, turn.clients = connect, []  # type: ignore[attr-defined]
        yield turn


@pytest.fixture
def connect(turn: Any) -> Iterator[Connect]:
    """connect(bytes): a client of that server, whose loop runs by itself."""
    stop = Event()

    def run() -> None:
        while not stop.is_set():
            turn()

    thread = Thread(target=run)
    thread.start()
    yield turn.connect
    stop.set()
    thread.join()


def is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    finally:
        client.settimeout(30)


def channels(sockets: Sockets) -> list[Channel]:
    return [one for one in sockets.values() if isinstance(one, Channel)]


def is_readable(client: socket.socket) -> bool:
    return bool(select.select([client], [], [], 0)[0])


def is_answered(connect: Connect) -> bool:
    """Not if our thread gets no turn between connecting and asking: then it may be the longest silent itself."""
    with suppress(ConnectionError):
        return connect(REQUEST).recv(100).startswith(b"HTTP/1.1 200 ")
    return False


def fill(turn: Any, sockets: Sockets, number: int) -> None:
    """So many silent clients."""
    for _ in range(number):
        turn.connect()
    wait_until(lambda: turn() or len(channels(sockets)) == number, 30, "the connections")


def test_a_turn_accepts_one_of_the_first_so_that_other_processes_get_theirs(turn, sockets) -> None:
    for _ in range(4):
        turn.connect()
    for number in range(1, 4):
        turn()
        assert len(channels(sockets)) == number


def test_a_turn_accepts_the_more_the_more_there_are(turn, sockets) -> None:
    fill(turn, sockets, 16)
    for _ in range(4):
        turn.connect()
    turn()
    assert len(channels(sockets)) == 16 + 3


def test_a_turn_accepts_a_tenth_of_the_places_at_most(turn, sockets) -> None:
    fill(turn, sockets, LIMIT - 4)
    for _ in range(10):
        turn.connect()
    before = set(channels(sockets))
    turn()
    assert len(set(channels(sockets)) - before) == LIMIT // 10


def test_a_turn_asks_no_connection_that_is_idle(turn, sockets, monkeypatch) -> None:
    idle = [turn.connect() for _ in range(4)]
    wait_until(lambda: turn() or len(channels(sockets)) == 4, 30, "the connections")
    turn()
    asked: list[Channel] = []
    readable = Channel.readable
    monkeypatch.setattr(Channel, "readable", lambda channel: asked.append(channel) or readable(channel))
    for _ in range(3):
        idle[0].sendall(REQUEST)
        wait_until(lambda: turn() or is_readable(idle[0]), 30, "an answer")
        assert idle[0].recv(999).startswith(b"HTTP/1.1 200 ")
    assert len({id(channel) for channel in asked}) == 1


def test_a_turn_asks_no_connection_that_waits_for_a_thread(turn, sockets, monkeypatch) -> None:
    may_end = Event()
    monkeypatch.setattr(f"{__name__}.answer_later", lambda: may_end.wait(30))
    clients = [turn.connect(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(3)]
    wait_until(lambda: turn() or sum(bool(one.requests) for one in channels(sockets)) == 3, 30, "the requests")
    wait_until(lambda: sum(one.served for one in channels(sockets)) == 1, 30, "one to be served")
    turn()
    asked: list[Channel] = []
    readable = Channel.readable
    monkeypatch.setattr(Channel, "readable", lambda channel: asked.append(channel) or readable(channel))
    turn()
    assert [channel.served for channel in asked] == [1]  # one thread may serve those without a token
    may_end.set()
    wait_until(lambda: turn() or all(map(is_readable, clients)), 30, "the answers")


def test_a_thread_that_is_slow_to_leave_a_connection_stops_no_later_answer(turn, monkeypatch) -> None:
    """It is still about to end the last request when the next is being served."""
    theirs, ours = HTTPChannel.service, Channel.service
    may_leave, has_left, begun, may_end = Event(), Event(), Event(), Event()
    monkeypatch.setattr(HTTPChannel, "service", lambda channel: theirs(channel) or begun.is_set() or may_leave.wait(30))
    monkeypatch.setattr(Channel, "service", lambda channel: ours(channel) or has_left.set())
    monkeypatch.setattr(f"{__name__}.answer_later", lambda: begun.set() or may_end.wait(30))
    client = turn.connect(REQUEST)
    wait_until(lambda: turn() or is_readable(client), 30, "an answer")
    client.recv(999)
    client.sendall(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_until(lambda: turn() or begun.is_set(), 30, "the next request to be served")
    may_leave.set()
    assert has_left.wait(30)
    for _ in range(3):
        turn()
    may_end.set()
    wait_until(lambda: turn() or is_readable(client), 30, "its answer")
    client.recv(999)
    client.sendall(REQUEST)
    wait_until(lambda: turn() or is_readable(client), 10, "the answer after it")


def test_a_client_that_goes_while_it_is_served_does_not_keep_the_loop_from_resting(turn, sockets, monkeypatch) -> None:
    begun, may_end = Event(), Event()
    monkeypatch.setattr(f"{__name__}.answer_later", lambda: begun.set() or may_end.wait(30))
    client = turn.connect(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_until(lambda: turn() or begun.is_set(), 30, "the request to be served")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # a reset, which epoll reports of whatever it watches, again and again
    handled: list[Any] = []
    monkeypatch.setattr("service.loop.readwrite", lambda *event: handled.append(event))
    for _ in range(3):
        turn()
    monkeypatch.undo()
    may_end.set()
    assert handled == []
    wait_until(lambda: turn() or not channels(sockets), 30, "its end")


def test_a_connection_with_the_file_number_of_a_closed_one_is_read(turn, sockets) -> None:
    numbers = set()
    for _ in range(3):
        client = turn.connect(REQUEST)
        wait_until(lambda c=client: turn() or is_readable(c), 30, "an answer")
        (number,) = (channel.socket.fileno() for channel in channels(sockets))
        numbers.add(number)
        client.close()
        wait_until(lambda n=number: turn() or n not in sockets, 30, "the connection to be closed")
    assert len(numbers) < 3


def test_with_all_places_taken_a_new_connection_takes_that_of_the_longest_silent(connect) -> None:
    silent = [connect() for _ in range(2 * LIMIT)]
    began = time.monotonic()
    assert connect(REQUEST).recv(100).startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - began < 5  # and not until a silent one's deadline of 10 s
    wait_until(lambda: sum(map(is_closed, silent)) >= LIMIT, 30, "the connections beyond the limit to be closed")
    closed = [is_closed(client) for client in reversed(silent)]
    assert closed == sorted(closed)


def test_silent_connections_that_come_again_at_once_keep_nobody_out(connect) -> None:
    stop = Event()

    def come_again() -> None:
        mine = [connect() for _ in range(LIMIT)]
        while not stop.is_set():
            mine = [connect() if is_closed(client) else client for client in mine]
            stop.wait(0.01)

    threads = [Thread(target=come_again) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            wait_until(lambda: is_answered(connect), 5, "an answer")
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_who_has_just_come_is_answered_though_idle_ones_have_all_places(turn, sockets) -> None:
    idle = [turn.connect(REQUEST) for _ in range(LIMIT - 4)]
    wait_until(lambda: turn() or all(map(is_readable, idle)), 30, "the answers")
    late = turn.connect(REQUEST)
    others = [turn.connect() for _ in range(20)]
    wait_until(lambda: turn() or is_readable(late), 30, "the answer")
    assert late.recv(100).startswith(b"HTTP/1.1 200 ")
    wait_until(lambda: turn() or sum(is_ended(one) for one in idle) >= 10, 30, "idle ones to be closed")
    assert not any(map(is_closed, others))


BLOCKED = b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n"


def test_whose_request_is_here_is_answered_though_all_others_wait_for_threads(turn, sockets, monkeypatch) -> None:
    may_end = Event()
    monkeypatch.setattr(f"{__name__}.answer_later", lambda: may_end.wait(60))
    blocked = [turn.connect(BLOCKED) for _ in range(LIMIT - 4)]
    wait_until(lambda: turn() or sum(bool(one.requests) for one in channels(sockets)) == len(blocked), 30, "them")
    late = [turn.connect(REQUEST) for _ in range(12)]
    for client in late:
        wait_until(lambda c=client: turn() or is_readable(c), 30, "an answer")
        assert client.recv(999).startswith(b"HTTP/1.1 200 ")
    may_end.set()
    wait_until(lambda: turn() or all(map(is_readable, blocked)), 30, "the other answers")


def test_those_who_ask_again_at_once_keep_nobody_out(turn, sockets) -> None:
    """Whenever the server looks at them, they are being served or something of theirs is unread."""
    others = [turn.connect(REQUEST) for _ in range(LIMIT - len(sockets))]
    wait_until(lambda: turn() or all(map(is_readable, others)), 30, "their answers")

    def all_ask_again() -> None:
        for client in filter(is_readable, others):
            with suppress(OSError):
                client.recv(4096)
                client.sendall(REQUEST)
        turn()

    for _ in range(3):
        all_ask_again()
    late = [turn.connect(REQUEST) for _ in range(8)]
    wait_until(lambda: all_ask_again() or all(map(is_readable, late)), 10, "the answers")
    assert all(client.recv(999).startswith(b"HTTP/1.1 200 ") for client in late)


def test_the_refused_keep_their_places_from_nobody(turn, sockets) -> None:
    bad = [turn.connect(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n") for _ in range(LIMIT - 4)]
    wait_until(lambda: turn() or all(map(is_readable, bad)), 30, "the refusals")
    wait_until(lambda: turn() or all(one.lingering for one in channels(sockets)), 30, "them to linger")
    good = [turn.connect(REQUEST) for _ in range(8)]
    before = time.monotonic()
    wait_until(lambda: turn() or all(map(is_readable, good)), 30, "the answers")
    assert time.monotonic() - before < 1.5  # and not until the refused have lingered for 2 s
    assert all(client.recv(999).startswith(b"HTTP/1.1 200 ") for client in good)


def test_nobody_is_replaced_of_whom_the_first_bytes_are_still_unread(turn, sockets) -> None:
    fill(turn, sockets, LIMIT - 4)
    (server,) = {channel.server for channel in channels(sockets)}
    silent = server._who_makes_place()
    assert len(silent) == len(sockets) + LIMIT // 10 - LIMIT
    client = next(one for one in turn.clients if one.getsockname() == silent[0].addr)
    client.sendall(b"GET")
    wait_until(silent[0].is_new, 30, "it to arrive")
    assert silent[0] not in server._who_makes_place()
    turn()
    client.sendall(b" /")
    assert not silent[0].is_new()
    assert silent[0] in server._who_makes_place()


def test_of_those_between_two_requests_who_has_sent_the_next_is_replaced_last(turn, sockets) -> None:
    kept = [turn.connect(REQUEST) for _ in range(LIMIT - 4)]
    wait_until(lambda: turn() or all(map(is_readable, kept)), 30, "the answers")
    for client in kept:
        client.recv(4096)
    wait_until(lambda: turn() or all(one.is_idle() and one.served for one in channels(sockets)), 30, "them to be idle")
    (server,) = {channel.server for channel in channels(sockets)}
    by_address = {one.addr: one for one in channels(sockets)}
    oldest = [by_address[client.getsockname()] for client in kept[:10]]
    for client in kept[:10]:
        client.sendall(REQUEST)
    wait_until(lambda: all(one.has_unread() for one in oldest), 30, "them to arrive")
    assert not {*oldest} & {*server._who_makes_place()}
    for client in kept[10:]:
        client.sendall(REQUEST)
    wait_until(lambda: all(one.has_unread() for one in channels(sockets)), 30, "the others to arrive")
    assert server._who_makes_place() == oldest[: len(server._who_makes_place())]


def test_those_who_drip_keep_nobody_out(turn, sockets, monkeypatch) -> None:
    monkeypatch.setattr("service.channel.PROMPT_SECONDS", 0)
    slow = [turn.connect(b"G") for _ in range(LIMIT - 4)]
    wait_until(lambda: turn() or sum(one.request is not None for one in channels(sockets)) == len(slow), 30, "them")
    good = [turn.connect(REQUEST) for _ in range(6)]

    def all_drip() -> None:
        for client in slow:
            with suppress(OSError):
                client.sendall(b"G")
        turn()

    wait_until(lambda: all_drip() or all(map(is_readable, good)), 30, "the answers")


def is_ended(client: socket.socket) -> bool:
    """After its answer."""
    while is_readable(client):
        if not client.recv(4096):
            return True
    return False


def state(**found: Any) -> Channel:
    """Of a client that keeps us waiting, since the seventh second of the clock."""
    channel = Channel.__new__(Channel)
    vars(channel).update({"requests": [], "total_outbufs_len": 0, "request": None, "_since": 7.0, "last_activity": 9.0})
    vars(channel).update(found)
    vars(channel).setdefault("_phase", channel._now_in()[0])
    return channel


def test_who_waits_for_us_keeps_its_place_and_who_said_least_loses_it_first(monkeypatch) -> None:
    monkeypatch.setattr("service.channel.time", SimpleNamespace(monotonic=lambda: 100.0))
    half, whole = SimpleNamespace(headers_finished=False), SimpleNamespace(headers_finished=True)
    in_order = [
        {},
        {"request": half, "_since": 8.0},
        {"total_outbufs_len": 1, "_since": 9.0},  # does not read its response
        {"lingering": True, "_since": 99.9},  # was refused
        {"served": 1},
        {"request": whole, "_since": 1.0},
        {"_since": 99.2},  # those who came just now
        {"request": half, "_since": 99.5},
        {"request": half, "served": 1, "_since": 99.6, "_phase": ("idle", 1)},
    ]
    ranks = [state(**found).rank() for found in in_order]
    assert None not in ranks
    assert ranks == sorted(ranks, key=lambda rank: rank or (0, 0.0))
    for kept in (
        {"requests": ["one"]},
        {"requests": ["one"], "total_outbufs_len": 1},
        {"total_outbufs_len": 1, "_since": 99.5},
        {"close_when_flushed": True},
    ):
        assert state(**kept).rank() is None
