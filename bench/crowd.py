"""A thousand businesses that start a deletion within a minute, beside one that is a thousand times as large."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from sqlalchemy import text

from bench._arena import table
from bench._site import Site, percentiles, site
from service.local.client import Client
from service.local.processes import wait_until

BUSINESSES, RECEIPTS, LARGE = 1_000, 200, 200_000
POLLS_PER_SECOND = 40
START_SECONDS = 45

WAITS = text("""
    SELECT extract(epoch FROM min(e.at) - j.created_at)::float FROM background_jobs j
    JOIN job_events e ON e.job_id = j.id AND e.event = 'claimed' GROUP BY j.id
""")
LATER_WAITS = text("""
    SELECT extract(epoch FROM wait)::float FROM (
        SELECT event, at - lag(at) OVER (PARTITION BY job_id ORDER BY id) AS wait FROM job_events) gaps
    WHERE event = 'claimed'
""")


def run() -> str:
    with site(workers=2, THROTTLE_MS=20, WEB_CONCURRENCY=1) as place:
        large = place.owner(LARGE)
        owners = [place.owner(RECEIPTS) for _ in range(BUSINESSES)]
        began = time.perf_counter()
        large_id = large.post("/api/receipts/delete_all", {"confirm": "DELETE"}).body["job_id"]
        jobs: list[tuple[Client, int]] = [(large, large_id)]
        done, polled = Event(), []
        with ThreadPoolExecutor(9) as pool:
            pollers = [pool.submit(poll, jobs, done, polled) for _ in range(4)]
            posts = []
            for number, owner in enumerate(owners):
                time.sleep(max(0.0, began + START_SECONDS * number / BUSINESSES - time.perf_counter()))
                posted = time.perf_counter()
                jobs.append((owner, owner.post("/api/receipts/delete_all", {"confirm": "DELETE"}).body["job_id"]))
                posts.append(time.perf_counter() - posted)
            started = time.perf_counter() - began
            wait_until(lambda: left(place) <= 1, 600, "the small jobs to end")
            small = time.perf_counter() - began
            wait_until(lambda: left(place) == 0, 600, "the large job to end")
            every = time.perf_counter() - began
            done.set()
            for poller in pollers:
                poller.result()
        waits, later, deleted = outcome(place)
    assert deleted == BUSINESSES * RECEIPTS + LARGE, deleted
    rows = [
        (f"{BUSINESSES:,} jobs of {RECEIPTS} started within {started:.0f} s; all done after", f"{small:.0f} s"),
        (f"the job of {LARGE:,} done after", f"{every:.0f} s"),
        ("start to first claim: p50, p99, most", " / ".join(f"{wait:.2f} s" for wait in waits)),
        ("any wait in the queue: p50, p99, most", " / ".join(f"{wait:.2f} s" for wait in later)),
        ("POST delete_all: p50, p99, most", " / ".join(f"{wait * 1000:.0f} ms" for wait in percentiles(posts))),
        (
            f"GET job, {len(polled):,} times: p50, p99, most",
            " / ".join(f"{wait * 1000:.0f} ms" for wait in percentiles(polled)),
        ),
    ]
    return table(("2 workers of 8 threads, throttle 20 ms", ""), rows)


def outcome(place: Site) -> tuple[tuple[float, ...], tuple[float, ...], int]:
    """Percentiles of the waits for a first and for any claim, and how many receipts are deleted."""
    with place.engine.connect() as connection:
        waits = percentiles(list(connection.execute(WAITS).scalars()))
        later = percentiles(list(connection.execute(LATER_WAITS).scalars()))
        return waits, later, connection.execute(text("SELECT count(*) FROM receipts WHERE is_deleted")).scalar_one()


def poll(jobs: list[tuple[Client, int]], done: Event, polled: list[float]) -> None:
    while not done.wait(4 / POLLS_PER_SECOND):
        client, job_id = random.choice(jobs)
        began = time.perf_counter()
        answer = client.get(f"/api/jobs/{job_id}")
        polled.append(time.perf_counter() - began)
        assert answer.status == 200, answer


def left(place: Site) -> int:
    time.sleep(0.2)
    query = text("SELECT count(*) FROM background_jobs WHERE status <> 'completed'")
    with place.engine.connect() as connection:
        return int(connection.execute(query).scalar_one())
