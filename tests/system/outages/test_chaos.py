"""Everything at once: many jobs of many businesses, a fault every few seconds, and somebody who counts all the while.

What they meet depends on the machine; the same seed brings the same faults in the same order.
"""

import pytest

from tests.system.outages.faults import FAULTS


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.scale)])
def test_nothing_is_lost_whatever_happens(seed, chaos) -> None:
    with chaos(seed) as site:
        site.run(10 if seed == 1 else 150)


BY_PEOPLE = {"a_job_is_paused", "a_job_is_cancelled", "an_operator_resets_a_job"}
OF_QUEUED_JOBS = {"the_waiting_messages_are_deleted"}  # those are cancelled at once


@pytest.mark.scale
def test_a_cancel_during_any_fault_ends_in_cancelled_with_exact_counters(chaos) -> None:
    with chaos(3, workers=1) as site:  # so each fault hits the worker that has the job
        for fault in sorted(FAULTS.keys() - BY_PEOPLE - OF_QUEUED_JOBS):
            job = site.cancel_during(fault)
            assert 0 < job["processed"] < job["total"], (fault, job)
