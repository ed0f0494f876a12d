"""Messages through kills and cut connections: none is lost, and only what was in hand is done twice."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest

from service.processes import signal_group, stop_process, wait_until

ROOT = Path(__file__).parent.parent.parent
THREADS = 4

FILL = """
    INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime, message)
    SELECT id, 'low', 'queued', now(), jsonb_build_object('queue_name', 'low', 'actor_name', 'insert',
        'args', jsonb_build_array(n), 'kwargs', '{}'::jsonb, 'options', '{}'::jsonb, 'message_id', id,
        'message_timestamp', 0)
    FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, :number) n) ids
"""


@pytest.fixture
def worker(environment, tmp_path):
    """worker(): one worker process whose actor inserts; ended with the test."""
    running = []

    def start() -> "subprocess.Popen[bytes]":
        with (tmp_path / "inserting.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dramatiq", "tests.system.inserting:set_up", "-p", "1", "-t", str(THREADS)],
                cwd=ROOT,
                env={**environment, "PATH": os.environ["PATH"], "WORKER_THREADS": str(THREADS)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        running.append(process)
        return process

    yield start
    for process in running:
        stop_process(process, 0)


@pytest.fixture
def effects(sql):
    sql("CREATE TABLE effects (n int, pid int)")
    return lambda: sql("SELECT count(*) AS rows, count(DISTINCT n) AS messages FROM effects")[0]


def all_done(sql, number: int) -> bool:
    return sql("SELECT count(*) AS n FROM dramatiq.queue WHERE state = 'done'")[0]["n"] == number


@pytest.mark.parametrize(
    ("number", "kills"), [(3000, 3), pytest.param(20_000, 15, marks=pytest.mark.scale)], ids=["short", "long"]
)
def test_kill_9_each_second_loses_no_message_and_repeats_only_what_was_in_hand(
    number, kills, worker, effects, sql
) -> None:
    chance = random.Random(3)
    sql(FILL, number=number)
    workers = [worker() for _ in range(3)]
    for _ in range(kills):
        before = effects()["messages"]
        wait_until(lambda before=before: effects()["messages"] > before, 30, "work to go on")
        Event().wait(chance.uniform(0, 0.5))
        victim = chance.randrange(3)
        signal_group(workers[victim], signal.SIGKILL)
        workers[victim].wait(5)
        workers[victim] = worker()
        if all_done(sql, number):
            break
    wait_until(lambda: all_done(sql, number), 110, "all to be done")
    counted = effects()
    assert counted["messages"] == number
    # A message was begun, and its end not yet written: in a thread's hands, or among the ends of the last moment.
    assert counted["rows"] - number <= kills * 64


def test_connections_cut_by_the_server_each_second_lose_no_message(worker, effects, sql) -> None:
    sql(FILL, number=3000)
    workers = [worker() for _ in range(2)]
    for _ in range(4):
        before = effects()["messages"]
        if all_done(sql, 3000):
            break
        wait_until(lambda before=before: effects()["messages"] > before or all_done(sql, 3000), 30, "work to go on")
        sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'longhaul worker' "
            "AND datname = current_database()")  # fmt: skip
    wait_until(lambda: all_done(sql, 3000), 60, "all to be done")
    assert effects()["messages"] == 3000
    assert all(process.poll() is None for process in workers)
