"""A worker process: its parts, what it notices once a second, and how it ends."""

import os
import signal
from threading import Event
from types import SimpleNamespace
from typing import Any

import dramatiq
import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.testing import capture_logs

from actors.runtime.messages.broker import Broker
from actors.runtime.messages.consumer import POLL_SECONDS
from actors.runtime.messages.delivery import Delivery, Outcome
from actors.runtime.worker import process as worker_process
from actors.runtime.worker.process import Process
from service.local.processes import wait_until
from sql.locks import SWEEP, holding


def test_dramatiq_gets_a_broker_that_stops_with_the_signal(settings, monkeypatch) -> None:
    stopping, called = Event(), []
    monkeypatch.setattr(worker_process, "install_stop_handler", lambda: stopping)
    monkeypatch.setattr(worker_process, "load_settings", lambda: settings)
    monkeypatch.setattr(worker_process, "set_up_logging", called.append)
    monkeypatch.setattr(worker_process, "print_without_waiting", lambda: called.append("prints"))
    monkeypatch.setattr("dramatiq.broker.global_broker", None)
    worker_process.set_up()
    broker = dramatiq.get_broker()
    assert isinstance(broker, Broker)
    (process,) = [one for one in broker.middleware if isinstance(one, Process)]
    assert process.stopping is stopping
    assert called == ["console", "prints"]
    process.engine.dispose()


def test_each_thread_and_three_chores_have_a_connection_and_nobody_a_further_one(process) -> None:
    engine = process(threads=4).engine
    engine.pool._timeout = 0.1
    held = [engine.connect() for _ in range(4 + 3)]
    with pytest.raises(PoolTimeout):
        engine.connect()
    for connection in held:
        connection.close()


def test_a_process_whose_parent_is_gone_ends_itself(process, monkeypatch) -> None:
    one, sent = process(), []
    monkeypatch.setattr(os, "kill", lambda *what: sent.append(what))
    with capture_logs() as lines:
        one._look_around()
        assert (sent, lines) == ([], [])
        one.parent = 0
        one._look_around()
    assert sent == [(os.getpid(), signal.SIGTERM)]
    assert [line["event"] for line in lines] == ["worker.orphaned"]


@pytest.mark.parametrize(("running", "stopping", "replaced"), [(True, False, 1), (False, False, 0), (True, True, 0)])
def test_only_a_thread_that_should_still_run_is_replaced(running, stopping, replaced, process) -> None:
    one, added = process(), []
    dead: Any = SimpleNamespace(running=running, is_alive=lambda: False, name="dead")
    workers = [dead]

    def add() -> None:
        added.append(SimpleNamespace(running=True, is_alive=lambda: True, timeout=1))
        workers.append(added[-1])

    one._look_around()  # before it has begun
    one.worker = SimpleNamespace(workers=workers, _add_worker=add)
    if stopping:
        one.stopping.set()
    for _ in range(2):
        one._look_around()
    assert len(added) == replaced
    assert workers == (added if replaced else [dead])
    assert [new.timeout for new in added] == [POLL_SECONDS] * replaced


def test_a_worker_says_what_it_listens_to_and_looks_often_whether_to_stop(process, work, sql) -> None:
    one = process()
    one.settings = one.settings.model_copy(update={"WORKER_QUEUES": ("low", "maintenance", "high")})
    broker = one.broker()
    dramatiq.actor(lambda: None, actor_name="note", queue_name="low", broker=broker)
    worker = work(broker)
    assert one.identity.queues[:2] == ["low", "maintenance"]
    assert "high" not in one.identity.queues
    assert {thread.timeout for thread in worker.workers} == {POLL_SECONDS}
    assert one.worker is worker  # whose threads it replaces if they die


def test_a_step_of_the_end_that_fails_keeps_no_other_from_its_turn(process, work, sql) -> None:
    one = process()
    worker = work(one.broker())
    wait_until(lambda: one.identity.current, 30, "an identity")

    def fail(**_given: Any) -> None:
        raise LookupError("a bug")

    stop, one.sweeper.stop = one.sweeper.stop, fail
    with capture_logs() as lines:
        worker.stop(timeout=30_000)
    stop(30)
    assert one.stopping.is_set()  # also if no signal came
    assert sql("SELECT stopped_at IS NOT NULL AS stopped FROM workers") == [{"stopped": True}]
    failed = [(line["step"].rpartition(".")[2], line["error"]) for line in lines if line["event"] == "stop.failed"]
    assert failed == [("fail", "LookupError: a bug")]
    assert lines[-1]["event"] == "worker.stop"
    chores = (one.fetcher, one.purger, one.flusher, one.watcher, one.beater, one.cleaner)
    wait_until(lambda: not any(chore.is_alive() for chore in chores), 30, "the other chores to end")


def test_a_sweep_is_followed_by_another_at_once_only_if_there_is_more(process, sql) -> None:
    one = process()
    assert one._sweep() is False
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
           SELECT gen_random_uuid(), 'low.DQ', 'queued', '{"options": {"eta": 1}}' FROM generate_series(1, 1001)""")
    assert [one._sweep(), one._sweep()] == [True, False]


def test_a_sweep_that_another_worker_does_is_followed_by_none_at_once(process, engine) -> None:
    with engine.connect() as other, holding(other, SWEEP) as held:
        assert held
        assert process()._sweep() is False


@pytest.mark.parametrize(
    ("of_another", "stopping", "silent", "outcome"),
    [
        (0, False, 0, Outcome.RUN),
        (0, True, 0, Outcome.REQUEUE),
        (0, False, 60, Outcome.REQUEUE),
        (1, False, 0, Outcome.DROP),
        (1, True, 60, Outcome.DROP),
    ],
)
def test_what_becomes_of_a_message_is_decided_when_a_thread_is_free(
    of_another, stopping, silent, outcome, process
) -> None:
    one = process()
    one.identity.session()
    one.identity._seen_at -= silent
    if stopping:
        one.stopping.set()
    message: Any = dramatiq.Message("low", "note", (), {}, {})
    assert one._decide(Delivery(message, 1, 1, one.identity.current + of_another, was_lost=False)) is outcome


def test_no_thread_of_ours_keeps_a_process_from_its_end(process) -> None:
    one = process()
    chores = (one.fetcher, one.sweeper, one.purger, one.flusher, one.watcher, one.beater, one.cleaner)
    assert all(chore.daemon for chore in chores)


def test_the_actor_of_a_kind_does_a_job_of_its_own_and_none_of_another(process, make, job_row) -> None:
    one = process()
    actor = one.broker().get_actor("delete_receipts")
    one.identity.session()
    other, own = make.job(job_type="sync_receipts"), make.job()
    for job_id in (other, own):
        actor.fn(job_id)
    assert [job_row(job_id)["status"] for job_id in (other, own)] == ["queued", "completed"]
