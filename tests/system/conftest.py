"""A business and its owner, against real processes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from service.client import Client
from service.processes import wait_until

START = "/api/receipts/delete_all"
CONFIRMED = {"confirm": "DELETE"}


@dataclass
class Owner:
    business_id: int
    client: Client
    ids: list[int]  # of the business's receipts

    def start(self) -> int:
        """Starts a delete job; returns its id."""
        answer = self.client.post(START, CONFIRMED)
        assert answer.status == 202, answer
        return int(answer.body["job_id"])

    def job(self, job_id: int) -> dict[str, Any]:
        answer = self.client.get(f"/api/jobs/{job_id}")
        assert answer.status == 200, answer
        return dict(answer.body)

    def events(self, job_id: int) -> list[dict[str, Any]]:
        return list(self.client.get(f"/api/jobs/{job_id}/events?limit=500").body["events"])

    def wait_for(self, job_id: int, status: str, seconds: float = 60) -> dict[str, Any]:
        """Polls as a front end does; meanwhile progress may only grow."""
        seen = [0]

        def reached() -> bool:
            job = self.job(job_id)
            assert job["processed"] >= seen[-1], "progress went back"
            seen.append(job["processed"])
            return bool(job["status"] == status)

        wait_until(reached, seconds, f"job {job_id} to be {status}")
        return self.job(job_id)

    def wait_for_progress(self, job_id: int, beyond: int = 0) -> dict[str, Any]:
        wait_until(lambda: self.job(job_id)["processed"] > beyond, 30, f"job {job_id} to get beyond {beyond}")
        return self.job(job_id)


@pytest.fixture
def owner(web: Callable[..., Client], make: Any) -> Callable[[int], Owner]:
    """owner(200): of a new business with so many receipts."""

    def new(receipts: int) -> Owner:
        business_id = make.business()
        return Owner(business_id, web(make.token(business_id)), make.receipts(business_id, receipts))

    return new
