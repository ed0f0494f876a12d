"""Messages through kills and cut connections: none is lost, and only what was in hand is done twice."""

import random
import signal
from threading import Event
from typing import Any

import pytest

from actors.runtime.messages.prefetch import MOST
from service.local.processes import signal_group, wait_until
from tests.system.conftest import Inserting

ACTIVE = """
    SELECT FROM pg_stat_activity
    WHERE application_name LIKE 'longhaul worker%' AND datname = current_database() AND state = 'active'
"""


@pytest.mark.parametrize("kills", [2, pytest.param(15, marks=pytest.mark.scale)], ids=["short", "long"])
def test_kill_9_each_second_loses_no_message_and_repeats_only_what_was_in_hand(kills, inserting: Inserting) -> None:
    chance = random.Random(3)
    workers = [inserting.start() for _ in range(3)]
    for _ in range(kills):
        inserting.send_until_some_are_in_hand(4000, chance.uniform(0, 0.3))
        victim = workers.index(inserting.busy())  # not one that boots and has nothing in hand
        signal_group(workers[victim], signal.SIGKILL)
        workers[victim].wait(30)
        workers[victim] = inserting.start()
    wait_until(inserting.all_done_in_a_hurry, 110, "all to be done")
    counted = inserting.effects()
    assert counted["messages"] == inserting.number
    # A message was begun, and its end not yet written: in a thread's hands, or among the ends of the last moment.
    assert counted["rows"] - inserting.number <= kills * MOST


@pytest.mark.parametrize("cuts", [2, pytest.param(8, marks=pytest.mark.scale)])
def test_connections_cut_by_the_server_each_second_lose_no_message(cuts, inserting: Inserting, sql) -> None:
    workers = [inserting.start() for _ in range(2)]
    for _ in range(cuts):
        inserting.send_until_some_are_in_hand(3000)
        sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'longhaul worker%' "
            "AND datname = current_database()")  # fmt: skip
    wait_until(inserting.all_done_in_a_hurry, 60, "all to be done")
    counted = inserting.effects()
    assert counted["messages"] == inserting.number
    assert counted["rows"] - inserting.number <= cuts * len(workers) * MOST
    assert all(process.poll() is None for process in workers)


def test_a_message_that_kills_its_worker_is_rejected_at_the_third_and_costs_no_other(inserting: Inserting, sql) -> None:
    inserting.send(200)
    inserting.send_killer()
    inserting.send(200)
    workers = [inserting.start() for _ in range(2)]

    def ended() -> bool:
        for place, worker in enumerate(workers):
            if worker.poll() is not None:  # Dramatiq's parent ends with its child; a platform starts both again
                workers[place] = inserting.start()
        inserting.hurry()
        return not sql("SELECT FROM dramatiq.queue WHERE state IN ('queued', 'consumed')")

    wait_until(ended, 60, "all to end")
    assert inserting.effects()["messages"] == inserting.number
    (killer,) = sql("SELECT message ->> 'actor_name' AS actor, reason FROM dramatiq.queue WHERE state = 'rejected'")
    assert killer["actor"] == "kill"
    assert killer["reason"].endswith("died, the third in a row")
    wait_until(lambda: sum(p.poll() is not None for p in inserting.processes) == 3, 30, "the third parent to end too")


@pytest.mark.scale
def test_what_a_worker_that_stood_still_ends_late_changes_nothing(inserting: Inserting, sql) -> None:
    """SIGSTOP, its session ended by the sweep, takeover, SIGCONT: its ends come with the old identity."""
    inserting.send(20_000)
    frozen = inserting.start()
    held: list[dict[str, Any]] = []

    def stopped_with_messages_in_hand() -> bool:
        signal_group(frozen, signal.SIGSTOP)
        Event().wait(0.1)  # for the server to read what the worker sent before the stop, such as its last acks
        wait_until(lambda: not sql(ACTIVE), 30, "the server to end what it was asked before the stop")
        held[:] = sql("SELECT message_id, worker_id, delivery FROM dramatiq.queue WHERE state = 'consumed'")
        if not held:  # it was stopped between two claims
            signal_group(frozen, signal.SIGCONT)
        return bool(held)

    inserting.wait_for_progress()
    wait_until(stopped_with_messages_in_hand, 30, "the worker to stop with messages in hand")
    inserting.start()
    taken = "SELECT FROM dramatiq.queue WHERE message_id = :message_id AND delivery > :delivery AND state = 'done'"

    def one_was_done_by_another() -> bool:
        """Not each of them: the server may yet read an ack that was on its way before the stop."""
        return any(sql(taken, message_id=one["message_id"], delivery=one["delivery"]) for one in held)

    wait_until(one_was_done_by_another, 40, "another to have done what it held")
    signal_group(frozen, signal.SIGCONT)
    wait_until(inserting.all_done, 60, "all to be done")
    assert inserting.effects()["messages"] == 20_000
    for message in held:
        (now,) = sql("SELECT delivery, worker_id FROM dramatiq.queue WHERE message_id = :id", id=message["message_id"])
        assert now["delivery"] > message["delivery"] or now["worker_id"] == message["worker_id"]
    wait_until(lambda: "fetcher.lost" in inserting.log.read_text(), 30, "the frozen one to notice")


@pytest.mark.scale
@pytest.mark.parametrize("old_snapshot", [False, True])
def test_a_hundred_thousand_messages_among_a_million_finished_ones_are_drained(
    old_snapshot, inserting: Inserting, engine, sql
) -> None:
    """Where stock dramatiq-pg stops for good: it takes a lock of the server's for each waiting message."""
    sql("""SET LOCAL statement_timeout = 0;
           INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime, message)
           SELECT gen_random_uuid(), 'low', 'done', now(), '{}' FROM generate_series(1, 1000000)""")
    inserting.send(100_000)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as somebody:
        if old_snapshot:
            somebody.exec_driver_sql("SET idle_in_transaction_session_timeout = 0; SET transaction_timeout = 0")
            somebody.exec_driver_sql("SELECT 1 FROM dramatiq.queue LIMIT 1")
        workers = [inserting.start() for _ in range(2)]
        most_locks = [0]

        def drained() -> bool:
            (row,) = sql("SELECT count(*) AS n FROM pg_locks JOIN pg_database d ON d.oid = database "
                         "WHERE locktype = 'advisory' AND datname = current_database()")  # fmt: skip
            most_locks.append(row["n"])
            return inserting.effects()["messages"] == 100_000

        wait_until(drained, 300, "all to be done")
    assert max(most_locks) <= len(workers) + 2
    assert inserting.effects() == {"rows": 100_000, "messages": 100_000}
