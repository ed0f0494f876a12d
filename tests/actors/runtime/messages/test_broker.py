"""The queue under an unmodified Dramatiq worker, in the test's own process."""

import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from threading import Event
from typing import Any

import dramatiq
import pytest
from dramatiq_pg import PostgresBroker
from psycopg2.extensions import parse_dsn
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from actors.runtime.base.config import QUEUES
from actors.runtime.messages.acks import DONE, QUEUED, Ack, Acks
from actors.runtime.messages.broker import Broker
from actors.runtime.messages.claims import claim_messages
from actors.runtime.messages.delivery import Delivery
from actors.runtime.messages.format import decode
from actors.runtime.messages.prefetch import MOST, Prefetch
from actors.runtime.messages.transaction import current_transaction, in_transaction
from actors.runtime.worker.process import Process
from service.local.processes import wait_until


def actor(broker: Broker, function: Callable[..., Any], queue: str = "low", **options: Any) -> dramatiq.Actor:
    return dramatiq.actor(function, broker=broker, queue_name=queue, actor_name=function.__name__, **options)


def naming(broker: Broker, seen: list[str], name: str, queue: str) -> dramatiq.Actor:
    """An actor of this name, which notes it."""

    def note() -> None:
        seen.append(name)

    return dramatiq.actor(note, broker=broker, queue_name=queue, actor_name=name)


def test_a_message_is_worked_on_once_and_done(process, work, states) -> None:
    broker, seen = process().broker(), []

    def note(n: int) -> None:
        seen.append(n)

    noting = actor(broker, note)
    for n in range(100):
        noting.send(n)
    work(broker)
    wait_until(lambda: states() == {"done": 100}, 30, "all to be done")
    assert sorted(seen) == list(range(100))


def test_a_message_reaches_an_idle_worker_though_nobody_told_of_it(process, work, sql) -> None:
    broker, seen = process().broker(), []

    def note(n: int) -> None:
        seen.append(n)

    noting = actor(broker, note)
    work(broker)
    wait_until(lambda: sql("SELECT FROM workers"), 30, "the worker")
    noting.send(1)
    wait_until(lambda: seen == [1], 30, "the message")
    message = noting.message(2)
    sql(
        "INSERT INTO dramatiq.queue (message_id, queue_name, state, message) VALUES (:i, 'low', 'queued', :m)",
        i=message.message_id,
        m=message.encode().decode(),
    )  # no NOTIFY
    wait_until(lambda: seen == [1, 2], 30, "the poll")


def test_a_worker_without_messages_or_without_room_for_them_asks_once_in_a_while(
    process, work, states, monkeypatch
) -> None:
    asked: list[float] = []

    def counted(*given: Any) -> list[Any]:
        asked.append(time.monotonic())
        return claim_messages(*given)

    monkeypatch.setattr("actors.runtime.messages.fetcher.claim_messages", counted)
    broker, free = process(threads=1).broker(), Event()

    def hold() -> None:
        free.wait(100)

    holding = actor(broker, hold)
    work(broker)
    wait_until(lambda: asked, 30, "the worker")
    began, before = time.monotonic(), len(asked)
    Event().wait(1.5)
    holding.send()
    holding.send()
    wait_until(lambda: states() == {"consumed": 1, "queued": 1}, 30, "the first")
    Event().wait(1.5)
    rounds = 1 + time.monotonic() - began
    assert len(asked) - before < 2 * rounds + 22  # each of a second, and what wakes it, asks at most twice
    free.set()


def test_messages_of_a_queue_go_oldest_first_also_past_what_one_claim_takes(process, work, states) -> None:
    broker, seen = process(threads=1).broker(), []

    def note(n: int) -> None:
        seen.append(n)

    noting = actor(broker, note)
    for n in range(300):
        noting.send(n)
    work(broker)
    wait_until(lambda: states() == {"done": 300}, 30, "all to be done")
    assert seen == list(range(300))


def test_a_busy_queue_does_not_starve_the_others(process, work, states) -> None:
    broker, seen = process(threads=1).broker(), []

    flood, drops = naming(broker, seen, "busy", "low"), naming(broker, seen, "rare", "high")
    for _ in range(500):
        flood.send()
    for _ in range(5):
        drops.send()
    work(broker)
    wait_until(lambda: states() == {"done": 505}, 30, "all to be done")
    # One load of the busy queue may have been claimed before the other queue was served, and one beside its messages.
    assert max(n for n, name in enumerate(seen) if name == "rare") < 2 * MOST + 10


def test_what_one_claim_takes_is_shared_among_the_queues(sql) -> None:
    for queue, number in (("low", 4), ("high", 2)):
        sql(
            """INSERT INTO dramatiq.queue (message_id, queue_name, state)
               SELECT gen_random_uuid(), :queue, 'queued' FROM generate_series(1, :number)""",
            queue=queue,
            number=number,
        )
    claimed = sql("SELECT queue_name FROM claim_messages(1, '{low,high}', '{4,4}', '{0,0}', 4)")
    assert sorted(row["queue_name"] for row in claimed) == ["high", "high", "low", "low"]


def test_messages_that_take_no_time_are_soon_claimed_ahead_of_free_threads(process, work, states) -> None:
    one = process(threads=2)
    broker = one.broker()

    def note() -> None: ...

    noting = actor(broker, note)
    for _ in range(20):
        noting.send()
    work(broker)
    wait_until(lambda: states() == {"done": 20}, 30, "all to be done")

    def are_claimed_ahead() -> bool:
        noting.send()  # on a busy machine some of them do take time
        return one.fetcher.prefetch.for_short("low") > 2

    wait_until(are_claimed_ahead, 30, "room for more than its threads")


def test_a_single_thread_goes_round_all_queues_of_long_jobs(process, work, states) -> None:
    broker, seen = process(threads=1).broker(), []

    broker.long_queues |= {"receipts", "recordings"}
    flood, drop = naming(broker, seen, "busy", "receipts"), naming(broker, seen, "rare", "recordings")
    for _ in range(100):
        flood.send()
    drop.send()
    work(broker)
    wait_until(lambda: states() == {"done": 101}, 30, "all to be done")
    assert seen.index("rare") < 40  # by chance, once in a million million runs it is not


def test_a_flood_of_long_jobs_does_not_starve_short_messages_of_a_single_thread(process, work, states) -> None:
    broker, seen = process(threads=1).broker(), []

    broker.long_queues.add("receipts")
    flood, drop = naming(broker, seen, "busy", "receipts"), naming(broker, seen, "rare", "high")
    for _ in range(100):
        flood.send()
    drop.send()
    work(broker)
    wait_until(lambda: states() == {"done": 101}, 30, "all to be done")
    assert seen.index("rare") < 50  # by chance, once in a million million runs it is not


def test_messages_of_long_jobs_are_claimed_for_a_free_thread_only(process, work, states) -> None:
    broker, go_on = process(threads=2).broker(), Event()

    def long() -> None:
        go_on.wait(30)

    broker.long_queues.add("receipts")
    longs = actor(broker, long, "receipts")
    for _ in range(5):
        longs.send()
    work(broker)
    wait_until(lambda: states().get("consumed") == 2, 30, "both threads to be busy")
    Event().wait(1.5)  # a tick, in which nothing more may be claimed
    assert states() == {"consumed": 2, "queued": 3}
    go_on.set()
    wait_until(lambda: states() == {"done": 5}, 30, "all to be done")


def test_short_messages_get_through_though_long_jobs_wait_in_another_queue(process, work, states) -> None:
    broker, go_on, seen = process(threads=2).broker(), Event(), []

    def long() -> None:
        go_on.wait(100)

    def short() -> None:
        seen.append(1)

    broker.long_queues.add("receipts")
    longs, shorts = actor(broker, long, "receipts"), actor(broker, short, "low")
    for _ in range(5):
        longs.send()
        shorts.send()
    work(broker)
    wait_until(lambda: len(seen) == 5, 30, "the short ones")
    go_on.set()
    wait_until(lambda: states() == {"done": 10}, 30, "all to be done")


def test_a_message_that_fails_is_tried_again_after_its_backoff_and_then_done(process, work, states, sql) -> None:
    broker, tries = process().broker(), []

    def flaky() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise LookupError("not yet")

    actor(broker, flaky, max_retries=3, min_backoff=50, max_backoff=50).send()
    work(broker)
    wait_until(lambda: states() == {"done": 1}, 30, "the second try")
    assert len(tries) == 2
    assert sql("SELECT queue_name, delivery FROM dramatiq.queue") == [{"queue_name": "low", "delivery": 2}]


def test_a_message_that_fails_for_good_is_rejected_and_keeps_its_traceback(process, work, states, sql) -> None:
    broker = process().broker()

    def broken() -> None:
        raise LookupError("never")

    actor(broker, broken, max_retries=0).send()
    work(broker)
    wait_until(lambda: states() == {"rejected": 1}, 30, "the rejection")
    (row,) = sql("SELECT message->'options'->>'traceback' AS traceback FROM dramatiq.queue")
    assert "LookupError: never" in row["traceback"]


def test_a_delayed_message_stays_in_the_table_until_it_is_due(process, work, states, sql) -> None:
    broker, seen = process().broker(), []

    def note() -> None:
        seen.append(time.time() * 1000)

    actor(broker, note).send_with_options(delay=600_000)
    work(broker)
    wait_until(lambda: sql("SELECT FROM watched_clock WHERE swept_at > now() - interval '1 hour'"), 30, "a sweep")
    assert sql("SELECT queue_name, state::text FROM dramatiq.queue") == [{"queue_name": "low.DQ", "state": "queued"}]
    assert seen == []
    due = int(time.time() * 1000) + 1500
    sql(f"UPDATE dramatiq.queue SET message = jsonb_set(message, '{{options,eta}}', '{due}')")  # sooner than that
    wait_until(lambda: states() == {"done": 1}, 30, "its time")
    assert len(seen) == 1
    assert seen[0] >= due


def test_a_message_sent_inside_a_transaction_exists_when_that_commits_or_never(process, engine, sql) -> None:
    broker = process().broker()

    def note() -> None: ...

    noting = actor(broker, note)
    with engine.begin() as connection, in_transaction(connection):
        noting.send()
        assert sql("SELECT FROM dramatiq.queue") == []
    assert len(sql("SELECT FROM dramatiq.queue")) == 1
    with engine.connect() as connection, in_transaction(connection):
        noting.send()
        connection.rollback()
    assert len(sql("SELECT FROM dramatiq.queue")) == 1


def test_many_messages_are_sent_in_their_order_all_of_them_or_none(process, engine, work, states, sql) -> None:
    broker, seen = process(threads=1).broker(), []

    def note(number: int) -> None:
        seen.append(number)

    noting = actor(broker, note)
    with pytest.raises(DBAPIError):
        broker.enqueue_many([noting.message(1), noting.message(2).copy(message_id="no uuid")])
    with engine.connect() as connection, in_transaction(connection):
        broker.enqueue_many([noting.message(1)])
        connection.rollback()
    broker.enqueue_many([])
    assert sql("SELECT FROM dramatiq.queue") == []
    twice = noting.message(0)
    broker.enqueue_many([twice, *(noting.message(number) for number in range(1, 100)), twice])
    work(broker)
    wait_until(lambda: states() == {"done": 100}, 30, "all")
    assert seen == list(range(100))


def test_sending_to_a_database_that_is_away_is_an_error_at_once(settings, process) -> None:
    away = process().broker()
    away.engine.dispose()
    away.engine = Process(settings.model_copy(update={"DATABASE_URL": "postgresql://127.0.0.1:1/none"})).engine

    def note() -> None: ...

    noting = actor(away, note)
    with pytest.raises(DBAPIError):
        noting.send()


@pytest.mark.parametrize("retries", [0, 1])
def test_a_traceback_that_postgres_cannot_store_holds_nothing_up(retries, process, work, states) -> None:
    broker, tries = process().broker(), []

    def broken() -> None:
        tries.append(1)
        raise LookupError("a\x00b")

    def fine() -> None: ...

    breaking, fining = actor(broker, broken, max_retries=retries, min_backoff=10, max_backoff=10), actor(broker, fine)
    for _ in range(3):
        breaking.send()
        fining.send()
    work(broker)
    wait_until(lambda: states() == {"done": 3, "rejected": 3}, 30, "all to end")
    assert len(tries) == 3 * (retries + 1)


def test_a_lock_that_the_fetcher_runs_into_does_not_cost_it_its_identity(
    process, work, engine, sql, monkeypatch
) -> None:
    monkeypatch.setattr("actors.runtime.messages.identity.CLAIM_SECONDS", 1)
    one = process()
    broker, seen = one.broker(), []

    def note() -> None:
        seen.append(1)

    noting = actor(broker, note)
    work(broker)
    wait_until(lambda: one.identity.current, 30, "an identity")
    before = one.identity.current
    with capture_logs() as lines, engine.begin() as connection:
        connection.execute(text("LOCK TABLE dramatiq.queue IN ACCESS EXCLUSIVE MODE"))
        wait_until(lambda: "fetcher.failed" in [line["event"] for line in lines], 30, "a claim to be cut short")
    noting.send()
    wait_until(lambda: seen == [1], 30, "work to go on")
    assert one.identity.current == before
    assert len(sql("SELECT FROM workers")) == 1


ODD = {
    "null": None,
    "no options": {"options": None},
    "another queue": {"queue_name": "high"},
    "an unknown queue": {"queue_name": "nowhere"},
    "another id": {"message_id": "6f0b2b2e-0000-4000-8000-000000000000"},
    "no actor": {"actor_name": 5},
}


@pytest.mark.parametrize("odd", ODD)
def test_a_message_that_disagrees_with_its_row_stops_nothing(odd, process, work, states, sql) -> None:
    one = process()
    broker, seen = one.broker(), []

    def note() -> None:
        seen.append(1)

    noting = actor(broker, note)
    for _ in range(80):  # more than there is room for
        message = noting.message()
        content = None if ODD[odd] is None else json.dumps(message.asdict() | ODD[odd])
        sql(
            "INSERT INTO dramatiq.queue (message_id, queue_name, state, message) VALUES (:i, 'low', 'queued', :m)",
            i=message.message_id,
            m=content,
        )
    noting.send()
    worker = work(broker)
    wait_until(lambda: sum(n for state, n in states().items() if state in ("done", "rejected")) == 81, 30, "all to end")
    assert all(thread.is_alive() for thread in worker.workers)
    assert len(sql("SELECT FROM workers")) == 1
    assert len(seen) == states()["done"]


def test_a_process_that_stood_still_registers_anew_and_begins_nothing_that_it_held(process, work, sql) -> None:
    one, began, go_on = process(threads=1), [], Event()
    one.fetcher.prefetch = Prefetch(1, fixed=20)
    broker = one.broker()

    def slow(n: int) -> None:
        began.append((n, one.identity.current))
        go_on.wait(30)

    slows = actor(broker, slow)
    for n in range(5):
        slows.send(n)
    worker = work(broker)
    wait_until(lambda: began and worker.work_queue.qsize() == 4, 30, "all to be claimed, and one to be begun")
    before = one.identity.current
    one.identity._seen_at -= 60  # what SIGSTOP for a minute would leave
    wait_until(lambda: one.identity.current not in (0, before), 30, "a new identity")
    go_on.set()
    wait_until(lambda: sql("SELECT FROM dramatiq.queue HAVING bool_and(state = 'done')"), 30, "all to be done")
    assert [n for n, identity in began if identity == before] == [0]
    assert sorted(n for n, _ in began if n) == [1, 2, 3, 4], "only what it claimed anew"
    held = "SELECT DISTINCT worker_id, delivery FROM dramatiq.queue WHERE message -> 'args' <> '[0]'"
    assert sql(held) == [{"worker_id": one.identity.current, "delivery": 2}]


def test_a_message_that_is_none_is_rejected_and_the_rest_goes_on(process, work, states, sql) -> None:
    broker, seen = process().broker(), []

    def note() -> None:
        seen.append(1)

    noting = actor(broker, note)
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
           VALUES (gen_random_uuid(), 'low', 'queued', '{}')""")
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
           SELECT id, 'low', 'queued', jsonb_build_object('queue_name', 'low', 'actor_name', 'nobody',
               'args', '[]'::jsonb, 'kwargs', '{}'::jsonb, 'options', '{}'::jsonb, 'message_id', id,
               'message_timestamp', 0)
           FROM gen_random_uuid() AS id""")
    noting.send()
    work(broker)
    wait_until(lambda: states() == {"done": 1, "rejected": 2}, 30, "the good one to be done")
    assert seen == [1]
    assert [
        row["reason"] for row in sql("SELECT reason FROM dramatiq.queue WHERE state = 'rejected' ORDER BY seq")
    ] == [
        "actor_name: found null, expected a text",
        "no actor of this worker is named 'nobody'",
    ]


def test_many_messages_that_are_none_do_not_hold_up_the_good_one_behind_them(process, work, states, sql) -> None:
    """Beside other queues: there is room for messages of those, too, so the claims are not full."""
    broker = process(threads=2).broker()
    good = actor(broker, lambda: None)
    for queue in ("default", "high"):
        broker.declare_queue(queue)
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
           SELECT gen_random_uuid(), 'low', 'queued', '{}' FROM generate_series(1, 300)""")
    good.send()
    work(broker)
    wait_until(lambda: states() == {"done": 1, "rejected": 300}, 30, "the good one to be done")


def test_a_message_that_cannot_be_rejected_holds_up_no_other_and_is_tried_again(process, work, states, sql) -> None:
    broker, seen = process().broker(), []

    def note() -> None:
        seen.append(1)

    noting = actor(broker, note)
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
           VALUES (gen_random_uuid(), 'low', 'queued', '{}')""")
    noting.send()
    sql("""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE lock_not_available; END $$;
           CREATE TRIGGER locked BEFORE UPDATE ON dramatiq.queue FOR EACH ROW
               WHEN (NEW.state = 'rejected') EXECUTE FUNCTION refuse()""")
    work(broker)
    wait_until(lambda: states() == {"done": 1, "consumed": 1}, 30, "the good one to be done")
    sql("DROP TRIGGER locked ON dramatiq.queue")
    wait_until(lambda: states() == {"done": 1, "rejected": 1}, 30, "the other to be rejected")
    assert seen == [1]


def test_a_server_that_is_slow_to_answer_does_not_cost_a_worker_its_identity(
    process, work, states, monkeypatch
) -> None:
    """All of a round takes longer than the silence after which others would think it dead, but no statement does."""
    monkeypatch.setattr("actors.runtime.messages.identity.SILENCE_SECONDS", 2.5)
    monkeypatch.setattr("actors.runtime.messages.fetcher.TICK_SECONDS", 0.2)
    one, over = process(), Event()

    def slow_tick() -> None:
        session = one.identity.session()
        for _ in range(6):
            if not over.is_set():  # else the end of the test would come into the middle of a round
                session.execute(text("SELECT pg_sleep(0.5)"))
        session.rollback()

    monkeypatch.setattr(one.fetcher, "_tick", slow_tick)
    broker = one.broker()

    def note() -> None: ...

    noting = actor(broker, note)
    work(broker)
    wait_until(lambda: one.identity.current, 30, "an identity")
    identity = one.identity.current
    for _ in range(2):
        noting.send()
        wait_until(lambda: set(states()) == {"done"}, 30, "it to be done")
    assert one.identity.current == identity
    over.set()


def test_a_message_of_a_megabyte_passes(process, work, states) -> None:
    broker, seen = process().broker(), []

    def note(text: str) -> None:
        seen.append(len(text))

    actor(broker, note).send("x" * 1_000_000)
    work(broker)
    wait_until(lambda: states() == {"done": 1}, 30, "it to be done")
    assert seen == [1_000_000]


@pytest.fixture
def claimed(process, sql):
    """A message that worker 1 has claimed; its acks, and a proxy for any delivery of it."""
    one = process()
    broker = one.broker()

    def note() -> None: ...

    message = actor(broker, note).send()
    sql("SELECT * FROM claim_messages(1, '{low}', '{5}', '{0}', 5)")

    def delivery(number: int, worker_id: int) -> Delivery:
        return Delivery(message, 1, number, worker_id, was_lost=False)

    return broker, delivery


def taken_over(sql) -> None:
    """The sweep declares worker 1 dead, and worker 2 claims."""
    sql("SELECT recover_messages()")
    sql("SELECT * FROM claim_messages(2, '{low}', '{5}', '{0}', 5)")


@pytest.mark.parametrize("state", ["done", "rejected", "queued"])
def test_an_end_that_comes_after_another_took_over_changes_nothing(state, claimed, sql, states) -> None:
    broker, delivery = claimed
    taken_over(sql)
    broker.acks.add(Ack.of(delivery(1, worker_id=1), state))
    broker.acks.add(Ack.of(delivery(1, worker_id=2), state))  # nor an older delivery to the same worker
    assert sql("SELECT state::text, worker_id, delivery FROM dramatiq.queue") == [
        {"state": "consumed", "worker_id": 2, "delivery": 2}
    ]
    broker.acks.add(Ack.of(delivery(2, worker_id=2), DONE))
    assert states() == {"done": 1}


def test_a_retry_that_comes_after_another_took_over_does_not_take_the_message_back(claimed, sql, states) -> None:
    broker, delivery = claimed
    taken_over(sql)
    late = delivery(1, worker_id=1)
    broker.fetcher.held[late.message_id] = late
    broker.enqueue(late._message, delay=10)
    broker.consume("low").ack(late)
    assert states() == {"consumed": 1}
    timely = delivery(2, worker_id=2)
    broker.fetcher.held[late.message_id] = timely
    broker.enqueue(late._message)
    broker.consume("low").ack(timely)
    assert states() == {"queued": 1}


@pytest.mark.parametrize("state", ["done", "rejected", "queued"])
def test_a_retry_that_comes_after_another_has_ended_it_does_not_bring_it_back(state, claimed, sql) -> None:
    broker, delivery = claimed
    taken_over(sql)
    broker.acks.add(Ack.of(delivery(2, worker_id=2), state))
    before = sql("SELECT * FROM dramatiq.queue")
    late = delivery(1, worker_id=1)
    broker.fetcher.held[late.message_id] = late
    broker.enqueue(late._message, delay=10)
    broker.consume("low").ack(late)
    assert sql("SELECT * FROM dramatiq.queue") == before


def test_a_message_that_ends_twice_makes_room_for_one_other(claimed) -> None:
    broker, delivery = claimed
    prefetch, ended = broker.fetcher.prefetch, delivery(1, worker_id=1)
    prefetch.acquire("low")
    broker.acks.add(Ack.of(ended, DONE))
    assert prefetch.for_short("low") == 2
    broker.acks.add(Ack.of(ended, QUEUED))  # its thread died after that
    assert prefetch.for_short("low") == 2


def test_ends_that_could_not_be_written_are_written_with_the_next_one(claimed, engine, states) -> None:
    broker, delivery = claimed
    broken = Acks(broker.engine)
    working, broken._engine = broken._engine, None
    with pytest.raises(AttributeError):
        broken.add(Ack.of(delivery(1, 1), DONE))
    assert states() == {"consumed": 1}
    broken._engine = working
    broken.flush()
    assert states() == {"done": 1}


def test_ends_from_many_threads_at_once_are_all_written(process, sql, states) -> None:
    broker = process(threads=8).broker()

    def note() -> None: ...

    noting = actor(broker, note)
    messages = {noting.send().message_id: noting for _ in range(400)}
    rows = sql("SELECT * FROM claim_messages(1, '{low}', '{400}', '{0}', 400)")
    assert len(rows) == len(messages) == 400
    deliveries = [
        Delivery(dramatiq.Message.decode(row["message"].encode()), row["seq"], row["delivery"], 1, was_lost=False)
        for row in rows
    ]

    def end(part: list[Delivery]) -> None:
        for delivery in part:
            broker.acks.add(Ack.of(delivery, DONE))

    threads = [threading.Thread(target=end, args=(deliveries[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states() == {"done": 400}


def let_go_once_stopped(worker: dramatiq.Worker, go_on: Event) -> None:
    """Its threads may begin nothing more by then."""

    def look() -> None:
        wait_until(lambda: not any(thread.running for thread in worker.workers), 30, "the threads to be told")
        go_on.set()

    threading.Thread(target=look).start()


def test_on_shutdown_what_nobody_began_goes_back_and_is_told_of(process, work, states) -> None:
    one, began, go_on = process(threads=2), Event(), Event()
    one.fetcher.prefetch = Prefetch(2, fixed=16)
    broker = one.broker()

    def slow() -> None:
        began.set()
        go_on.wait(30)

    slows = actor(broker, slow)
    for _ in range(20):
        slows.send()
    worker = work(broker)
    assert began.wait(30)
    wait_until(lambda: states().get("consumed", 0) > 2, 30, "some to be claimed ahead")
    let_go_once_stopped(worker, go_on)
    worker.stop(timeout=30_000)
    assert set(states()) == {"done", "queued"}
    assert states()["done"] <= 4


def test_when_the_session_is_cut_nothing_is_lost_and_nothing_is_begun_twice(process, work, states, sql) -> None:
    one = process(threads=2)
    broker, runs, lock, most = one.broker(), {}, threading.Lock(), [50]

    def note(n: int) -> None:
        with lock:
            runs[n] = runs.get(n, 0) + 1
        wait_until(lambda: len(runs) <= most[0], 30, "the cut")  # with messages in hand

    noting = actor(broker, note)
    for n in range(300):
        noting.send(n)
    work(broker)
    for _ in range(3):
        wait_until(lambda: one.identity.current, 30, "an identity")
        wait_until(lambda: len(runs) > most[0], 30, "some work")
        sql("SELECT end_sessions(ARRAY[:id])", id=one.identity.current)
        most[0] += 50
    most[0] = 300
    # The last try of what was lost at two of the cuts comes after half a minute.
    wait_until(lambda: states() == {"done": 300}, 90, "all to be done")
    assert set(runs) == set(range(300))
    assert sum(runs.values()) - 300 <= 3 * 2  # at most what was in the threads' hands at each cut


def test_a_stock_process_can_send_to_our_workers_with_and_without_delay(process, work, states, environment) -> None:
    broker, seen = process().broker(), []

    def note(n: int) -> None:
        seen.append(n)

    actor(broker, note)
    stock = PostgresBroker(url=parse_dsn(environment["DATABASE_URL"]), results=False, middleware=[])
    there = dramatiq.actor(lambda n: None, actor_name="note", queue_name="low", broker=stock)
    there.send(1)
    there.send_with_options(args=(2,), delay=300)
    work(broker)
    wait_until(lambda: states() == {"done": 2}, 30, "both to be done")
    assert seen == [1, 2]
    stock.pool.closeall()


def test_the_counts_of_the_stock_command_line_are_ours(claimed, states, sql, environment) -> None:
    pytest.importorskip("distutils", reason="since Python 3.12, that command needs setuptools")
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
           SELECT gen_random_uuid(), 'low', (ARRAY['done', 'rejected', 'queued'])[1 + n % 3]::dramatiq.state, '{}'
           FROM generate_series(1, 7) n""")
    done = subprocess.run(
        [f"{sys.prefix}/bin/dramatiq-pg", "--dsn", environment["DATABASE_URL"], "stats"],
        capture_output=True,
        text=True,
        check=False,
    )
    printed = dict(line.split(": ") for line in done.stdout.splitlines())
    assert {state: int(number) for state, number in printed.items() if number != "0"} == states(), done.stderr


def test_eight_queues_and_eight_threads_need_no_more_than_eleven_connections(process, work, states, sql) -> None:
    broker, most = process(threads=8).broker(), []

    def look() -> None:
        (row,) = sql("SELECT count(*) AS n FROM pg_stat_activity WHERE application_name LIKE 'longhaul worker%' "
                     "AND datname = current_database()")  # fmt: skip
        most.append(row["n"])

    lookers = [dramatiq.actor(look, actor_name=f"look_{name}", broker=broker, queue_name=name) for name in QUEUES]
    for looker in lookers * 10:
        looker.send()
    work(broker)
    wait_until(lambda: states() == {"done": 80}, 30, "all to be done")
    assert max(most) <= 8 + 3
    (locks,) = sql("SELECT count(*) AS n FROM pg_locks JOIN pg_database d ON d.oid = database "
                   "WHERE locktype = 'advisory' AND datname = current_database()")  # fmt: skip
    assert locks["n"] <= 2


def test_no_sender_of_a_message_says_how_a_job_is_run(process, work, make, sql, job_row) -> None:
    job_id = make.job()
    sql(
        """INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
           SELECT id, 'maintenance', 'queued', jsonb_build_object('queue_name', 'maintenance',
               'actor_name', 'delete_receipts', 'args', jsonb_build_array(CAST(:job AS bigint)), 'kwargs', '{}'::jsonb,
               'options', '{"max_age": 1, "time_limit": 1}'::jsonb, 'message_id', id, 'message_timestamp', 0)
           FROM gen_random_uuid() AS id""",
        job=job_id,
    )
    sql("UPDATE background_jobs SET message_id = (SELECT message_id FROM dramatiq.queue)")
    work(process().broker())
    wait_until(lambda: job_row(job_id)["status"] == "completed", 30, "the job")
    ended = "SELECT state::text FROM dramatiq.queue WHERE state <> 'consumed'"
    wait_until(lambda: sql(ended), 30, "the end of its message to be written")
    assert sql(ended) == [{"state": "done"}]


def test_no_middleware_of_the_broker_opens_a_port_or_stores_results(engine) -> None:
    names = [type(one).__name__ for one in Broker(engine).middleware]
    assert names == ["AgeLimit", "TimeLimit", "ShutdownNotifications", "Callbacks", "Pipelines", "Retries"]


def test_a_broker_without_a_fetcher_sends_and_consumes_nothing(engine, process, work, states) -> None:
    sending, seen = Broker(engine), []
    noting = naming(sending, seen, "here", "low")
    noting.send()
    sending.enqueue_many([noting.message(), noting.message()])
    assert states() == {"queued": 3}
    with pytest.raises(RuntimeError, match="only sends"):
        sending.consume("low")
    working = process().broker()
    naming(working, seen, "here", "low")
    work(working)
    wait_until(lambda: states() == {"done": 3}, 30, "a worker to do them")
    assert seen == ["here"] * 3


def test_what_one_claim_takes_is_in_turn_of_the_queues_and_in_each_the_oldest_first(engine, sql) -> None:
    for queue in ("low", "low", "high", "low", "high"):
        sql(
            "INSERT INTO dramatiq.queue (message_id, queue_name, state) VALUES (gen_random_uuid(), :q, 'queued')",
            q=queue,
        )
    first = sql("SELECT min(seq) AS seq FROM dramatiq.queue")[0]["seq"]
    with engine.connect() as session:
        rows = claim_messages(session, 9, {"low": 5, "high": 5}, defaultdict(int), 10, 1)
    assert [(row.queue, row.seq - first) for row in rows] == [
        ("low", 0),
        ("high", 2),
        ("low", 1),
        ("high", 4),
        ("low", 3),
    ]
    assert {(row.number, row.losses) for row in rows} == {(1, 0)}


def test_the_actor_of_a_job_is_never_retried_and_has_time_beyond_the_cap_of_its_kind(process, settings) -> None:
    broker = process().broker()
    actor = broker.get_actor("delete_receipts")
    assert (actor.queue_name, actor.options["max_retries"]) == ("maintenance", 0)
    assert actor.options["time_limit"] == (settings.MAX_RUNTIME_SECONDS + 900) * 1000
    assert broker.long_queues >= {"maintenance", "receipts_sync"}


def test_a_message_with_a_delay_is_kept_under_its_time(process, sql) -> None:
    noting = naming(process().broker(), [], "note", "low")
    before = time.time() * 1000
    sent = noting.send_with_options(delay=5000)
    (row,) = sql("SELECT queue_name, eta, message FROM dramatiq.queue")
    assert (row["queue_name"], row["message"]["queue_name"]) == ("low.DQ", "low.DQ")
    assert before + 4999 <= row["eta"] <= time.time() * 1000 + 5000
    assert sent.queue_name == "low.DQ"


def test_a_worker_that_stops_takes_its_leave_and_leaves_no_thread(process, work, sql) -> None:
    one = process()
    worker = work(one.broker())
    wait_until(lambda: one.identity.current, 30, "an identity")
    worker.stop(timeout=30_000)
    assert sql("SELECT stopped_at IS NOT NULL AS stopped FROM workers") == [{"stopped": True}]
    chores = (one.fetcher, one.sweeper, one.purger, one.flusher, one.watcher, one.beater, one.cleaner)
    wait_until(lambda: not any(chore.is_alive() for chore in chores), 30, "its chores to end")


def test_a_bug_in_the_fetchers_round_costs_the_identity_and_not_the_process(process, work, states) -> None:
    """What it has claimed and lost track of is put back by whoever sweeps."""
    one = process()
    tick, faults = one.fetcher._tick, [LookupError("a bug")]

    def ticks() -> None:
        if faults and one.identity.current and states():
            raise faults.pop()
        tick()

    one.fetcher._tick = ticks
    noting = naming(one.broker(), [], "note", "low")
    with capture_logs() as lines:
        work(noting.broker)
        wait_until(lambda: one.identity.current, 30, "an identity")
        before = one.identity.current
        noting.send()
        wait_until(lambda: not faults, 30, "the bug")
        wait_until(lambda: one.identity.current not in (0, before), 30, "a new identity")
        noting.send()
        wait_until(lambda: states() == {"done": 2}, 30, "both")
    (lost,) = [line for line in lines if line["event"] == "fetcher.lost"]
    assert lost["error"] == "LookupError: a bug"
    assert isinstance(lost["exc_info"], LookupError)


def test_while_all_threads_live_none_is_replaced(process, work, sql) -> None:
    one = process()
    worker = work(one.broker())
    threads = list(worker.workers)
    (before,) = sql("SELECT clock_timestamp() AS at")
    later = "SELECT FROM watched_clock WHERE seen_at > :at + interval '2.5 s'"
    wait_until(lambda: sql(later, at=before["at"]), 30, "the fetcher to have gone round")
    assert worker.workers == threads


@pytest.mark.parametrize("sort", ["short", "long", "lost"])
def test_room_for_a_message_is_filled_at_once_and_not_at_the_next_tick(
    sort, process, work, states, sql, monkeypatch
) -> None:
    monkeypatch.setattr("actors.runtime.messages.fetcher.TICK_SECONDS", 300.0)
    one = process(threads=1)
    one.fetcher.prefetch = Prefetch(1, fixed=0)
    broker = one.broker()
    if sort == "long":
        broker.long_queues.add("low")
    noting = naming(broker, [], "note", "low")
    for _ in range(10):
        noting.send()
    if sort == "lost":
        sql("UPDATE dramatiq.queue SET losses = 1")  # one at a time
    work(broker)
    wait_until(lambda: states() == {"done": 10}, 60, "all to be done")


def test_of_messages_that_were_lost_once_a_worker_holds_one_at_a_time(process, work, states, sql) -> None:
    broker, go_on = process(threads=4).broker(), Event()

    def hold() -> None:
        go_on.wait(30)

    holding, noting = actor(broker, hold), naming(broker, [], "note", "low")
    for _ in range(3):
        holding.send()
    sql("UPDATE dramatiq.queue SET losses = 1")
    work(broker)
    wait_until(lambda: states().get("consumed"), 30, "the first to be claimed")
    noting.send()
    wait_until(lambda: states().get("done"), 30, "another claim")
    assert states() == {"consumed": 1, "queued": 2, "done": 1}
    go_on.set()
    wait_until(lambda: states() == {"done": 4}, 30, "all to be done")


def test_what_was_claimed_when_the_memory_ran_out_goes_back_and_counts_as_no_loss(
    process, work, states, sql, monkeypatch
) -> None:
    one = process(threads=1)
    one.fetcher.prefetch = Prefetch(1, fixed=20)
    broker, seen, short = one.broker(), [], [MemoryError("no room")]

    def decode_if_there_is_room(text: str, *given: Any) -> Any:
        if short and json.loads(text)["args"] == [2]:
            raise short.pop()
        return decode(text, *given)

    monkeypatch.setattr("actors.runtime.messages.fetcher.decode", decode_if_there_is_room)

    def note(n: int) -> None:
        seen.append(n)

    noting = actor(broker, note)
    for n in range(1, 5):
        noting.send(n)
    work(broker)
    wait_until(lambda: states() == {"done": 4}, 60, "all to be done")
    assert sorted(seen) == [1, 2, 3, 4]
    assert sql("SELECT DISTINCT losses FROM dramatiq.queue WHERE message -> 'args' <> '[1]'") == [{"losses": 0}]


def test_a_message_that_is_sent_again_right_after_its_end_finds_that_written(claimed, states) -> None:
    broker, delivery = claimed
    ended = delivery(1, worker_id=1)
    broker.fetcher.held[ended.message_id] = ended
    with broker.acks._writing:  # another thread writes, so this end waits
        broker.consume("low").ack(ended)
    assert states() == {"consumed": 1}
    broker.enqueue(ended._message)
    assert states() == {"queued": 1}
    assert ended.next is None


def test_what_is_sent_after_a_transaction_or_in_an_inner_one_is_not_in_it(process, engine, sql) -> None:
    broker = process().broker()
    noting = naming(broker, [], "note", "low")
    with engine.connect() as outer, engine.connect() as inner, in_transaction(outer):
        assert current_transaction() is outer
        with pytest.raises(LookupError), in_transaction(inner):  # noqa: PT012
            noting.send()
            raise LookupError
        assert current_transaction() is outer
        inner.rollback()
        noting.send()
        outer.rollback()
    assert current_transaction() is None
    noting.send()
    assert len(sql("SELECT FROM dramatiq.queue")) == 1
