"""A job from its start over HTTP to its end, with the processes of the Procfile."""

import pytest

from actors.runtime.jobs.kinds import load_kinds
from service.local.processes import wait_until


def alive(sql, business_id: int) -> int:
    return sql("SELECT count(*) AS n FROM receipts WHERE business_id = :b AND NOT is_deleted", b=business_id)[0]["n"]


def test_a_job_is_started_worked_seen_and_ended_and_its_objects_are_gone(
    owner, start, make, bucket, sql, tmp_path
) -> None:
    user = owner(120)
    make.attachments(user.ids, tmp_path)
    worker = start("worker", THROTTLE_MS=20)
    job_id = user.start()
    job = user.wait_for(job_id, "completed")
    assert (job["total"], job["processed"], job["succeeded"], job["percent"]) == (120, 120, 120, 100.0)
    wait_until(lambda: user.job(job_id)["stats"]["attachments_deleted"] == 120, 30, "the attachments to go")
    assert bucket.keys() == []
    assert alive(sql, user.business_id) == 0
    assert [event["event"] for event in user.events(job_id)] == ["created", "claimed", "completed"]

    def is_told() -> bool:
        """Lines are written by a thread of their own, after what they tell of."""
        purged = sum(line["deleted"] for line in worker.lines("storage.purged"))
        return purged == 120 and bool(worker.lines("job.finished"))

    wait_until(is_told, 30, "the last lines")
    (began,) = worker.lines("worker.start")
    assert set(began["queues"]) == {kind.queue for kind in load_kinds().values()}
    (picked,) = worker.lines("job.picked")
    assert (picked["queue"], picked["job_id"], picked["kind"]) == ("maintenance", job_id, "delete_receipts")
    assert [(line["first"], line["last"]) for line in worker.lines("batch.start")] == [
        (user.ids[0], user.ids[49]),
        (user.ids[50], user.ids[99]),
        (user.ids[100], user.ids[119]),
    ]
    assert [(line["deleted"], line["failed"], line["processed"]) for line in worker.lines("batch.done")] == [
        (50, 0, 50),
        (50, 0, 100),
        (20, 0, 120),
    ]
    assert [line["percent"] for line in worker.lines("batch.done")] == [41.7, 83.3, 100.0]
    assert sum(line["deleted"] for line in worker.lines("storage.purged")) == 120
    assert worker.lines("job.finished")[0]["status"] == "completed"


@pytest.mark.scale
def test_with_a_short_runtime_cap_the_job_goes_through_several_claims_by_itself(owner, start) -> None:
    user = owner(2000)
    start("worker", MAX_RUNTIME_SECONDS=2)
    job_id = user.start()
    job = user.wait_for(job_id, "completed")
    assert (job["processed"], job["succeeded"]) == (2000, 2000)
    assert job["attempt"] >= 3
    events = user.events(job_id)
    segments = [event["event"] for event in events]
    assert segments == ["created", *["claimed", "requeued"] * (job["attempt"] - 1), "claimed", "completed"]
    assert {event["reason"] for event in events if event["event"] == "requeued"} == {"runtime cap of 2 s"}
    reached = [event["detail"]["processed"] for event in events if event["event"] == "requeued"]
    assert reached == sorted(reached)


@pytest.mark.parametrize(("verb", "status"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_request_in_mid_run_stops_the_job_within_one_batch(verb, status, owner, start, sql) -> None:
    user = owner(4000)
    start("worker")
    job_id = user.start()
    user.wait_for_progress(job_id)
    answer = user.client.post(f"/api/jobs/{job_id}/{verb}")
    assert answer.status == 200
    job = user.wait_for(job_id, status, seconds=60)
    assert 0 <= job["processed"] - answer.body["processed"] <= 50
    assert alive(sql, user.business_id) == 4000 - job["processed"]
    assert job["processed"] < 4000


def test_a_paused_job_goes_on_from_there_when_it_is_resumed(owner, start, sql) -> None:
    user = owner(500)
    start("worker", THROTTLE_MS=600)  # in all of them the pause is sure to be in time
    job_id = user.start()
    user.wait_for_progress(job_id)
    user.client.post(f"/api/jobs/{job_id}/pause")
    paused = user.wait_for(job_id, "paused")
    assert user.client.post(f"/api/jobs/{job_id}/resume").body["status"] == "queued"
    job = user.wait_for(job_id, "completed")
    assert (job["processed"], job["succeeded"], job["attempt"]) == (500, 500, 2)
    assert 0 < paused["processed"] < 500
    assert alive(sql, user.business_id) == 0


def test_resume_from_psql_wakes_the_worker_too(owner, start, make, sql) -> None:
    user = owner(10)
    start("worker")
    job_id = make.job(user.business_id, status="failed", params={"max_id": user.ids[-1]})
    sql("SELECT resume_job(:id, 'psql')", id=job_id)
    assert user.wait_for(job_id, "completed")["processed"] == 10


def test_two_worker_processes_share_the_jobs_of_many_businesses(owner, start, sql) -> None:
    users = [owner(100) for _ in range(6)]
    worker = start("worker", WORKER_PROCESSES=2, WORKER_THREADS=2, THROTTLE_MS=50)
    wait_until(lambda: len(worker.lines("worker.start")) == 2, 30, "both processes")
    jobs = [(user, user.start()) for user in users]
    for user, job_id in jobs:
        assert user.wait_for(job_id, "completed")["succeeded"] == 100
    assert sql("SELECT DISTINCT attempt FROM background_jobs") == [{"attempt": 1}]


def test_two_owners_who_start_at_the_same_moment_get_one_job_every_time(owner, make, web, sql) -> None:
    import threading

    for _ in range(50):
        user = owner(1)
        clients = [user.client, web(make.token(user.business_id, "admin", 8))]
        barrier, answers = threading.Barrier(2), []

        def start_one(client, barrier=barrier, answers=answers) -> None:
            barrier.wait()
            answers.append(client.post("/api/receipts/delete_all", {"confirm": "DELETE"}))

        threads = [threading.Thread(target=start_one, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won, lost = sorted(answers, key=lambda answer: answer.status)
        assert (won.status, lost.status, lost.body["code"]) == (202, 409, "job_active")
        assert lost.body["job_id"] == lost.body["progress"]["job_id"] == won.body["job_id"]
    assert len(sql("SELECT FROM background_jobs")) == 50


def test_a_finished_job_still_holds_the_next_start_back_for_a_minute(owner, start, web, make) -> None:
    web(DELETE_RATE_LIMIT_SECONDS=60)
    user = owner(3)
    start("worker")
    user.wait_for(user.start(), "completed")
    answer = user.client.post("/api/receipts/delete_all", {"confirm": "DELETE"})
    assert (answer.status, answer.body["code"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
