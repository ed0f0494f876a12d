"""What ends the fetcher's sleep."""

import time

from sqlalchemy import text

from actors.runtime.messages.wakeup import Wakeup


def test_a_notification_that_came_with_a_response_ends_the_next_sleep_at_once(engine, sql) -> None:
    """The socket has nothing more to read then, so waiting for it would sleep past the message."""
    with engine.connect() as session:
        for statement in ("LISTEN sent", "SELECT pg_notify('sent', '')", "SELECT 1"):
            with session.begin():
                session.execute(text(statement))
        wakeup, began = Wakeup(), time.monotonic()
        wakeup.wait(session, 20)
        assert time.monotonic() - began < 10
        wakeup.wait(session, 0.5)
        assert time.monotonic() - began >= 0.5  # it was for one sleep only
        session.invalidate()


def test_a_notification_or_another_thread_ends_one_sleep_and_no_more(engine, sql) -> None:
    wakeup = Wakeup()
    with engine.connect() as session:
        with session.begin():
            session.execute(text("LISTEN sent"))
        for wake in (wakeup.wake, lambda: sql("SELECT pg_notify('sent', '')")):
            wake()
            began = time.monotonic()
            wakeup.wait(session, 20)
            assert time.monotonic() - began < 10
            began = time.monotonic()
            wakeup.wait(session, 0.3)
            assert time.monotonic() - began >= 0.3
        session.invalidate()
    wakeup.wake()
    began = time.monotonic()
    wakeup.wait(None, 20)
    assert time.monotonic() - began < 10
