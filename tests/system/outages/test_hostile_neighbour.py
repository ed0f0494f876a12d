"""The same with a hostile neighbour, who makes Postgres's clock step too.

`make chaos` runs it for long: CHAOS_SECONDS=900 CHAOS_SEED=1 make chaos.
"""

import os
import sys

import pytest


@pytest.fixture(scope="module")
def clock_steps() -> bool:
    return True


@pytest.mark.scale
def test_a_hostile_neighbour_holds_up_no_other_job_for_more_than_40_s(chaos, capsys) -> None:
    with chaos(4, hostile=True, ordinary=False) as site:
        report = site.run(30)
    with capsys.disabled():
        sys.stdout.write(report + "\n")


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_nothing_is_lost_however_long_it_goes_on(chaos, capsys) -> None:
    seed, seconds = int(os.environ.get("CHAOS_SEED", "1")), float(os.environ.get("CHAOS_SECONDS", "900"))
    with chaos(seed, hostile=True) as site:
        report = site.run(seconds)
    with capsys.disabled():
        sys.stdout.write(report + "\n")
