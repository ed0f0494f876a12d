"""How fast a job is, and when it will be done; and an operator's list of the jobs of all businesses."""

import pytest
from sqlalchemy import text

from actors.runtime.jobs.batch import Batch
from actors.runtime.jobs.claim import Claim


@pytest.fixture
def claimed(make, engine, worker_id, sql):
    job_id = make.job(make.business(), total=1000)
    with engine.begin() as connection:
        claim = Claim.acquire(connection, job_id, worker_id, 50)
    assert claim is not None
    return claim


@pytest.mark.parametrize(("total", "eta"), [(49, None), (50, 0), (51, 1)])
def test_an_eta_is_0_once_all_is_done_and_none_if_there_is_less_than_was_done(total, eta, make, sql) -> None:
    job_id = make.job(status="running", total=total, processed=50, succeeded=50)
    sql("UPDATE background_jobs SET rate_from = 0, rate_from_at = clock_timestamp() - interval '20 s'")
    assert sql("SELECT eta_of(j) AS eta FROM background_jobs j WHERE id = :id", id=job_id) == [{"eta": eta}]


def test_after_ten_seconds_a_rate_is_told_in_a_long_transaction_too(claimed, engine) -> None:
    since = "UPDATE background_jobs SET rate_from_at = clock_timestamp() - interval '10 s', rate_from = 0"
    with engine.begin() as session:
        session.execute(text(since))
        assert session.scalar(text("SELECT rate_of(j) FROM background_jobs j")) == 0
        session.execute(text("UPDATE background_jobs SET processed = 10, succeeded = 10, rate_from_at = now() - "
                             "interval '30 s'"))  # fmt: skip
        assert session.scalar(text("SELECT rate_of(j) FROM background_jobs j")) == 0.33


def test_a_rate_counts_nothing_that_was_done_in_an_earlier_claim(claimed, batch, shown, sql) -> None:
    batch(900, 5)
    sql("SELECT leave_running(:id, NULL, 'queued', 'requeued', 'worker:1', 'others wait')", id=claimed.job_id)
    sql("UPDATE background_jobs SET rate_from_at = now() - interval '1 hour', rate_next_at = now() - interval '1 hour'")
    sql("SELECT claim_job(:id, :worker)", id=claimed.job_id, worker=claimed.worker_id)
    claimed.attempt += 1
    for _ in range(3):
        batch(10, 20)
        rate, _eta = shown()
        assert 0 < rate <= 1


@pytest.fixture
def batch(claimed, engine, sql):
    """batch(number, seconds): so many items are done, and so many seconds pass."""

    def take(number: int, seconds: int) -> None:
        with engine.begin() as connection:
            claimed.checkpoint(connection, Batch([1], {"last_id": 1}, succeeded=number))
        sql(
            """UPDATE background_jobs SET rate_from_at = rate_from_at - make_interval(secs => :s),
                                          rate_next_at = rate_next_at - make_interval(secs => :s)""",
            s=seconds,
        )

    return take


@pytest.fixture
def shown(claimed, api, sql):
    (job,) = sql("SELECT business_id FROM background_jobs")
    caller = api(job["business_id"])

    def look():
        job = caller.get(f"/api/jobs/{claimed.job_id}").json
        return job["rate"], job["eta_seconds"]

    return look


def test_a_rate_counts_the_pauses_and_an_eta_comes_with_it(batch, shown) -> None:
    assert shown() == (None, None)
    batch(50, 5)
    assert shown() == (None, None)  # too early to say
    batch(50, 15)
    rate, eta = shown()
    assert 3 < rate <= 5  # the test takes its time too
    assert eta == pytest.approx(900 / rate, abs=2)


def test_a_rate_is_that_of_the_last_minute(batch, shown) -> None:
    for _ in range(6):
        batch(100, 15)  # 6.7 a second, for 90 s
    for _ in range(5):
        batch(1, 15)  # and then 0.07 a second
    rate, eta = shown()
    assert rate == pytest.approx(0.07, abs=0.05)
    assert eta > 1000


def test_a_job_that_does_nothing_has_a_rate_of_0_and_no_eta(batch, shown) -> None:
    batch(0, 20)
    assert shown() == (0.0, None)


def test_a_rate_is_none_of_a_job_that_does_not_run(batch, claimed, shown, sql) -> None:
    batch(50, 20)
    assert shown()[0] is not None
    sql("SELECT leave_running(:id, NULL, 'queued', 'requeued', 'w')", id=claimed.job_id)
    assert shown() == (None, None)


def test_the_rate_alone_is_no_change_for_an_etag(batch, claimed, api, sql, worker_id) -> None:
    sql("UPDATE workers SET queues = '{maintenance}'")
    sql("SELECT watch_clock()")
    batch(50, 20)
    (job,) = sql("SELECT business_id FROM background_jobs")
    caller = api(job["business_id"])
    first = caller.get(f"/api/jobs/{claimed.job_id}")
    sql("SELECT pg_sleep(0.3)")  # so many items in more seconds
    again = caller.get(f"/api/jobs/{claimed.job_id}")
    assert again.json["rate"] != first.json["rate"]
    assert again.headers["etag"] == first.headers["etag"]


def test_an_operator_lists_the_jobs_of_all_businesses_or_of_one(api, make) -> None:
    one, other = make.business(), make.business()
    jobs = {make.job(one, "completed"): one, make.job(other): other, make.job(one): one}
    operator = api(None, "operator")
    listed = operator.get("/api/jobs").json["jobs"]
    assert {job["job_id"]: job["business_id"] for job in listed} == jobs
    filtered = operator.get(f"/api/jobs?business_id={other}").json["jobs"]
    assert [job["business_id"] for job in filtered] == [other]


def test_nobody_else_sees_more_than_the_own_business_whatever_the_query_says(api, make) -> None:
    one, other = make.business(), make.business()
    make.job(one)
    make.job(other)
    caller = api(one)
    assert [job["business_id"] for job in caller.get("/api/jobs").json["jobs"]] == [one]
    assert [job["business_id"] for job in caller.get(f"/api/jobs?business_id={one}").json["jobs"]] == [one]
    assert caller.get(f"/api/jobs?business_id={other}").status_code == 404


def test_a_running_job_of_any_business_is_brought_up_to_date_in_an_operators_list(api, make, sql) -> None:
    job_id = make.job(status="running", worker_id=99)
    sql("SELECT watch_clock()")
    (job,) = api(None, "operator").get("/api/jobs").json["jobs"]
    assert (job["job_id"], job["status"]) == (job_id, "queued")
