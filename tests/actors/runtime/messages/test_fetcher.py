"""The fetcher's rounds, one by one: what ends one, what ends its identity, and what ends the process."""

import os
import signal
from collections.abc import Callable
from typing import Any

import dramatiq
import psycopg2.errors
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from actors.runtime.messages import identity as identity_module
from actors.runtime.messages.prefetch import Prefetch
from actors.runtime.worker.process import Process
from service.local.processes import wait_until


def note() -> None: ...


def test_a_fetcher_that_dies_takes_its_process_with_it_and_one_that_is_stopped_not(process, monkeypatch) -> None:
    fetcher, sent = process().fetcher, []
    monkeypatch.setattr(os, "kill", lambda *what: sent.append(what))

    def stop() -> None:
        fetcher._ended = True

    def die() -> None:
        raise SystemExit

    for one_round, ended in ((stop, []), (die, [(os.getpid(), signal.SIGTERM)])):
        fetcher._ended = False
        fetcher._survive_one_round = one_round
        with capture_logs() as lines:
            if one_round is die:
                with pytest.raises(SystemExit):
                    fetcher.run()
            else:
                fetcher.run()
        assert sent == ended
        assert [line["event"] for line in lines] == ["fetcher.died"] * len(ended)


def test_a_worker_that_stops_claims_nothing_more_and_stays_alive(process, states, sql, monkeypatch) -> None:
    monkeypatch.setattr("actors.runtime.messages.fetcher.TICK_SECONDS", 0.05)
    one, ticks = process(), []
    one.fetcher._tick = lambda: ticks.append(1)
    noting = dramatiq.actor(note, broker=one.broker(), queue_name="low")
    noting.broker.consume("low")
    one.stopping.set()
    noting.send()
    one.fetcher.start()
    try:
        wait_until(lambda: len(ticks) > 3, 30, "some rounds")
        assert states() == {"queued": 1}
        assert sql("SELECT live_workers() AS id") == [{"id": one.identity.current}]
        one.stopping.clear()
        wait_until(lambda: states() == {"consumed": 1}, 30, "the claim")
    finally:
        one.fetcher.stop(30)


def test_while_the_server_is_away_each_round_says_so_and_waits_a_second(settings) -> None:
    away = Process(settings.model_copy(update={"DATABASE_URL": "postgresql://127.0.0.1:1/none"}))
    waited: list[float] = []
    away.fetcher._wakeup.wait = lambda session, seconds: waited.append((session, seconds))  # type: ignore[assignment]
    with capture_logs() as lines:
        for _ in range(2):
            away.fetcher._survive_one_round()
    assert [(line["event"], line["exc_info"]) for line in lines] == [("fetcher.lost", None)] * 2
    assert waited == [(None, 1.0)] * 2
    away.engine.dispose()


ENDS: dict[str, tuple[Callable[[Connection], Any], BaseException, str]] = {
    "a lock timeout": (lambda session: None, psycopg2.errors.LockNotAvailable(), "fetcher.failed"),
    "no answer": (lambda session: None, TimeoutError(), "fetcher.failed"),
    "a bug": (lambda session: None, LookupError(), "fetcher.lost"),
    "a session that is thrown away": (
        lambda session: session.invalidate(),
        DBAPIError("", None, OSError()),
        "fetcher.lost",
    ),
    "a session that is cut": (
        lambda session: session.connection.driver_connection.close(),
        psycopg2.OperationalError(),
        "fetcher.lost",
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_identity_goes_with_its_session_and_outlives_any_other_trouble(end, process) -> None:
    happens, error, event = ENDS[end]
    one = process()
    one.identity.session()
    before = one.identity.current

    def fail(session: Connection) -> None:
        happens(session)
        raise error

    one.fetcher._round, one.fetcher._wait = fail, lambda _session: None
    with capture_logs() as lines:
        one.fetcher._survive_one_round()
    assert [line["event"] for line in lines] == [event]
    assert one.identity.current == (before if event == "fetcher.failed" else 0)


def test_what_is_lost_with_the_identity_and_nobody_has_begun_makes_room_again(process, states) -> None:
    one = process()
    fetcher, broker = one.fetcher, one.broker()
    fetcher.prefetch = Prefetch(1, fixed=20)
    noting = dramatiq.actor(note, broker=broker, queue_name="low")
    broker.consume("low")
    for _ in range(5):
        noting.send()
    fetcher._survive_one_round()
    assert (states(), len(fetcher.held), fetcher.prefetch.for_short("low")) == ({"consumed": 5}, 5, 15)
    assert "low" in one.identity.queues  # it listens to what it serves
    before = one.identity.current
    one.identity._seen_at -= 60
    fetcher._survive_one_round()
    assert (one.identity.current, fetcher.held, fetcher.prefetch.for_short("low")) == (0, {}, 20)
    fetcher._survive_one_round()
    assert one.identity.current not in (0, before)
    assert states() == {"consumed": 5}  # whoever sweeps puts them back


def test_each_claim_that_is_answered_shows_that_we_are_alive(process, monkeypatch) -> None:
    """Two of them may take longer than the silence after which others would think us dead."""
    clock = [1000.0]

    def claim(*_given: Any) -> list[Any]:
        clock[0] += 7
        return []

    monkeypatch.setattr(identity_module, "_now", lambda: clock[0])
    monkeypatch.setattr("actors.runtime.messages.fetcher.claim_messages", claim)
    one = process()
    one.fetcher.serve("receipts", long=True)
    one.fetcher.serve("low", long=False)
    session = one.identity.session()
    assert one.fetcher._claim(session) is False
    assert clock == [1014.0]
    assert one.identity.is_fresh()


@pytest.mark.parametrize("short_first", [True, False])
@pytest.mark.parametrize(("sent", "more"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_claim_that_takes_all_there_is_room_for_is_followed_by_another_at_once(
    sent, more, short_first, process, states, monkeypatch
) -> None:
    monkeypatch.setattr("random.shuffle", lambda sorts: sorts.reverse() if short_first else None)
    one = process(threads=2)
    broker = one.broker()
    one.fetcher.prefetch = Prefetch(2, fixed=0)
    noting = dramatiq.actor(note, broker=broker, queue_name="low")
    broker.consume("low")
    for _ in range(sent):
        noting.send()
    assert one.fetcher._claim(one.identity.session()) is more
    assert states().get("consumed", 0) == min(sent, 2)


def test_what_came_back_to_an_older_place_is_found_with_the_next_tick(process, states, sql, monkeypatch) -> None:
    one = process(threads=2)
    broker = one.broker()
    one.fetcher.prefetch = Prefetch(2, fixed=20)
    noting = dramatiq.actor(note, broker=broker, queue_name="low")
    broker.consume("low")
    for _ in range(3):
        noting.send()
    session = one.identity.session()
    one.fetcher._claim(session)
    sql("UPDATE dramatiq.queue SET state = 'queued'")
    one.fetcher._claim(session)
    assert states() == {"queued": 3}  # it looks above what it has claimed: cheap under an old snapshot
    sql("UPDATE dramatiq.queue SET losses = 1 WHERE seq = (SELECT max(seq) FROM dramatiq.queue)")
    one.fetcher._next_tick = 0
    one.fetcher._wakeup.wait = lambda *_: None  # type: ignore[method-assign]
    one.fetcher._round(session)
    wait_until(lambda: states() == {"consumed": 3}, 30, "the claim")


def test_a_round_in_which_nothing_comes_sleeps_until_the_next_tick(process) -> None:
    one, waited, ticks = process(), [], []
    one.fetcher._wakeup.wait = lambda session, seconds: waited.append(seconds)  # type: ignore[method-assign]
    one.fetcher._tick = lambda: ticks.append(1)
    for _ in range(2):
        one.fetcher._survive_one_round()
    assert ticks == [1]
    assert 1.0 >= waited[0] > waited[1] >= 0
