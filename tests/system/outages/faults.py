"""The faults of the storm: each breaks something, says for how many seconds, and then mends it or goes on.

One that finds nothing to break says nothing, and is not counted.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import psycopg2

from tests.system.outages.breakable import FORBIDDEN, SLOW_DOWN, Proxy

if TYPE_CHECKING:
    from tests.system.outages.chaos import Chaos as Site

Undo = Iterator[float]
FAULTS: dict[str, Callable[["Site"], Undo]] = {}


def fault(function: Callable[["Site"], Undo]) -> Callable[["Site"], Undo]:
    FAULTS[function.__name__] = function
    return function


def for_a_while(network: Proxy, breaks: Callable[[], None], seconds: float) -> Undo:
    breaks()
    yield seconds
    network.heal()


@contextmanager
def somebody(site: "Site") -> Iterator["psycopg2.extensions.cursor"]:
    """Another session, whose transaction stays open for as long as the block."""
    with closing(psycopg2.connect(site.url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '2s'")
        connection.commit()
        yield cursor


@fault
def a_worker_is_killed(site: "Site") -> Undo:
    site.worker().dyno.signal(signal.SIGKILL)
    yield 0.0


@fault
def a_worker_is_told_to_stop_several_times(site: "Site") -> Undo:
    dyno = site.worker().dyno
    for _ in range(3):
        dyno.signal(signal.SIGTERM)
    yield 0.0


@fault
def all_workers_are_replaced_one_after_another(site: "Site") -> Undo:
    for process in site.workers:
        process.dyno.signal(signal.SIGTERM)
        yield 2.0


@fault
def a_worker_stands_still(site: "Site") -> Undo:
    dyno = site.worker().dyno
    dyno.signal(signal.SIGSTOP)
    yield site.chance.choice([2.0, 5.0, 20.0])
    dyno.signal(signal.SIGCONT)


@fault
def all_sessions_of_workers_are_ended(site: "Site") -> Undo:
    site.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'longhaul worker%'")
    yield 0.0


@fault
def one_session_of_a_worker_is_ended(site: "Site") -> Undo:
    site.sql("""SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity
                WHERE application_name LIKE 'longhaul worker%' ORDER BY random() LIMIT 1) one""")
    yield 0.0


@fault
def the_network_of_a_worker_swallows_everything(site: "Site") -> Undo:
    network = site.worker().database
    yield from for_a_while(network, network.swallow, site.chance.choice([3.0, 8.0, 20.0]))


@fault
def the_network_of_a_worker_is_slow(site: "Site") -> Undo:
    network = site.worker().database
    yield from for_a_while(network, lambda: network.delay(0.2), 5.0)


@fault
def the_network_of_a_worker_is_cut(site: "Site") -> Undo:
    network = site.worker().database
    yield from for_a_while(network, network.refuse, site.chance.uniform(1, 6))


@fault
def postgres_is_restarted(site: "Site") -> Undo:
    site.postgres.stop(signal.SIGINT)
    site.postgres.start()
    yield 0.0


@fault
def postgres_crashes(site: "Site") -> Undo:
    site.postgres.stop(signal.SIGQUIT)
    site.postgres.start()
    yield 0.0


@fault
def postgres_is_away_for_everybody(site: "Site") -> Undo:
    for process in (*site.workers, site.web):
        process.database.refuse()
    yield site.chance.choice([2.0, 6.0, 15.0])
    for process in (*site.workers, site.web):
        process.database.heal()


@fault
def the_bucket_is_away(site: "Site") -> Undo:
    yield from for_a_while(site.bucket_network, site.bucket_network.refuse, 4.0)


@fault
def the_bucket_refuses_us(site: "Site") -> Undo:
    yield from for_a_while(site.bucket_network, lambda: site.bucket_network.answer(FORBIDDEN), 4.0)


@fault
def the_bucket_asks_to_slow_down(site: "Site") -> Undo:
    yield from for_a_while(site.bucket_network, lambda: site.bucket_network.answer(SLOW_DOWN), 4.0)


@fault
def the_bucket_is_slow(site: "Site") -> Undo:
    yield from for_a_while(site.bucket_network, lambda: site.bucket_network.delay(3.0), 6.0)


@fault
def the_bucket_says_nothing(site: "Site") -> Undo:
    yield from for_a_while(site.bucket_network, site.bucket_network.swallow, 15.0)


@fault
def the_web_process_is_killed(site: "Site") -> Undo:
    site.web.dyno.signal(signal.SIGKILL)
    yield 0.0


@fault
def a_job_is_locked_by_somebody(site: "Site") -> Undo:
    if job_id := site.any_job("queued", "running"):
        with somebody(site) as cursor:
            cursor.execute("SELECT FROM background_jobs WHERE id = %s FOR UPDATE", (job_id,))
            yield site.chance.choice([3.0, 12.0])


@fault
def the_receipts_are_locked_by_somebody(site: "Site") -> Undo:
    with somebody(site) as cursor:
        cursor.execute("LOCK TABLE receipts IN SHARE MODE")
        yield 4.0


@fault
def somebody_holds_a_snapshot(site: "Site") -> Undo:
    with somebody(site) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM receipts")
        yield 10.0


@fault
def the_waiting_messages_are_deleted(site: "Site") -> Undo:
    if site.sql("DELETE FROM dramatiq.queue WHERE state = 'queued' RETURNING message_id"):
        yield 0.0


@fault
def a_job_is_paused(site: "Site") -> Undo:
    if job_id := site.any_job("queued", "running"):
        site.sql("SELECT pause_job(:id, 'chaos')", id=job_id)
        yield 0.0


@fault
def a_job_is_cancelled(site: "Site") -> Undo:
    if job_id := site.any_job("queued", "running", "paused"):
        site.sql("SELECT cancel_job(:id, 'chaos')", id=job_id)
        yield 0.0


@fault
def an_operator_resets_a_job(site: "Site") -> Undo:
    if job_id := site.any_job("running"):
        site.sql("SELECT reset_job(:id, 'chaos')", id=job_id)
        yield 0.0
