"""kill -9, again and again: every receipt is deleted once, and no object is left behind."""

import random
import signal
from itertools import pairwise
from threading import Event

import pytest

from service.local.processes import wait_until

KILLS = 20
RECEIPTS = 6000


@pytest.mark.scale
def test_a_worker_killed_at_20_random_moments_skips_and_repeats_nothing(
    owner, start, make, bucket, sql, tmp_path
) -> None:
    chance = random.Random(7)
    user = owner(RECEIPTS)
    bystander = owner(50)
    make.attachments(user.ids, tmp_path)
    kept = set(make.attachments(bystander.ids[:10], tmp_path))
    worker = start("worker", BATCH_SIZE=10, THROTTLE_MS=50)
    job_id = user.start()
    for kill in range(KILLS):
        wait_until(lambda kill=kill: user.job(job_id)["attempt"] > kill, 30, "the next claim")
        Event().wait(chance.uniform(0, 0.8))
        worker.signal(signal.SIGKILL)
        worker.process.wait(30)
        (row,) = sql("SELECT count(*) AS n FROM receipts WHERE is_deleted")
        assert row["n"] == user.job(job_id)["processed"]
        worker = start("worker", BATCH_SIZE=10, THROTTLE_MS=50)
    assert user.job(job_id)["processed"] < RECEIPTS, "the job ended before the last kill: too few receipts"

    start("worker", THROTTLE_MS=0)
    job = user.wait_for(job_id, "completed", seconds=300)
    assert (job["total"], job["processed"], job["succeeded"], job["failed_count"]) == (RECEIPTS, RECEIPTS, RECEIPTS, 0)
    assert sql("SELECT count(*) AS n FROM receipts WHERE is_deleted") == [{"n": RECEIPTS}]
    wait_until(lambda: user.job(job_id)["stats"]["attachments_deleted"] == RECEIPTS, 120, "the outbox to be empty")
    assert set(bucket.keys()) == kept

    events = user.events(job_id)
    segments = [event["event"] for event in events]
    assert segments == ["created", *["claimed", "recovered"] * KILLS, "claimed", "completed"], segments
    for before, after in pairwise(events):
        assert before["to_status"] == after["from_status"]
