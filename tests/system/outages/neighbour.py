"""The hostile neighbour: what shares the queue with everybody else, is beyond repair, and may cost nobody else a job.

Two businesses whose triggers raise, a sender of malformed messages, a message that kills its worker, a log that nobody
reads, a role with few rights; and a server that turns read-only, and whose clock steps.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg2
from sqlalchemy.exc import DBAPIError

from service.local.processes import start_process
from sql.url import database_name
from tests.conftest import Dyno
from tests.system import inserting
from tests.system.outages.malformed import MALFORMED, message

if TYPE_CHECKING:
    from tests.system.outages.chaos import Chaos as Site

EACH_SECONDS = 2.0  # all kinds of malformed messages
STEP_EACH_SECONDS = 15  # of two steps close to each other silence() knows the later one only
MALFORMED_ID, KILLER_ID, UNSERVED_ID = "bad00000", "dead0000", "beef0000"  # what their ids begin with

TRIGGER = """
    CREATE FUNCTION hostile_{table}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
        BEGIN IF {when} THEN RAISE 'hostile'; END IF; RETURN coalesce(new, old); END $$;
    CREATE TRIGGER hostile BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW WHEN (old.business_id = {business})
        EXECUTE FUNCTION hostile_{table}()
"""

ROLE = """
    CREATE ROLE {role} LOGIN;
    GRANT USAGE ON SCHEMA dramatiq TO {role};
    GRANT ALL ON ALL TABLES IN SCHEMA public, dramatiq TO {role};
    GRANT ALL ON ALL SEQUENCES IN SCHEMA public, dramatiq TO {role}
"""

# All that was noted before looks older, or younger, by the step. The hostile business would let nobody do that to it.
STEP = """
    UPDATE watched_clock SET seen_at = seen_at - CAST(:step AS interval);
    UPDATE background_jobs SET heartbeat_at = heartbeat_at - CAST(:step AS interval),
                               updated_at = updated_at - CAST(:step AS interval)
    WHERE status = 'running' AND business_id <> ALL (:hostile)
"""

CLAIMS = """
    SELECT w.release, count(*) AS n FROM job_events e JOIN workers w ON w.id = e.worker_id
    WHERE e.event = 'claimed' GROUP BY w.release ORDER BY w.release
"""

STALE = """
    SELECT e.job_id, e.reason FROM job_events e JOIN background_jobs j ON j.id = e.job_id
    WHERE e.event = 'stale' AND j.business_id <> ALL (:hostile)
"""

UNENDED = """
    SELECT message_id::text AS id, state::text, reason, losses, message::text FROM dramatiq.queue
    WHERE left(message_id::text, 8) = ANY (:sorts) AND (state <> 'rejected' OR reason IS NULL)
"""


class Neighbour:
    def __init__(self, site: "Site") -> None:
        """Takes two of the site's workers, and adds one that a message can kill."""
        self._site = site
        self._numbers = count(1)
        self._next = 0.0
        self._plan: list[tuple[float, Callable[[Site], Iterator[float]]]] = []
        self.businesses = [site.add_business("Raises on its jobs"), site.add_business("Raises on its receipts")]
        of_jobs, of_receipts = self.businesses
        site.sql(TRIGGER.format(table="receipts", business=of_receipts, when="true"))
        # Now and then something succeeds, so that each step of a job's life meets it.
        site.sql(TRIGGER.format(table="background_jobs", business=of_jobs, when="random() < 0.7"))
        self._role = f"poor_{database_name(site.url)}"
        site.sql(ROLE.format(role=self._role))
        reading, self._unread = os.pipe()  # full after some hundred lines
        site.defer(os.close, reading)
        site.defer(os.close, self._unread)
        site.workers[0] = site.worker_process(self._start_unread, RELEASE="unread")
        site.workers[1] = site.worker_process(role=self._role, RELEASE="poor")
        site.workers.append(site.worker_process(self._start_killable, RELEASE="killable"))

    def _start_unread(self, name: str, **changes: object) -> Dyno:
        environment = {**self._site.environment, "LOG_FORMAT": "json", **{k: str(v) for k, v in changes.items()}}
        return self._site.stopped_at_end(Dyno(start_process(name, environment, self._unread), self._site.folder))

    def _start_killable(self, _name: str, **changes: object) -> Dyno:
        log = self._site.folder / "killable.log"
        environment = {**self._site.environment, **{k: str(v) for k, v in changes.items()}}
        return self._site.stopped_at_end(Dyno(inserting.start(environment, log), log))

    def plan(self, began: float, seconds: float) -> None:
        """Twice read-only, and a step of the clock every 15 s."""
        steps = count()
        self._plan = sorted(
            [(began + seconds * part, the_database_turns_read_only) for part in (0.2, 0.7)]
            + [(began + at, self._step(next(steps))) for at in range(5, int(seconds), STEP_EACH_SECONDS)],
            key=lambda due: due[0],
        )

    def _step(self, number: int) -> Callable[["Site"], Iterator[float]]:
        if number % 2 and self._site.postgres.clock.can_step:
            return the_clock_steps
        return the_clock_seems_to_step

    def go_on(self, now: float) -> None:
        while self._plan and self._plan[0][0] <= now:
            does = self._plan.pop(0)[1]
            self._site.begin(does.__name__, does(self._site))
        if now >= self._next:
            self._next = now + EACH_SECONDS
            with suppress(DBAPIError, psycopg2.Error):
                self._send()

    def _send(self) -> None:
        for text in MALFORMED.values():
            self._insert(MALFORMED_ID, "maintenance", text)
        self._insert(UNSERVED_ID, "nobody", message(queue_name="nobody"))
        if not self.unended(KILLER_ID):
            self._insert(KILLER_ID, "low", message(queue_name="low", actor_name="kill", args=[1]))

    def _insert(self, sort: str, queue: str, text: str) -> None:
        self._site.sql(
            """INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime, message)
               VALUES (CAST(:id AS uuid), :queue, 'queued', now(), CAST(:message AS jsonb))""",
            id=f"{sort}-0000-4000-8000-{next(self._numbers):012d}", queue=queue, message=text)  # fmt: skip

    def unended(self, *sorts: str) -> list[dict[str, Any]]:
        return self._site.sql(UNENDED, sorts=list(sorts or (MALFORMED_ID, KILLER_ID)))

    def stale_jobs_of_others(self) -> list[dict[str, Any]]:
        return self._site.sql(STALE, hostile=self.businesses)

    def relent(self) -> bool:
        """The triggers go: now these jobs end too. Not in a minute or two, when the next message would come, or a job
        that could not be failed is seen to be stale.
        """
        self._site.sql("""DROP TRIGGER IF EXISTS hostile ON background_jobs; DROP TRIGGER IF EXISTS hostile ON receipts;
                          UPDATE background_jobs SET resent_at = NULL, heartbeat_at = now() - interval '1 hour'
                          WHERE business_id = ANY (:hostile)""", hostile=self.businesses)  # fmt: skip
        return True

    def report(self) -> str:
        """AssertionError when something of it ended in another way than it should."""
        sql, ids = self._site.sql, "WHERE left(message_id::text, 8) = :sort"
        killers = sql(f"SELECT reason, losses FROM dramatiq.queue {ids}", sort=KILLER_ID)
        assert killers
        assert all(row["losses"] == 3 and "third in a row" in row["reason"] for row in killers), killers
        unserved = sql(f"SELECT DISTINCT state::text FROM dramatiq.queue {ids}", sort=UNSERVED_ID)
        assert unserved in ([], [{"state": "queued"}]), unserved  # a worker for it may come
        (rejected,) = sql(f"SELECT count(*) AS n, count(DISTINCT reason) AS r FROM dramatiq.queue {ids}",
                          sort=MALFORMED_ID)  # fmt: skip
        claims = {row["release"]: row["n"] for row in sql(CLAIMS)}
        assert claims.keys() >= {"unread", "poor"}, claims  # these may not be idle, or they show nothing
        steps = "" if self._site.postgres.clock.can_step else "; faketime is not installed: the clock itself stood"
        return (
            f"the neighbour: {rejected['n']} malformed messages, all rejected, for {rejected['r']} reasons;"
            f" {len(killers)} killers, each at its third loss; claims by worker: {claims}{steps}"
        )


def the_database_turns_read_only(site: "Site") -> Iterator[float]:
    """For the sessions that begin meanwhile."""
    setting = f'ALTER DATABASE "{database_name(site.url)}" {{}}'
    site.sql(setting.format("SET default_transaction_read_only = on"))
    mended = False
    while not mended:
        yield 8.0
        with suppress(psycopg2.Error), closing(psycopg2.connect(site.url)) as session, session.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ WRITE; " + setting.format("RESET default_transaction_read_only"))
            session.commit()
            mended = True


def the_clock_seems_to_step(site: "Site") -> Iterator[float]:
    step = site.chance.choice(["200 s", "-200 s", "1 day", "11 s"])
    site.sql(STEP, step=step, hostile=site.neighbour.businesses)
    yield 0.0


def the_clock_steps(site: "Site") -> Iterator[float]:
    site.postgres.clock.step_back()
    yield 12.0
    site.postgres.clock.step_forward()
