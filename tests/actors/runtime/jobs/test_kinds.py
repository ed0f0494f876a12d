"""Kinds are found in actors/ by themselves, and a broken one stops everything, named."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

import actors
from actors.runtime.base.errors import KindError
from actors.runtime.jobs.kinds import Start, job_kind, load_kinds
from actors.runtime.jobs.params import Params
from actors.runtime.jobs.run import Batch, Run
from actors.runtime.jobs.testing import run_kind

NEW_KIND = """
from collections.abc import Iterator
from actors.runtime.jobs.kinds import job_kind
from actors.runtime.jobs.run import Batch, Run

@job_kind(queue="low", batch_size=7)
def brand_new(run: Run) -> Iterator[Batch]:
    yield from ()
"""


def test_a_setting_of_a_kind_obeys_the_same_limits_as_the_environment() -> None:
    with pytest.raises(KindError, match="throttle_ms: 60000 is not usable: Input should be less than"):
        job_kind(queue="low", throttle_ms=60_000)


def test_what_a_caller_leaves_out_is_completed_before_the_key_is_made(make, engine, settings) -> None:
    class Optional(Params):
        mailbox: str | None = None

    def complete(_start: Start, params: Optional) -> Optional:
        return params.model_copy(update={"mailbox": "the only one"})

    @job_kind(queue="low", params=Optional, complete=complete, key=lambda params: params.mailbox)
    def completed(run: Run) -> Iterator[Batch]:
        yield from ()

    job = run_kind(completed, engine, settings, make.business())
    assert (job["key"], job["params"]) == ("the only one", {"mailbox": "the only one"})


def test_delete_receipts_goes_to_maintenance() -> None:
    assert load_kinds()["delete_receipts"].queue == "maintenance"


@pytest.fixture
def a_file_in_actors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def write(name: str, content: str) -> None:
        (tmp_path / f"{name}.py").write_text(content)
        monkeypatch.setattr(actors, "__path__", [*actors.__path__, str(tmp_path)])

    return write


def test_a_new_file_in_actors_is_a_new_kind(a_file_in_actors, settings) -> None:
    a_file_in_actors("brand_new", NEW_KIND)
    found = load_kinds()["brand_new"]
    assert (found.name, found.queue) == ("brand_new", "low")
    assert found.setting(settings, "BATCH_SIZE") == 7
    assert found.setting(settings, "MAX_BATCH_FAILURES") == 10


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("import no_such_library", "actors/broken_kind.py cannot be imported: ModuleNotFoundError"),
        ("def", "actors/broken_kind.py cannot be imported: SyntaxError"),
        ("broken_kind = 3", "actors/broken_kind.py declares no job kind named broken_kind"),
    ],
)
def test_a_file_that_is_no_kind_is_named(content: str, says: str, a_file_in_actors) -> None:
    a_file_in_actors("broken_kind", content)
    with pytest.raises(KindError) as refusal:
        load_kinds()
    assert says in str(refusal.value)


def no_work(run: Run) -> Iterator[Batch]:
    yield from ()


def test_an_unknown_queue_or_setting_of_a_kind_is_refused() -> None:
    with pytest.raises(KindError, match="found the queue 'maintenence', expected one of high"):
        job_kind(queue="maintenence")(no_work)
    with pytest.raises(KindError, match="found 'batchsize', expected a setting"):
        job_kind(queue="low", batchsize=3)(no_work)


@pytest.mark.parametrize("name", ["broken_kind", "delete_receipts"])
def test_a_broken_kind_stops_the_web_process_with_a_sentence(name: str, tmp_path, environment) -> None:
    """In a process of its own: gunicorn imports service.app, and then calls create_app()."""
    (tmp_path / f"{name}.py").write_text("def")
    program = f"import actors; actors.__path__.insert(0, {str(tmp_path)!r}); "
    program += "from service.app import create_app; create_app()"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"actors/{name}.py cannot be imported: SyntaxError")
    assert "Traceback" not in done.stderr


class Written(Params):
    number: float = 0
    price: Decimal = Decimal(0)
    at: datetime | None = None
    ids: tuple[int, ...] = ()
    flag: bool = False
    text: str | int = ""
    day: date | None = None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", "1_0.5"),
        ("number", True),
        ("price", "1e3"),
        ("price", False),
        ("at", 1735689600),
        ("ids", [1, "2_0"]),
        ("ids", [1, True]),
        ("day", 1735689600.0),
    ],
)
def test_params_are_read_as_a_person_writes_them(field, value) -> None:
    with pytest.raises(ValidationError, match=field):
        Written.model_validate({field: value})


def test_params_take_what_they_mean_as_json_and_as_pythons_own() -> None:
    as_json = {"number": "-1.5", "price": 3, "at": "2025-01-01T12:00:00Z", "ids": ["7", 8], "flag": True, "text": "1_0"}
    written = Written.model_validate({**as_json, "day": "2025-01-01"})
    assert (written.number, written.price, written.ids, written.flag, written.text) == (-1.5, 3, (7, 8), True, "1_0")
    assert written.day == date(2025, 1, 1)
    assert Written.model_validate(written.model_dump()) == written
    assert Written.model_validate_json(written.model_dump_json()) == written
