"""Everything at once: many jobs of many businesses, a fault every few seconds, and somebody who counts all the while.

`make chaos` runs it for long: CHAOS_SECONDS=900 CHAOS_SEED=1 make chaos. The same seed brings the same faults in the
same order; what they meet depends on the machine.
"""

import os
import sys

import pytest

from tests.system.outages.chaos import Chaos
from tests.system.outages.faults import FAULTS


@pytest.fixture
def chaos(postgres, environment, start, make, sql, bucket, between, tmp_path):
    return lambda seed, **more: Chaos(
        seed, postgres, environment, start, make, sql, bucket, between.bucket, tmp_path, **more
    )


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.scale)])
def test_nothing_is_lost_whatever_happens(seed, chaos) -> None:
    with chaos(seed) as site:
        site.run(15 if seed == 1 else 150)


@pytest.mark.scale
def test_a_hostile_neighbour_holds_up_no_other_job_for_more_than_40_s(chaos, capsys) -> None:
    with chaos(4, hostile=True, ordinary=False) as site:
        report = site.run(30)
    with capsys.disabled():
        sys.stdout.write(report + "\n")


BY_PEOPLE = {"a_job_is_paused", "a_job_is_cancelled", "an_operator_resets_a_job"}
OF_QUEUED_JOBS = {"the_waiting_messages_are_deleted"}  # those are cancelled at once


@pytest.mark.scale
def test_a_cancel_during_any_fault_ends_in_cancelled_with_exact_counters(chaos) -> None:
    with chaos(3, workers=1) as site:  # so each fault hits the worker that has the job
        for fault in sorted(FAULTS.keys() - BY_PEOPLE - OF_QUEUED_JOBS):
            job = site.cancel_during(fault)
            assert 0 < job["processed"] < job["total"], (fault, job)


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_nothing_is_lost_however_long_it_goes_on(chaos, capsys) -> None:
    seed, seconds = int(os.environ.get("CHAOS_SEED", "1")), float(os.environ.get("CHAOS_SECONDS", "900"))
    with chaos(seed, hostile=True) as site:
        report = site.run(seconds)
    with capsys.disabled():
        sys.stdout.write(report + "\n")
