"""Everything at once: many jobs of many businesses, a fault every few seconds, and somebody who counts all the while.

`make chaos` runs it for long: CHAOS_SECONDS=900 CHAOS_SEED=1 make chaos. The same seed brings the same faults in the
same order; what they meet depends on the machine.
"""

import os
import sys

import pytest

from tests.system.outages.chaos import Chaos


@pytest.fixture
def chaos(postgres, environment, start, make, sql, bucket, between, tmp_path):
    def run(seed: int, seconds: float) -> str:
        with Chaos(seed, postgres, environment, start, make, sql, bucket, between.bucket, tmp_path) as site:
            return site.run(seconds)

    return run


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.scale)])
def test_nothing_is_lost_whatever_happens(seed, chaos) -> None:
    chaos(seed, 15 if seed == 1 else 150)


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_nothing_is_lost_however_long_it_goes_on(chaos, capsys) -> None:
    seed, seconds = int(os.environ.get("CHAOS_SEED", "1")), float(os.environ.get("CHAOS_SECONDS", "900"))
    report = chaos(seed, seconds)
    with capsys.disabled():
        sys.stdout.write(report + "\n")
