"""The life of messages against a model: send, delay, claim, end, end too late, crash, in any order."""

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import psycopg2
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.failures import sqlstate
from service.local.processes import wait_until

QUEUES = ("low", "high")
LONG_AGO, FAR_AHEAD = 1000, 10**15  # ms

SEND = text("""
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message) VALUES (:id, :name, 'queued',
        jsonb_build_object('queue_name', CAST(:name AS text), 'options', CAST(:options AS jsonb)))
    RETURNING seq
""")
CLAIM = text("SELECT * FROM claim_messages(:worker, CAST(:queues AS text[]), :limits, :afters, :most, :lost)")
ACK = text("""
    SELECT * FROM ack_messages(:worker, CAST(ARRAY[:id] AS uuid[]), ARRAY[:delivery], ARRAY[:state],
                               CAST(ARRAY[NULL] AS jsonb[]), CAST(ARRAY[NULL] AS text[]))
""")
RELEASE_LOST = text("""
    SELECT release_messages(ARRAY(
        SELECT message_id FROM dramatiq.queue WHERE state = 'queued' AND losses > 0 AND eta IS NOT NULL))
""")


@dataclass
class Expected:
    queue: str
    seq: int
    state: str = "queued"
    worker: int | None = None
    delivery: int = 0
    losses: int = 0


def test_two_claims_at_once_take_no_message_twice_and_do_not_wait(engine: Engine, sql) -> None:
    for _ in range(3):
        sql(SEND.text, id=str(uuid4()), name="low", options="{}")
    values = {"queues": ["low"], "limits": [2], "afters": [0], "most": 2, "lost": None}
    with engine.begin() as one, engine.begin() as other:
        first = one.execute(CLAIM, {**values, "worker": 1}).all()
        other.execute(text("SET LOCAL lock_timeout = '1s'"))
        second = other.execute(CLAIM, {**values, "worker": 2}).all()
    assert [len(first), len(second)] == [2, 1]
    assert {row.delivery for row in first + second} == {1}


def sent(sql, number: int, name: str = "low", options: str = "{}", losses: int = 0, state: str = "queued") -> str:
    """A message with a new place in the table; a higher number means a lower id."""
    message_id = f"{9 - number}{str(uuid4())[1:]}"
    sql(SEND.text, id=message_id, name=name, options=options)
    sql("UPDATE dramatiq.queue SET losses = :losses, state = :state, mtime = now() - interval '1 hour' "
        "WHERE message_id::text = :id".replace("::", r"\:\:"), losses=losses, state=state, id=message_id)  # fmt: skip
    return message_id


def test_of_what_was_lost_the_oldest_that_nobody_has_is_claimed_from_these_queues(engine: Engine, sql) -> None:
    sent(sql, 1, name="high", losses=1)
    sent(sql, 2, losses=1, options='{"eta": 1}')
    sent(sql, 3, losses=1, state="consumed")
    held, oldest, newer = (sent(sql, number, losses=1) for number in (4, 5, 6))
    sent(sql, 7, options='{"eta": 1}')
    for message_id in (held, oldest):  # now they are the last in the table, and by their ids
        sql("UPDATE dramatiq.queue SET result = '1' WHERE message_id = CAST(:id AS uuid)", id=message_id)
    values = {"worker": 9, "queues": ["low"], "limits": [5], "afters": [0], "most": 5}
    began = datetime.now(UTC)

    def claimed(lost: int | None) -> list[str]:
        with engine.begin() as session:
            session.execute(text("SET LOCAL lock_timeout = '1s'"))
            return sorted(str(row.message_id) for row in session.execute(CLAIM, {**values, "lost": lost}))

    with engine.begin() as somebody:
        somebody.execute(
            text("SELECT FROM dramatiq.queue WHERE message_id = CAST(:id AS uuid) FOR UPDATE"), {"id": held}
        )
        assert [claimed(0), claimed(1)] == [[], [oldest]]
    assert sql("SELECT mtime > :at AS new, worker_id FROM dramatiq.queue WHERE message_id = CAST(:id AS uuid)",
               at=began, id=oldest) == [{"new": True, "worker_id": 9}]  # fmt: skip
    assert claimed(None) == sorted([held, newer])


def test_what_a_claim_looks_at_begins_right_after_the_place_that_it_names(sql) -> None:
    first, second = sent(sql, 1), sent(sql, 2)
    sent(sql, 3, name="high")
    (place,) = sql("SELECT seq FROM dramatiq.queue WHERE message_id = CAST(:id AS uuid)", id=first)
    values = {"worker": 9, "queues": ["high", "low"], "limits": [0, 5], "most": 5, "lost": 1}
    claimed = sql(CLAIM.text, **values, afters=[0, place["seq"]])
    assert [str(row["message_id"]) for row in claimed] == [second]
    claimed = sql(CLAIM.text, **values, afters=[0, place["seq"] - 1])
    assert [(str(row["message_id"]), row["seq"], row["delivery"]) for row in claimed] == [(first, place["seq"], 1)]


SEND_AGAIN = """
    SELECT enqueue_messages(CAST(ARRAY[:id] AS uuid[]), ARRAY['high'], CAST(ARRAY['{"args": [2]}'] AS jsonb[]),
                            CAST(:worker AS integer), CAST(:delivery AS integer))
"""


def test_what_is_sent_again_under_its_id_is_as_good_as_new(sql) -> None:
    again = sent(sql, 1, losses=2, state="rejected")
    other = sent(sql, 2)
    sql("UPDATE dramatiq.queue SET reason = 'no such actor'")
    sql(SEND_AGAIN, id=again, worker=None, delivery=None)
    first, last = sql("SELECT *, message_id::text AS id, mtime > now() - interval '1 minute' AS is_new "
                      "FROM dramatiq.queue ORDER BY seq".replace("::", r"\:\:"))  # fmt: skip
    assert (first["id"], last["id"]) == (other, again)
    assert (last["state"], last["queue_name"], last["message"]) == ("queued", "high", {"args": [2]})
    assert (last["losses"], last["reason"], last["is_new"]) == (0, None, True)


def test_a_copy_of_what_is_being_processed_is_refused_and_so_is_all_beside_it(sql) -> None:
    message_id = sent(sql, 1)
    sql(CLAIM.text, worker=9, queues=["low"], limits=[1], afters=[0], most=1, lost=None)
    before = sql("SELECT * FROM dramatiq.queue")
    with pytest.raises(DBAPIError, match="a message with this id is being processed") as refusal:
        sql("""SELECT enqueue_messages(CAST(ARRAY[:other, :id] AS uuid[]), '{low,low}', ARRAY['{}', '{}']::jsonb[])"""
            .replace("::", r"\:\:"), other=str(uuid4()), id=message_id)  # fmt: skip
    assert sqlstate(refusal.value) == "LH409"
    assert sql("SELECT * FROM dramatiq.queue") == before


@pytest.mark.parametrize(("worker", "delivery", "goes"), [(9, 1, True), (9, 2, False), (8, 1, False)])
def test_a_worker_of_the_release_before_sends_again_only_what_it_has(worker, delivery, goes, sql) -> None:
    """Of a late one it hears nothing: its retry is simply not there."""
    message_id = sent(sql, 1)
    sql(CLAIM.text, worker=9, queues=["low"], limits=[1], afters=[0], most=1, lost=None)
    sql(SEND_AGAIN, id=message_id, worker=worker, delivery=delivery)
    assert sql("SELECT state::text FROM dramatiq.queue") == [{"state": "queued" if goes else "consumed"}]


def test_workers_are_woken_in_every_queue_whose_name_fits_a_channel(sql, environment) -> None:
    names = ["low", "q" * 46, "é" * 23]
    with closing(psycopg2.connect(environment["DATABASE_URL"])) as worker:
        worker.autocommit = True
        for name in names:
            worker.cursor().execute(f'LISTEN "dramatiq.{name}.enqueue"')
        sql("SELECT wake_workers(:names)", names=[*names, "low", "q" * 47, "é" * 30])
        worker.cursor().execute("SELECT 1")
        heard = [notify.channel for notify in worker.notifies]
    assert sorted(heard) == sorted(f"dramatiq.{name}.enqueue" for name in names)


@pytest.mark.parametrize("histories", [8, pytest.param(200, marks=pytest.mark.scale)])
def test_messages_live_as_the_model_says_whatever_happens_in_whatever_order(histories, engine: Engine) -> None:
    class MessageLife(RuleBasedStateMachine):
        @initialize()
        def empty(self) -> None:
            self.messages: dict[str, Expected] = {}
            self.delayed: dict[str, tuple[str, bool]] = {}  # id → queue, due
            self.workers: dict[int, Connection] = {}
            self.next_worker = 1
            with engine.begin() as connection:
                connection.execute(text("TRUNCATE dramatiq.queue"))
            for _ in range(2):
                self.boot()

        def alive(self) -> list[int]:
            with engine.begin() as connection:
                return list(connection.scalars(text("SELECT live_workers()")))

        def boot(self) -> None:
            session = engine.connect()
            session.execute(text("SELECT pg_advisory_lock(worker_lock_space(), :id)"), {"id": self.next_worker})
            session.commit()
            self.workers[self.next_worker] = session
            self.next_worker += 1

        def teardown(self) -> None:
            for session in self.workers.values():
                session.invalidate()
                session.close()

        @rule(queue=st.sampled_from(QUEUES))
        def send(self, queue: str) -> None:
            message_id = str(uuid4())
            with engine.begin() as connection:
                seq = connection.execute(SEND, {"id": message_id, "name": queue, "options": "{}"}).scalar_one()
            self.messages[message_id] = Expected(queue, seq)

        @rule(queue=st.sampled_from(QUEUES), due=st.booleans())
        def send_delayed(self, queue: str, due: bool) -> None:
            message_id = str(uuid4())
            options = f'{{"eta": {LONG_AGO if due else FAR_AHEAD}}}'
            with engine.begin() as connection:
                connection.execute(SEND, {"id": message_id, "name": f"{queue}.DQ", "options": options})
            self.delayed[message_id] = (queue, due)

        @rule()
        def release(self) -> None:
            due = [message_id for message_id, (_, is_due) in self.delayed.items() if is_due]
            with engine.begin() as connection:
                assert connection.execute(text("SELECT enqueue_due_messages()")).scalar() == len(due)
                rows = connection.execute(
                    text("SELECT message_id::text AS id, seq FROM dramatiq.queue WHERE message_id::text = ANY(:ids)"),
                    {"ids": due},
                ).all()
            for row in rows:
                self.messages[row.id] = Expected(self.delayed.pop(row.id)[0], row.seq)

        @rule(data=st.data(), most=st.integers(1, 4), limit=st.integers(1, 3), lost=st.sampled_from((None, 0, 1)))
        def claim(self, data: st.DataObject, most: int, limit: int, lost: int | None) -> None:
            """`lost`: how many of those that were lost with a worker may come beside the others; None: all alike."""
            worker = data.draw(st.sampled_from(sorted(self.workers)))
            waiting = {
                queue: sorted(
                    (m.seq, message_id)
                    for message_id, m in self.messages.items()
                    if m.queue == queue and m.state == "queued" and (lost is None or not m.losses)
                )
                for queue in QUEUES
            }
            suspects = sorted(
                m.seq for m in self.messages.values() if m.queue in QUEUES and m.state == "queued" and m.losses
            )
            values = {"worker": worker, "queues": list(QUEUES), "limits": [limit] * 2, "afters": [0, 0], "most": most}
            with engine.begin() as connection:
                claimed = connection.execute(CLAIM, {**values, "lost": lost}).all()
            rows = [row for row in claimed if lost is None or not row.losses]
            assert [row.seq for row in claimed if row not in rows] == suspects[: lost or 0]
            assert len(rows) == min(most, sum(min(limit, len(found)) for found in waiting.values()))
            for queue, found in waiting.items():
                got = sorted(row.seq for row in rows if row.queue_name == queue)
                assert got == [seq for seq, _ in found[: len(got)]], "not the oldest first"
            for row in claimed:
                expected = self.messages[str(row.message_id)]
                expected.state, expected.worker, expected.delivery = "consumed", worker, expected.delivery + 1
                assert row.delivery == expected.delivery

        @rule(data=st.data(), state=st.sampled_from(("done", "rejected", "queued")), late=st.integers(0, 2))
        def end(self, data: st.DataObject, state: str, late: int) -> None:
            """By whoever holds it; or, `late`, by an older delivery or another worker: then nothing may change."""
            if not self.messages:
                return
            message_id = data.draw(st.sampled_from(sorted(self.messages)))
            expected = self.messages[message_id]
            values = {
                "worker": (expected.worker or 1) + (late == 2),
                "id": message_id,
                "delivery": expected.delivery - (late == 1),
                "state": state,
            }
            with engine.begin() as connection:
                assert connection.execute(ACK, values).all() == []  # none of them is locked
            if expected.state == "consumed" and not late:
                expected.state = state

        @rule(data=st.data())
        def crash(self, data: st.DataObject) -> None:
            worker = data.draw(st.sampled_from(sorted(self.workers)))
            session = self.workers.pop(worker)
            session.invalidate()
            session.close()
            wait_until(lambda: worker not in self.alive(), 30, "the server to notice")
            held = [m for m in self.messages.values() if m.state == "consumed" and m.worker == worker]
            with engine.begin() as connection:
                assert connection.execute(text("SELECT recover_messages()")).scalar() == len(held)
            for expected in held:
                expected.losses += 1
                expected.state, expected.worker = "queued" if expected.losses < 3 else "rejected", None
                if expected.losses == 2:
                    expected.queue += ".DQ"  # the last try comes later
            self.boot()

        @rule()
        def half_a_minute_passes(self) -> None:
            with engine.begin() as connection:
                connection.execute(RELEASE_LOST)
                rows = connection.execute(text("SELECT message_id::text AS id, seq FROM dramatiq.queue")).all()
            for row in rows:
                if row.id in self.messages:
                    expected = self.messages[row.id]
                    assert row.seq == expected.seq or expected.queue.endswith(".DQ")
                    expected.queue, expected.seq = expected.queue.removesuffix(".DQ"), row.seq

        @invariant()
        def agrees(self) -> None:
            with engine.begin() as connection:
                rows = connection.execute(
                    text(
                        "SELECT message_id::text AS id, queue_name, state::text, worker_id, delivery, losses"
                        " FROM dramatiq.queue"
                    )
                ).all()
            found = {row.id: row for row in rows}
            assert found.keys() == self.messages.keys() | self.delayed.keys()
            for message_id, expected in self.messages.items():
                row = found[message_id]
                assert (row.queue_name, row.state, row.delivery) == (expected.queue, expected.state, expected.delivery)
                assert row.losses == expected.losses
                if expected.state == "consumed":
                    assert row.worker_id == expected.worker

    run_state_machine_as_test(
        MessageLife,
        settings=settings(
            max_examples=histories,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
