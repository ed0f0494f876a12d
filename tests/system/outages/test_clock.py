"""The clock that the storm steps: a test of the test."""

import time
from contextlib import closing

import psycopg2
import pytest

from tests.system.outages.clock import BEHIND_SECONDS


@pytest.fixture(scope="module")
def clock_steps() -> bool:
    return True


def test_a_step_is_seen_by_all_sessions_and_leaves_timeouts_as_long_as_they_are(postgres) -> None:
    if not postgres.clock.can_step:
        pytest.skip("faketime is not installed")  # a Debian package; .ci/run installs it where it may
    with closing(psycopg2.connect(postgres.url)) as one, closing(psycopg2.connect(postgres.url)) as other:
        for step, behind in ((postgres.clock.step_back, BEHIND_SECONDS), (postgres.clock.step_forward, 0)):
            step()
            for session in (one, other):
                with session, session.cursor() as cursor:
                    cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float")
                    assert time.time() - cursor.fetchone()[0] == pytest.approx(behind, abs=4)
            began = time.monotonic()
            with pytest.raises(psycopg2.errors.QueryCanceled), one, one.cursor() as cursor:
                cursor.execute("SET statement_timeout = '500ms'; SELECT pg_sleep(25)")
            assert 0.4 < time.monotonic() - began < 10  # 12 s is by how much the clock steps
