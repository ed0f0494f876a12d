"""Ends of deliveries: one that cannot be written costs itself."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import dramatiq
import psycopg2
import pytest
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from actors.runtime.messages.acks import DONE, QUEUED, REJECTED, Ack, Acks
from actors.runtime.messages.delivery import Delivery, Outcome
from actors.runtime.messages.ending import ack_of


@pytest.fixture
def acks(engine: Engine) -> Iterator[Acks]:
    acks = Acks(engine)
    yield acks
    acks._disconnect()


@pytest.fixture
def deliveries(sql: Callable[..., Any]) -> list[Delivery]:
    """Five messages in the hands of worker 1."""
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
           SELECT gen_random_uuid(), 'low', 'queued', jsonb_build_object('args', jsonb_build_array(n), 'options', '{}')
           FROM generate_series(1, 5) n""")
    rows = sql("SELECT * FROM claim_messages(1, '{low}', '{5}', '{0}', 5) ORDER BY seq")
    return [
        Delivery(dramatiq.Message("low", "note", (n,), {}, {}, str(row["message_id"])), n, 1, 1, was_lost=False)
        for n, row in enumerate(rows, 1)
    ]


@pytest.fixture
def states(sql: Callable[..., Any]) -> Callable[[], list[str]]:
    return lambda: [row["state"] for row in sql("SELECT state::text FROM dramatiq.queue ORDER BY seq")]


def end_all(acks: Acks, deliveries: list[Delivery], **third: Any) -> list[Delivery]:
    """Ends all in one group, the third as `third` says; returns those that were told that they are written."""
    told: list[Delivery] = []
    acks.on_written = told.append
    for n, delivery in enumerate(deliveries):
        ack = Ack.of(delivery, DONE)
        acks._waiting.append(ack._replace(**third) if n == 2 else ack)
    acks.flush()
    return told


REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; RETURN new; END $$;
    CREATE TRIGGER refuse BEFORE UPDATE ON dramatiq.queue FOR EACH ROW
        WHEN (old.message -> 'args' = '[3]' AND {when}) EXECUTE FUNCTION refuse()
"""


@pytest.mark.parametrize("state", [REJECTED, QUEUED])
@pytest.mark.parametrize("body", ["no JSON", '{"a": "\\u0000"}', '{"a": NaN}', "\ud800", "x\x00"])
def test_a_body_that_cannot_be_written_is_left_out_and_the_message_rejected(
    body, state, acks, deliveries, states, sql
) -> None:
    told = end_all(acks, deliveries, state=state, body=body)
    assert states() == ["done", "done", "rejected", "done", "done"]
    assert told == deliveries
    (row,) = sql("SELECT reason FROM dramatiq.queue WHERE state = 'rejected'")
    assert row["reason"].startswith("it cannot be written: ")


@pytest.mark.parametrize(
    "does", ["RAISE 'no'", "RAISE unique_violation", "PERFORM 1 / 0", "RAISE 'no' USING ERRCODE = 'XX000'"]
)
def test_a_row_that_refuses_every_change_is_tried_again_and_holds_up_no_other(
    does, acks, deliveries, states, sql
) -> None:
    sql(REFUSE.format(does=does, when="true"))
    told = end_all(acks, deliveries)
    assert states() == ["done", "done", "consumed", "done", "done"]
    assert told == deliveries  # its place is free
    acks.flush()
    sql("DROP TRIGGER refuse ON dramatiq.queue")
    acks.flush()
    assert states() == ["done"] * 5
    assert len(told) == 5


def test_what_no_row_took_for_a_while_is_then_written_as_it_was(acks, deliveries, states, sql) -> None:
    sql(REFUSE.format(does="RAISE 'no'", when="true"))
    end_all(acks, deliveries, state=QUEUED, body='{"queue_name": "low", "args": ["again"]}')
    assert states() == ["done", "done", "consumed", "done", "done"]
    sql("DROP TRIGGER refuse ON dramatiq.queue")
    acks.flush()
    found = sql("SELECT state::text, message -> 'args' AS args, reason FROM dramatiq.queue WHERE state <> 'done'")
    assert found == [{"state": "queued", "args": ["again"], "reason": None}]


def test_a_row_that_somebody_has_locked_is_written_once_it_is_free(acks, deliveries, states, engine) -> None:
    with engine.begin() as connection:
        locked = {"id": deliveries[2].message_id}
        connection.execute(text("SELECT FROM dramatiq.queue WHERE message_id = CAST(:id AS uuid) FOR UPDATE"), locked)
        told = end_all(acks, deliveries)
        assert states() == ["done", "done", "consumed", "done", "done"]
        assert told == [*deliveries[:2], *deliveries[3:]]
        acks.flush()
    acks.flush()
    assert states() == ["done"] * 5
    assert told[-1] is deliveries[2]


def test_a_lock_timeout_of_one_row_keeps_it_in_our_hands(acks, deliveries, states, sql) -> None:
    sql(REFUSE.format(does="RAISE lock_not_available", when="true"))
    told = end_all(acks, deliveries)
    assert states() == ["done", "done", "consumed", "done", "done"]
    assert deliveries[2] not in told


def test_a_connection_that_breaks_loses_no_end(acks, deliveries, states, sql) -> None:
    acks.add(Ack.of(deliveries[0], DONE))
    sql("""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE pid <> pg_backend_pid() AND query LIKE '%ack_messages%' AND datname = current_database()""")
    with pytest.raises(Exception, match=r"connection|terminat"):
        end_all(acks, deliveries[1:])
    acks.flush()
    assert states() == ["done"] * 5


def test_a_message_that_is_sent_again_gets_a_new_place_in_its_new_queue(acks, deliveries, states, sql) -> None:
    body = '{"queue_name": "high", "args": ["again"]}'
    end_all(acks, deliveries, state=QUEUED, body=body, queue_name="high")
    assert sql("SELECT queue_name, message, losses FROM dramatiq.queue WHERE state = 'queued'") == [
        {"queue_name": "high", "message": {"queue_name": "high", "args": ["again"]}, "losses": 0}
    ]
    assert states()[-1] == "queued"  # at the end


def test_a_reason_is_kept_beside_what_was_rejected(acks, deliveries, sql) -> None:
    acks.add(Ack.of(deliveries[0], REJECTED, reason="a\x00b\ud800"))
    assert sql("SELECT reason FROM dramatiq.queue WHERE state = 'rejected'") == [{"reason": "ab?"}]


@pytest.mark.parametrize(("state", "worker"), [(REJECTED, 1), (QUEUED, None)])
def test_what_has_ended_names_its_worker_and_what_goes_back_names_none(state, worker, acks, deliveries, sql) -> None:
    """What has no worker was taken by a stranger: functions/why/why_queued.sql."""
    content = "SELECT message FROM dramatiq.queue ORDER BY seq"
    before = sql(content)
    end_all(acks, deliveries, state=state)
    assert sql(content) == before
    found = sql("SELECT DISTINCT state::text, worker_id FROM dramatiq.queue")
    assert {row["state"]: row["worker_id"] for row in found} == {"done": 1, state: worker}
    assert len(found) == 2


def test_the_reason_of_an_earlier_end_is_gone_once_it_is_done(acks, deliveries, sql) -> None:
    """Somebody had put what was rejected back into its queue by hand."""
    sql("UPDATE dramatiq.queue SET reason = 'no such actor'")
    acks.add(Ack.of(deliveries[0], DONE))
    assert sql("SELECT reason FROM dramatiq.queue WHERE state = 'done'") == [{"reason": None}]


def test_each_identity_writes_its_own_ends_though_they_wait_together(acks, deliveries, states, sql) -> None:
    """A worker that has lost its identity goes on under another one."""
    sql("UPDATE dramatiq.queue SET worker_id = 2 WHERE message -> 'args' IN ('[2]', '[4]')")
    for number in (1, 3):
        deliveries[number].worker_id = 2
    told = end_all(acks, deliveries)
    assert states() == ["done"] * 5
    assert sorted(told) == deliveries


def test_an_end_that_is_alone_with_its_locked_row_is_not_forgotten(acks, deliveries, states, engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("SELECT FROM dramatiq.queue FOR UPDATE"))
        acks.add(Ack.of(deliveries[0], DONE))
        assert states() == ["consumed"] * 5
    acks.flush()
    assert states() == ["done", *["consumed"] * 4]


@pytest.mark.parametrize("state", [DONE, REJECTED, QUEUED])
def test_an_end_says_when_and_of_what_goes_back_only_a_retry_begins_anew(state, acks, deliveries, sql) -> None:
    """A requeue keeps its place and what it has lost: it may be what kills its workers."""
    sql("UPDATE dramatiq.queue SET losses = 2, mtime = now() - interval '1 hour'")
    (before,) = sql("SELECT seq, mtime FROM dramatiq.queue ORDER BY seq LIMIT 1")
    acks.add(Ack.of(deliveries[0], state))
    (row,) = sql("SELECT seq, mtime, losses FROM dramatiq.queue WHERE message_id::text = :id".replace("::", r"\:\:"),
                 id=deliveries[0].message_id)  # fmt: skip
    assert (row["seq"], row["losses"]) == (before["seq"], 2)
    assert row["mtime"] > before["mtime"]
    acks.add(Ack.of(deliveries[1], QUEUED, '{"queue_name": "low"}'))
    (last,) = sql("SELECT message_id::text AS id, losses FROM dramatiq.queue ORDER BY seq DESC LIMIT 1")
    assert last == {"id": deliveries[1].message_id, "losses": 0}


@pytest.mark.parametrize("state", ["08006", "25006", "53100", "57P01", "58030"])
def test_an_error_of_the_server_keeps_all_ends_for_the_next_try(state, acks, deliveries, states, sql) -> None:
    sql(REFUSE.format(does=f"RAISE 'no' USING ERRCODE = '{state}'", when="true"))
    with pytest.raises(Exception, match="no"):
        end_all(acks, deliveries)
    assert states() == ["consumed"] * 5
    sql("DROP TRIGGER refuse ON dramatiq.queue")
    told: list[Delivery] = []
    acks.on_written = told.append
    acks.flush()
    assert states() == ["done"] * 5
    assert told == deliveries


def test_an_end_that_cannot_be_written_now_raises_nothing_and_is_in_the_log(acks, deliveries, states, sql) -> None:
    sql(REFUSE.format(does="RAISE disk_full", when="true"))
    with capture_logs() as lines:
        acks.add_or_retry(Ack.of(deliveries[2], DONE))
    assert [(line["event"], line["message_id"], line["exc_info"]) for line in lines] == [
        ("ack.delayed", deliveries[2].message_id, None)
    ]
    sql("DROP TRIGGER refuse ON dramatiq.queue")
    acks.flush()
    assert states() == [*["consumed"] * 2, "done", *["consumed"] * 2]
    working, acks._engine = acks._engine, None  # type: ignore[assignment]
    acks._disconnect()
    with capture_logs() as lines:
        acks.add_or_retry(Ack.of(deliveries[0], DONE))
    assert [(line["event"], type(line["exc_info"])) for line in lines] == [("ack.delayed", AttributeError)]
    acks._engine = working
    acks.flush()
    assert states() == ["done", "consumed", "done", *["consumed"] * 2]


class Unwritable:
    pass


@pytest.mark.parametrize(
    ("says", "changes", "state", "body", "reason"),
    [
        (DONE, {}, DONE, None, None),
        (QUEUED, {}, QUEUED, None, None),
        (DONE, {"outcome": Outcome.REQUEUE}, QUEUED, None, None),
        (DONE, {"next": ("high", "{}")}, QUEUED, "{}", None),
        (REJECTED, {"next": ("high", "{}")}, QUEUED, "{}", None),
        (DONE, {"follow_up_error": TimeoutError("no answer"), "next": ("high", "{}")}, QUEUED, None, None),
        (DONE, {"follow_up_error": LookupError("no such")}, REJECTED, "its own", "LookupError: no such"),
        (
            DONE,
            {"follow_up_error": LookupError("no such"), "next": ("high", "{}")},
            REJECTED,
            "its own",
            "LookupError: no such",
        ),
        (REJECTED, {}, REJECTED, "its own", None),
        (REJECTED, {"_exception": LookupError("boom")}, REJECTED, "its own", "LookupError: boom"),
        (REJECTED, {"args": (Unwritable(),), "_exception": LookupError("boom")}, REJECTED, None, "LookupError: boom"),
        (REJECTED, {"args": (Unwritable(),)}, REJECTED, None, "TypeError: Object of type Unwritable"),
    ],
)
def test_how_a_delivery_ends_is_decided_by_all_that_happened(says, changes, state, body, reason) -> None:
    message = dramatiq.Message("low", "note", changes.pop("args", ()), {}, {})
    delivery = Delivery(message, 1, 3, 7, was_lost=False)
    for name, value in changes.items():
        setattr(delivery, name, value)
    ack = ack_of(delivery, says)
    assert (ack.worker_id, ack.message_id, ack.number, ack.state) == (7, message.message_id, 3, state)
    assert ack.queue_name == ("high" if body == "{}" else "low")
    assert ack.body == (message.encode().decode() if body == "its own" else body)
    assert (reason in ack.reason) if reason else ack.reason is None


@pytest.mark.parametrize(("state", "heard"), [(DONE, set()), (REJECTED, set()), (QUEUED, {"low", "high"})])
def test_only_what_goes_back_wakes_the_workers_of_its_queue(state, heard, acks, deliveries, environment) -> None:
    with closing(psycopg2.connect(environment["DATABASE_URL"])) as worker:
        worker.autocommit = True
        for name in ("low", "high", "default"):
            worker.cursor().execute(f'LISTEN "dramatiq.{name}.enqueue"')
        acks._waiting.append(Ack.of(deliveries[0], state)._replace(queue_name="high"))
        acks.add(Ack.of(deliveries[1], state))
        worker.cursor().execute("SELECT 1")
        assert {notify.channel.split(".")[1] for notify in worker.notifies} == heard


def test_an_end_is_not_waited_for_longer_than_some_seconds(acks, deliveries) -> None:
    acks.add(Ack.of(deliveries[0], DONE))
    with closing(acks._connection.cursor()) as cursor:  # type: ignore[union-attr]
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("5s",)


def test_more_ends_than_one_statement_takes_are_written_in_their_order(acks, deliveries, states, sql) -> None:
    """The last one of a message counts."""
    acks._waiting.extend(Ack.of(deliveries[4], DONE)._replace(number=9) for _ in range(600))
    acks._waiting.extend([Ack.of(deliveries[0], REJECTED), Ack.of(deliveries[1], DONE)])
    acks.flush()
    assert states() == ["rejected", "done", *["consumed"] * 3]
    assert not acks._waiting


def test_while_one_thread_writes_another_leaves_its_end_and_goes_on(acks, deliveries, states) -> None:
    with acks._writing:
        acks.add(Ack.of(deliveries[0], DONE))
        assert states() == ["consumed"] * 5
    acks.add(Ack.of(deliveries[1], DONE))
    assert states() == ["done", "done", *["consumed"] * 3]


def test_the_reason_of_what_cannot_be_written_is_short() -> None:
    unwritable = type("Long" * 999, (), {})()
    delivery = Delivery(dramatiq.Message("low", "note", (unwritable,), {}, {}), 1, 1, 1, was_lost=False)
    ack = ack_of(delivery, REJECTED)
    assert (ack.body, len(ack.reason or "")) == (None, 500)


@pytest.mark.parametrize("second", [DONE, REJECTED, QUEUED])
@pytest.mark.parametrize("first", [DONE, REJECTED])
def test_what_has_ended_ends_no_second_time(first, second, acks, deliveries, sql) -> None:
    """Its thread may have died right after the first end."""
    rows = "SELECT * FROM dramatiq.queue ORDER BY seq"
    acks.add(Ack.of(deliveries[0], first))
    before = sql(rows)
    acks.add(Ack.of(deliveries[0], second))
    assert sql(rows) == before
