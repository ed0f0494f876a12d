"""What Dramatiq's documentation promises of an actor, as it holds on our broker; one test for each promise."""

import threading
import time
from threading import Event
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import CurrentMessage, Middleware, Shutdown, SkipMessage, TimeLimitExceeded
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend
from sqlalchemy import text
from structlog.testing import capture_logs

from actors.runtime.base.errors import MessageError
from actors.runtime.messages.broker import SENDING_ON, Broker
from actors.runtime.messages.delivery import Delivery, Outcome
from actors.runtime.messages.prefetch import Prefetch
from service.local.processes import wait_until
from tests.actors.runtime.messages.test_broker import let_go_once_stopped


def declare(broker: Broker, function: Any, queue: str = "low", **options: Any) -> "dramatiq.Actor[..., Any]":
    return dramatiq.actor(function, broker=broker, queue_name=queue, actor_name=function.__name__, **options)


@pytest.fixture
def seen() -> list[Any]:
    return []


@pytest.fixture
def broker(process, monkeypatch) -> Broker:
    broker = process().broker()
    monkeypatch.setattr("dramatiq.broker.global_broker", broker)  # as a worker process does: message | message asks it
    return broker


@pytest.fixture
def note(broker, seen) -> "dramatiq.Actor[..., Any]":
    def note(*anything: Any) -> None:
        seen.append(anything[0] if len(anything) == 1 else anything)

    return declare(broker, note)


def test_message_retries_with_backoff_until_it_succeeds(broker, work, states, seen) -> None:
    def flaky() -> None:
        seen.append(time.monotonic())
        if len(seen) < 3:
            raise LookupError("not yet")

    declare(broker, flaky, min_backoff=50, max_backoff=100).send()
    work(broker)
    wait_until(lambda: states() == {"done": 1}, 30, "the third try")
    assert len(seen) == 3


def test_retry_with_a_delay_of_its_own(broker, work, states, seen) -> None:
    def later() -> None:
        seen.append(1)
        if len(seen) == 1:
            raise dramatiq.Retry("please", delay=10)

    declare(broker, later).send()
    work(broker)
    wait_until(lambda: states() == {"done": 1}, 30, "the second try")


def test_retry_when_and_max_retries_of_the_message(broker, work, states, seen) -> None:
    def broken() -> None:
        seen.append(1)
        raise LookupError("never")

    declare(broker, broken, min_backoff=10, max_backoff=10).send_with_options(max_retries=2)
    work(broker)
    wait_until(lambda: states() == {"rejected": 1}, 30, "it to be given up")
    assert len(seen) == 3


def test_throws_is_not_retried(broker, work, states, seen) -> None:
    def expected() -> None:
        seen.append(1)
        raise LookupError("as agreed")

    declare(broker, expected, throws=(LookupError,)).send()
    work(broker)
    wait_until(lambda: states() == {"rejected": 1}, 30, "it to be rejected")
    assert seen == [1]


def test_on_retry_exhausted_is_told(broker, work, note, seen) -> None:
    def broken() -> None:
        raise LookupError("never")

    declare(broker, broken, max_retries=0).send_with_options(on_retry_exhausted="note")
    work(broker)
    wait_until(lambda: seen, 30, "the news")
    assert seen[0][1] == {"retries": 0, "max_retries": 0}


def test_delay_is_kept(broker, work, note, seen) -> None:
    sent = time.monotonic()
    note.send_with_options(args=(1,), delay=1200)
    work(broker)
    wait_until(lambda: seen == [1], 30, "its time")
    assert time.monotonic() - sent > 1.1


def test_pipeline_feeds_each_result_into_the_next(broker, work, note, seen) -> None:
    def double(n: int) -> int:
        return n * 2

    doubling = declare(broker, double)
    (doubling.message(1) | doubling.message() | doubling.message() | note.message()).run()
    work(broker)
    wait_until(lambda: seen == [8], 30, "the last step")


def test_pipeline_with_pipe_ignore_and_a_delay(broker, work, note, seen) -> None:
    (note.message(1) | note.message_with_options(args=(2,), pipe_ignore=True)).run(delay=10)
    work(broker)
    wait_until(lambda: seen == [1, 2], 30, "both steps")


def test_group_runs_all(broker, work, note, seen) -> None:
    dramatiq.group([note.message(n) for n in range(5)], broker=broker).run()
    work(broker)
    wait_until(lambda: sorted(seen) == [0, 1, 2, 3, 4], 30, "all of the group")


def test_on_success_and_on_failure_given_to_the_actor_or_per_message(broker, work, note, seen) -> None:
    def fine() -> str:
        return "result"

    def broken() -> None:
        raise LookupError("never")

    declare(broker, fine, on_success="note").send()
    declare(broker, broken, max_retries=0).send_with_options(on_failure="note")
    work(broker)
    wait_until(lambda: len(seen) == 2, 30, "both callbacks")
    said = {found[0]["actor_name"]: found[1] for found in seen}
    assert said == {"fine": "result", "broken": {"type": "LookupError", "message": "never"}}


def test_max_age_drops_what_is_too_old(broker, work, note, seen, states, sql) -> None:
    broker.enqueue(note.message_with_options(args=("old",), max_age=1).copy(message_timestamp=0))
    note.send_with_options(args=("young",), max_age=60_000)
    work(broker)
    wait_until(lambda: states() == {"done": 1, "rejected": 1}, 30, "both to end")
    assert seen == ["young"]
    assert sql("SELECT reason FROM dramatiq.queue WHERE state = 'rejected'") == [
        {"reason": "SkipMessage: Message age limit exceeded"}
    ]


def test_time_limit_interrupts_the_actor(broker, work, states, seen) -> None:
    def endless() -> None:
        try:
            while True:
                time.sleep(0.01)  # the work that is interrupted; between two of these an exception can arrive
        except TimeLimitExceeded:
            seen.append("limit")
            raise

    declare(broker, endless, time_limit=1500, max_retries=0).send()  # by then it has begun, on a busy machine too
    broker.emit_after("process_boot")  # its watcher starts with the process
    work(broker)
    wait_until(lambda: states() == {"rejected": 1}, 30, "the limit")
    assert seen == ["limit"]


def test_priority_decides_among_what_was_claimed(process, work, seen) -> None:
    one = process(threads=1)
    one.fetcher.prefetch = Prefetch(1, fixed=20)
    broker, go_on, waits = one.broker(), Event(), Event()

    def wait() -> None:
        waits.set()
        go_on.wait(30)

    def urgent() -> None:
        seen.append("urgent")

    def idle() -> None:
        seen.append("idle")

    waiting, idling = declare(broker, wait), declare(broker, idle, priority=10)
    urging = declare(broker, urgent, priority=0)
    waiting.send()
    worker = work(broker)
    assert waits.wait(30)
    for actor in (idling, urging, idling, urging):
        actor.send()
    wait_until(lambda: worker.work_queue.qsize() == 4, 30, "all to be claimed")
    go_on.set()
    wait_until(lambda: len(seen) == 4, 30, "all")
    assert seen == ["urgent", "urgent", "idle", "idle"]


def test_shutdown_interrupts_who_asked_for_it_and_its_message_is_retried(broker, work, states, seen) -> None:
    def endless() -> None:
        try:
            seen.append("begun")
            while True:
                time.sleep(0.01)  # the work that is interrupted; between two of these an exception can arrive
        except Shutdown:
            seen.append("shutdown")
            raise

    declare(broker, endless, notify_shutdown=True, max_retries=3).send()
    worker = work(broker)
    wait_until(lambda: seen == ["begun"], 30, "the actor")
    worker.stop(timeout=30_000)
    assert seen == ["begun", "shutdown"]
    assert states() == {"queued": 1}


def test_messages_that_nobody_began_are_requeued_at_shutdown_and_leave_no_result(process, work, states, sql) -> None:
    """A result of None would tell who waits for it that the message is done."""
    one, go_on = process(threads=1), Event()
    one.fetcher.prefetch = Prefetch(1, fixed=20)
    broker, results = one.broker(), StubBackend()
    broker.add_middleware(Results(backend=results, store_results=True))

    def slow(n: int) -> int:
        go_on.wait(30)
        return n

    slowing = declare(broker, slow)
    messages = [slowing.send(n) for n in range(10)]
    worker = work(broker)
    wait_until(lambda: worker.work_queue.qsize() == 9, 30, "all to be claimed")
    let_go_once_stopped(worker, go_on)
    worker.stop(timeout=30_000)
    assert states() == {"done": 1, "queued": 9}
    assert results.get_result(messages[0]) == 0
    for message in messages[1:]:
        with pytest.raises(dramatiq.results.ResultMissing):
            results.get_result(message)


def test_middleware_before_and_after_hears_of_each_message_once(broker, work, note, states) -> None:
    heard: list[str] = []

    class Listening(Middleware):
        def before_process_message(self, *_: Any) -> None:
            heard.append("before")

        def after_process_message(self, *_: Any, **__: Any) -> None:
            heard.append("after")

        def before_ack(self, *_: Any) -> None:
            heard.append("ack")

    broker.add_middleware(Listening())
    broker.add_middleware(CurrentMessage())
    note.send(1)
    work(broker)
    wait_until(lambda: states() == {"done": 1}, 30, "it to be done")
    assert heard == ["before", "after", "ack"]


def test_no_middleware_hears_of_a_message_that_goes_back_unprocessed(broker) -> None:
    heard: list[str] = []

    class Listening(Middleware):
        def after_skip_message(self, *_: Any) -> None:
            heard.append("skip")

        def before_ack(self, *_: Any) -> None:
            heard.append("before")

        def after_ack(self, *_: Any) -> None:
            heard.append("ack")

    delivery = Delivery(dramatiq.Message("low", "note", (), {}, {}), 1, 1, 1, was_lost=False)
    broker.emit_before("ack", delivery)
    broker.emit_after("ack", delivery)
    broker.add_middleware(Listening())  # who comes later hears of what is later
    for outcome, expected in ((Outcome.REQUEUE, []), (Outcome.DROP, []), (Outcome.RUN, ["before", "skip", "ack"])):
        delivery.outcome = outcome
        broker.emit_before("ack", delivery)
        for signal in ("skip_message", "ack"):
            broker.emit_after(signal, delivery)
        assert heard == expected


def test_a_delivery_knows_its_thread_and_how_long_its_actor_took(broker, monkeypatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("actors.runtime.messages.broker.time.monotonic", lambda: clock[0])
    delivery = Delivery(dramatiq.Message("low", "note", (), {}, {}), 1, 1, 1, was_lost=False)
    broker._decide = lambda _delivery: Outcome.RUN
    broker.emit_before("process_message", delivery)
    clock[0] += 7
    broker.emit_after("skip_message", delivery)
    assert (delivery.thread, delivery.begun_at, delivery.seconds) == (threading.current_thread(), 1000.0, None)
    broker.emit_after("process_message", delivery)
    assert delivery.seconds == 7
    for outcome in (Outcome.REQUEUE, Outcome.DROP):
        broker._decide = lambda _delivery, outcome=outcome: outcome
        other = Delivery(dramatiq.Message("low", "note", (), {}, {}), 1, 1, 1, was_lost=False)
        with pytest.raises(SkipMessage):
            broker.emit_before("process_message", other)
        broker.emit_after("process_message", other)
        assert (other.outcome, other.thread, other.seconds) == (outcome, None, None)


def test_of_several_messages_that_cannot_follow_the_first_error_counts(broker, monkeypatch) -> None:
    """Which decides whether it is processed again."""
    errors = iter([LookupError("first"), TimeoutError("second"), LookupError("third")])

    def fail(*_: Any, **__: Any) -> None:
        raise next(errors)

    for middleware in broker.middleware:
        if type(middleware) in SENDING_ON:
            monkeypatch.setattr(middleware, "after_process_message", fail)
    delivery = Delivery(dramatiq.Message("low", "note", (), {}, {}), 1, 1, 1, was_lost=False)
    broker.emit_after("process_message", delivery)
    assert str(delivery.follow_up_error) == "first"


@pytest.mark.parametrize("where", ["the actor", "a helper thread", "before_ack", "middleware"])
def test_a_message_sent_again_under_its_id_while_it_is_processed_is_delivered_again(
    where, broker, work, states, seen
) -> None:
    def again(n: int) -> None:
        seen.append(n)
        if n == 1 and where == "the actor":
            send(message)
        if n == 1 and where == "a helper thread":
            helper = threading.Thread(target=send, args=(message,))
            helper.start()
            helper.join()

    def send(message: Any) -> None:
        broker.enqueue(message.copy(args=(2,)))

    class Sending(Middleware):
        def before_ack(self, _broker: Any, message: Any) -> None:
            if where == "before_ack" and message.args == (1,):
                send(message)

        def after_process_message(self, _broker: Any, message: Any, **_: Any) -> None:
            if where == "middleware" and message.args == (1,):
                send(message)

    message = declare(broker, again).message(1)
    broker.add_middleware(Sending(), before=type(broker.middleware[0]))
    broker.enqueue(message)
    work(broker)
    wait_until(lambda: seen == [1, 2], 30, "the second delivery")
    wait_until(lambda: states() == {"done": 1}, 30, "its end")


def test_a_copy_of_what_another_process_has_is_refused_and_so_is_all_sent_with_it(broker, note, sql, states) -> None:
    message = note.send(1)
    sql("SELECT * FROM claim_messages(999, '{low}', '{5}', '{0}', 5)")
    with pytest.raises(MessageError, match="is being processed"):
        broker.enqueue(message)
    with pytest.raises(MessageError, match="is being processed"):
        broker.enqueue_many([note.message(2), message])
    assert states() == {"consumed": 1}


@pytest.mark.parametrize("what", ["retry", "pipeline", "callback"])
def test_what_follows_a_message_and_can_never_be_sent_rejects_it_with_the_reason(
    what, broker, work, note, states, seen, sql
) -> None:
    class Unsendable:
        pass

    def spoil(message: Any) -> Any:
        if what == "retry":
            message.kwargs["when"] = Unsendable()
            raise LookupError("try again")
        return Unsendable()

    def spoiling(_: Any = None) -> Any:
        seen.append(1)
        return spoil(CurrentMessage.get_current_message())

    broker.add_middleware(CurrentMessage())
    actor = declare(broker, spoiling, min_backoff=10, on_success="note" if what == "callback" else None)
    if what == "pipeline":
        (actor.message(1) | note.message()).run()
    else:
        actor.send(1)
    work(broker)
    wait_until(lambda: states() == {"rejected": 1}, 30, "it to be rejected")
    (row,) = sql("SELECT reason FROM dramatiq.queue")
    assert "Unsendable" in row["reason"]
    assert seen == [1]


def test_what_follows_a_message_and_cannot_be_sent_now_is_not_forgotten(broker, work, note, seen, sql, states) -> None:
    """It is processed once more: better twice than half."""

    def first() -> str:
        seen.append("first")
        if seen.count("first") == 2:
            sql("DROP TRIGGER no_room ON dramatiq.queue")
        return "next"

    sql("""CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$""")
    (declare(broker, first).message() | note.message()).run()
    sql("CREATE TRIGGER no_room BEFORE INSERT ON dramatiq.queue FOR EACH ROW EXECUTE FUNCTION disk_full()")
    work(broker)
    wait_until(lambda: seen[-1:] == ["next"], 30, "the next step")
    wait_until(lambda: states() == {"done": 2}, 30, "both to be done")


def test_two_workers_of_one_thread_share_what_takes_long(process, work, states) -> None:
    ran: dict[int, int] = {}
    brokers, both = [], threading.Barrier(2, timeout=30)  # each message is worked on beside one of the other worker
    for number in range(2):
        one = process(threads=1)

        def slow(number: int = number) -> None:
            ran[number] = ran.get(number, 0) + 1
            both.wait()
            time.sleep(0.15)  # the work itself: long enough that nobody may claim ahead

        broker = one.broker()
        brokers.append((broker, declare(broker, slow)))
    for _ in range(20):
        brokers[0][1].send()
    for broker, _ in brokers:
        work(broker)
    wait_until(lambda: states() == {"done": 20}, 30, "all to be done")
    assert ran == {0: 10, 1: 10}


def test_a_queue_that_is_declared_later_is_listened_to_at_once(broker, work, seen, sql, monkeypatch) -> None:
    monkeypatch.setattr("actors.runtime.messages.fetcher.TICK_SECONDS", 300.0)  # only a notification can be in time
    work(broker)
    wait_until(lambda: sql("SELECT FROM workers"), 30, "the worker")

    def late() -> None:
        seen.append(1)

    later = declare(broker, late, queue="brand_new")
    wait_until(lambda: sql("SELECT FROM workers WHERE 'brand_new' = ANY (queues)"), 30, "the worker to say so")
    later.send()
    wait_until(lambda: seen == [1], 30, "the message")


def test_a_paused_worker_claims_nothing_and_gives_back_what_it_has_not_begun(
    broker, work, note, seen, states, sql
) -> None:
    worker = work(broker)
    broker.fetcher.prefetch = Prefetch(2, fixed=20)
    is_paused, broker.fetcher.is_paused = broker.fetcher.is_paused, lambda: False  # the fetcher has not seen it yet
    worker.pause()
    for n in range(10):
        note.send(n)
    wait_until(lambda: states() == {"consumed": 10}, 30, "all to be claimed")
    broker.fetcher.is_paused = is_paused
    wait_until(lambda: states() == {"queued": 10}, 30, "all to be given back")
    (before,) = sql("SELECT seen_at FROM watched_clock")
    later = "SELECT FROM watched_clock WHERE seen_at > :before + interval '1 second'"
    wait_until(lambda: sql(later, before=before["seen_at"]), 30, "the fetcher to have gone round")
    assert states() == {"queued": 10}
    assert seen == []
    worker.resume()
    wait_until(lambda: states() == {"done": 10}, 30, "all to be done")
    assert sorted(seen) == list(range(10))


@pytest.mark.parametrize("moment", ["after_process_message", "before_ack"])  # with its ack, and without it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_replaced_and_its_message_is_not_lost(
    moment, process, work, states, seen, engine
) -> None:
    one = process(threads=1)
    broker = one.broker()

    def die(*_: Any, **__: Any) -> None:
        if len(seen) == 1:
            raise SystemExit  # no Exception, so nothing in Dramatiq's thread holds it up

    Deadly = type("Deadly", (Middleware,), {moment: die})  # noqa: N806 - a class

    def once_more() -> None:
        seen.append(1)

    broker.add_middleware(Deadly())
    actor = declare(broker, once_more)
    actor.send()
    with capture_logs() as lines:
        worker = work(broker)
        wait_until(lambda: states() == {"done": 1}, 30, "it to be done")
        # With its ack, it is done before its thread has died.
        wait_until(lambda: "thread.died" in [line["event"] for line in lines], 30, "the thread's death to be seen")
        wait_until(lambda: all(thread.is_alive() for thread in worker.workers), 30, "a new thread")
    actor.send()
    wait_until(lambda: states() == {"done": 2}, 30, "the next one to be done")
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM workers")).scalar() == 1


def test_middleware_hears_of_each_message_that_is_sent(broker, note) -> None:
    heard: list[tuple[str, Any, Any]] = []

    class Listening(Middleware):
        def before_enqueue(self, _broker: Any, message: Any, delay: Any) -> None:
            heard.append(("before", message.args, delay))

        def after_enqueue(self, _broker: Any, message: Any, delay: Any) -> None:
            heard.append(("after", message.args, delay))

    broker.add_middleware(Listening())
    note.send(1)
    note.send_with_options(args=(2,), delay=10)
    assert heard == [("before", (1,), None), ("after", (1,), None), ("before", (2,), 10), ("after", (2,), 10)]
    heard.clear()
    broker.enqueue_many([note.message(3), note.message(4)])
    assert heard == [(when, (n,), None) for when in ("before", "after") for n in (3, 4)]


def test_a_middleware_that_fails_is_in_the_log_and_the_message_is_processed(broker, work, note, seen, states) -> None:
    class Failing(Middleware):
        def before_process_message(self, *_: Any) -> None:
            raise LookupError("before")

        def after_process_message(self, *_: Any, **__: Any) -> None:
            raise LookupError("after")

    heard: list[str] = []

    class Listening(Middleware):
        def before_process_message(self, *_: Any) -> None:
            heard.append("before")

        def after_process_message(self, *_: Any, **__: Any) -> None:
            heard.append("after")

    broker.add_middleware(Failing())
    broker.add_middleware(Listening(), after=Failing)
    broker.add_middleware(Listening(), before=Failing)
    with capture_logs() as lines:
        note.send(1)
        work(broker)
        wait_until(lambda: states() == {"done": 1}, 30, "it to be done")
    assert (seen, heard) == ([1], ["before", "before", "after", "after"])
    failed = [(line["middleware"], line["signal"]) for line in lines if line["event"] == "middleware.failed"]
    assert failed == [("Failing", "before_process_message"), ("Failing", "after_process_message")]


def test_a_message_that_a_middleware_skips_is_not_processed(broker, work, note, seen, states) -> None:
    class Skipping(Middleware):
        def before_process_message(self, _broker: Any, message: Any) -> None:
            if message.args == (1,):
                raise SkipMessage

    heard: list[Any] = []

    class Listening(Middleware):
        def after_skip_message(self, _broker: Any, message: Any) -> None:
            heard.append(message.args)

    broker.add_middleware(Skipping())
    broker.add_middleware(Listening())
    note.send(1)
    note.send(2)
    work(broker)
    wait_until(lambda: states() == {"done": 2}, 30, "both to end")
    assert (seen, heard) == ([2], [(1,)])
