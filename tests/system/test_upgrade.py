"""A rolling deploy: web and workers of an earlier release beside ours, on the schema of ours."""

import subprocess
from pathlib import Path

import pytest

from service.local.client import Client
from service.local.embedded import free_port
from service.local.processes import ROOT, stop_process, wait_until
from tests.conftest import answers
from tests.system.conftest import Owner

BEFORE = "f60bc883dbdd2943eb89e760dd92eeb888f0f9c4"  # had one kind of job, and none of what came since

pytestmark = pytest.mark.scale


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that release."""
    folder = tmp_path_factory.mktemp("before")
    archive = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip("this checkout is without the history: " + archive.stderr.decode()[:200])
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


@pytest.fixture
def owners(start, make, before):
    """owners(200): the owner of so many receipts, with a client of our web process, and with one of the earlier."""
    ports = {"before": free_port(), "now": free_port()}
    start("web", before, PORT=ports["before"], DELETE_RATE_LIMIT_SECONDS=0)
    start("web", PORT=ports["now"], DELETE_RATE_LIMIT_SECONDS=0)

    def new(receipts: int) -> dict[str, Owner]:
        business_id = make.business()
        token, ids = make.token(business_id), make.receipts(business_id, receipts)
        clients = {name: Client(f"http://127.0.0.1:{port}", token) for name, port in ports.items()}
        for name, client in clients.items():
            wait_until(lambda client=client: answers(client), 30, f"the web process of {name}")
        return {name: Owner(business_id, client, ids) for name, client in clients.items()}

    return new


def exact(job: dict, number: int) -> None:
    assert (job["status"], job["total"], job["processed"], job["succeeded"]) == ("completed", number, number, number)


def test_the_release_before_starts_pauses_resumes_and_ends_jobs_on_our_schema(owners, start, before) -> None:
    owner = owners(400)["before"]
    start("worker", before, THROTTLE_MS=300)
    job_id = owner.start()
    owner.wait_for_progress(job_id)
    assert owner.client.post(f"/api/jobs/{job_id}/pause").status in (200, 202)
    owner.wait_for(job_id, "paused")
    assert owner.client.post(f"/api/jobs/{job_id}/resume").status in (200, 202)
    exact(owner.wait_for(job_id, "completed"), 400)


@pytest.mark.parametrize("seconds", [30, 0])  # until SIGKILL
@pytest.mark.parametrize(("first", "second"), [("before", "now"), ("now", "before")])
def test_a_job_goes_from_a_worker_of_one_release_to_one_of_the_other(
    first, second, seconds, owners, start, before
) -> None:
    roots = {"before": before, "now": ROOT}
    both = owners(600)
    one = start("worker", roots[first], THROTTLE_MS=300)
    job_id = both[first].start()
    reached = both[second].wait_for_progress(job_id)["processed"]
    start("worker", roots[second])
    stop_process(one.process, seconds)
    exact(both[second].wait_for(job_id, "completed"), 600)
    assert both[first].job(job_id)["attempt"] >= 2
    assert 0 < reached < 600
