"""The API against its own description, tried with made-up requests: no 5xx, and no answer that is not described."""

from contextlib import suppress

import falcon.testing
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from service.app import create_app
from service.openapi import spec as document


def no_crash(_context, response, _case) -> None:
    """A 503 says something: nobody takes what waits, say. That it is described is another check."""
    assert response.status_code < 500 or response.status_code == 503


CHECKS = [
    no_crash,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]


@pytest.fixture
def headers(make, sql) -> dict[str, str]:
    """An owner of a business with receipts, a job that is done, and one that runs without a worker."""
    business_id = make.business()
    make.receipts(business_id, 3)
    for job_id, status in ((0, "completed"), (1, "failed"), (2, "running")):
        make.job(business_id, id=job_id, status=status)
    sql("SELECT setval(pg_get_serial_sequence('background_jobs', 'id'), 1000)")  # for those that are started meanwhile
    return {"Authorization": f"Bearer {make.token(business_id)}"}


@pytest.fixture
def try_all(settings, connecting):
    """try_all(headers, examples): so many made-up requests for every call; returns how many were made."""

    def run(headers: dict[str, str], examples: int) -> int:
        keys = {"CONNECTION_KEYS": connecting["CONNECTION_KEYS"]}  # without them some calls are 503, as described
        app = create_app(settings.model_copy(update=keys))
        schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app)
        made = 0
        for result in schema.get_all_operations():
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                strategy = result.ok().as_strategy(generation_mode=mode)

                @hypothesis_settings(
                    max_examples=examples,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                    derandomize=True,
                    database=None,
                )
                @given(case=strategy)
                def try_one(case: schemathesis.Case) -> None:
                    nonlocal made
                    checks = CHECKS[1:] if case.path == "/api/jobs/health" else CHECKS  # a 503 is its answer here
                    case.call_and_validate(headers=headers, checks=checks)
                    made += 1

                with suppress(Unsatisfiable):  # a call that takes nothing cannot be called wrongly
                    try_one()
        return made

    return run


@pytest.mark.parametrize("examples", [3, pytest.param(25, marks=pytest.mark.scale)])
def test_made_up_requests_get_only_answers_that_are_described(examples, try_all, headers) -> None:
    assert try_all(headers, examples) > 16 * examples


def test_made_up_requests_without_a_token_too(try_all) -> None:
    assert try_all({}, examples=4) > 60


def test_every_route_of_the_api_is_described(settings) -> None:
    app = create_app(settings)
    described = {(path, method) for path, methods in document.spec["paths"].items() for method in methods}

    def walk(nodes):
        for node in nodes:
            if node.resource is not None:
                for method in ("get", "post", "put", "patch", "delete"):
                    if hasattr(node.resource, f"on_{method}"):
                        yield node.uri_template, method
            yield from walk(node.children)

    undescribed = ("/", "/assets/{name}", "/api/openapi.json", "/api/docs")
    served = set(walk(app._router._roots)) - {(path, "get") for path in undescribed}
    assert served == described


def test_the_page_for_people_shows_every_call_and_loads_nothing(settings) -> None:
    answer = falcon.testing.TestClient(create_app(settings)).simulate_get("/api/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    for path in document.spec["paths"]:
        assert path in answer.text
    assert "src=" not in answer.text
    assert "href=" not in answer.text
    assert "<script" not in answer.text
