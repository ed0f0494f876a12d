"""Kinds are found in actors/ by themselves, and a broken one stops everything, named."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import Field, ValidationError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

import actors
from actors.runtime.base.errors import ConfigError, KindError
from actors.runtime.jobs.kinds import Kind, RefusedError, Start, job_kind, load_kinds
from actors.runtime.jobs.params import Params, sentence, sentences, set_at_start
from actors.runtime.jobs.run import Batch, Run
from actors.runtime.jobs.start import JobActiveError, ParamsError, TooSoonError, is_second, read_params, start
from actors.runtime.jobs.testing import run_kind
from service.local.processes import wait_until

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


class AsWritten(Params):
    number: float = 0
    price: Decimal = Decimal(0)
    at: datetime | None = None
    ids: tuple[int, ...] = ()
    flag: bool = False
    text: str | int = ""
    day: date | None = None
    either: date | int = 0
    moment: date | datetime | None = None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", "1_0.5"),
        ("number", True),
        ("price", "1e3"),
        ("price", False),
        ("at", 1735689600),
        ("at", "1735689600"),
        ("at", "1.5"),
        ("at", True),
        ("ids", [1, "2_0"]),
        ("ids", [1, True]),
        ("day", 1735689600.0),
        ("either", "5"),
        ("either", True),
        ("moment", "1735689600"),
    ],
)
def test_params_are_read_as_a_person_writes_them(field, value) -> None:
    with pytest.raises(ValidationError, match=field):
        AsWritten.model_validate({field: value})


def test_params_take_what_they_mean_as_json_and_as_pythons_own() -> None:
    as_json = {"number": "-1.5", "price": 3, "at": "2025-01-01T12:00:00Z", "ids": ["7", 8], "flag": True, "text": "1_0"}
    written = AsWritten.model_validate({**as_json, "day": "2025-01-01", "either": 5})
    assert written.either == 5
    for price in ("1E+3", "-0.5", "1E-7"):
        assert AsWritten.model_validate_json(AsWritten(price=Decimal(price)).model_dump_json()).price == Decimal(price)
    for moment in (date(2025, 1, 1), datetime(2025, 1, 1, 12, tzinfo=UTC)):
        assert AsWritten.model_validate_json(AsWritten(moment=moment).model_dump_json()).moment == moment
    assert (written.number, written.price, written.ids, written.flag, written.text) == (-1.5, 3, (7, 8), True, "1_0")
    assert written.day == date(2025, 1, 1)
    assert AsWritten.model_validate(written.model_dump()) == written
    assert AsWritten.model_validate_json(written.model_dump_json()) == written


def test_a_setting_is_taken_from_where_it_is_said_most_exactly(settings) -> None:
    declared = job_kind(queue="low", batch_size=7, old_settings={"BATCH_SIZE": "FORMER_SIZE"})(no_work)
    plain = job_kind(queue="low")(no_work)

    def size(**of_kinds: str) -> tuple[int, int]:
        here = settings.model_copy(update={"BATCH_SIZE": 40, "of_kinds": of_kinds})
        return declared.setting(here, "BATCH_SIZE"), plain.setting(here, "BATCH_SIZE")

    assert size() == (7, 40)
    assert size(FORMER_SIZE="8") == (8, 40)
    assert size(FORMER_SIZE="8", NO_WORK_BATCH_SIZE="9") == (9, 9)
    with pytest.raises(ConfigError, match="NO_WORK_BATCH_SIZE: '0' is not usable: Input should be greater"):
        size(NO_WORK_BATCH_SIZE="0")
    with pytest.raises(ConfigError, match="NO_WORK_BATCH_SIZE: its value is not usable"):
        size(NO_WORK_BATCH_SIZE="https://dana:hunter5@host")
    wrong = settings.model_copy(update={"of_kinds": {"NO_WORK_THROTTLE_MS": "x"}})
    with pytest.raises(ConfigError, match="NO_WORK_THROTTLE_MS: 'x'"):
        plain.check(wrong)


@pytest.fixture
def begin(engine, settings):
    """begin(kind, business_id): a start; its id."""

    def start_one(a_kind: Kind, business_id: int, **params: str) -> int:
        with engine.begin() as connection:
            return start(connection, a_kind, settings, business_id, read_params(a_kind, params), who="dana").job_id

    return start_one


class Keyed(Params):
    mailbox: str = ""


def test_a_start_waits_for_its_own_business_kind_and_key_and_former_names_count(begin, make, sql) -> None:
    limited = job_kind(
        queue="low", params=Keyed, key=lambda params: params.mailbox, cooldown_seconds=60, old_names=["before"]
    )(no_work)
    business_id = make.business()
    first = begin(limited, business_id, mailbox="a")
    for other in (
        lambda: begin(limited, business_id, mailbox="b"),
        lambda: begin(limited, make.business(), mailbox="a"),
    ):
        other()
    with pytest.raises(JobActiveError, match=f"Job {first} of the kind no_work is already active") as active:
        begin(limited, business_id, mailbox="a")
    assert active.value.job_id == first
    sql("UPDATE background_jobs SET job_type = 'before' WHERE id = :id", id=first)
    with pytest.raises(JobActiveError):
        begin(limited, business_id, mailbox="a")
    sql("SELECT cancel_job(:id, 'dana')", id=first)
    with pytest.raises(TooSoonError, match="started less than 60 s ago; try again in") as too_soon:
        begin(limited, business_id, mailbox="a")
    assert 50 <= too_soon.value.seconds <= 60
    sql("UPDATE background_jobs SET created_at = now() - interval '58.5 s' WHERE id = :id", id=first)
    with pytest.raises(TooSoonError) as nearly:
        begin(limited, business_id, mailbox="a")
    assert nearly.value.seconds in (1, 2)
    sql("UPDATE background_jobs SET created_at = now() - interval '60 s' WHERE id = :id", id=first)
    assert begin(limited, business_id, mailbox="a") > first


def test_a_start_waits_for_one_of_the_same_business_that_is_not_committed(begin, make, engine, settings, sql) -> None:
    declared = job_kind(queue="low")(no_work)
    business_id = make.business()
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor() as pool:
        with engine.begin() as connection:
            params = read_params(declared, {})
            first = start(connection, declared, settings, business_id, params, who="eli").job_id
            second = pool.submit(begin, declared, business_id)
            wait_until(lambda: sql(waiting), 30, "the second start to wait")
        with pytest.raises(JobActiveError) as active:
            second.result(30)
    assert active.value.job_id == first


def test_a_paused_job_is_active_and_of_several_the_first_is_named(begin, make, sql) -> None:
    renamed = job_kind(queue="low", old_names=["before"])(no_work)
    business_id = make.business()
    first = make.job(business_id, status="paused", job_type="no_work")
    make.job(business_id, status="running", job_type="before")
    sql("UPDATE background_jobs SET total = 1 WHERE id = :id", id=first)  # now it is the last in the table
    with pytest.raises(JobActiveError) as active:
        begin(renamed, business_id)
    assert active.value.job_id == first


def test_a_start_is_kept_as_it_was_measured_and_counting_leaves_no_trace(make, engine, settings, sql) -> None:
    def prepare(_start: Start, params: Keyed) -> Keyed:
        return params.model_copy(update={"mailbox": "fixed"})

    def count(begun: Start, params: Keyed) -> int:
        assert params.mailbox == "fixed"
        assert begun.connection.scalar(text("SHOW statement_timeout")) == "1s"
        begun.connection.execute(text("INSERT INTO businesses (name) VALUES ('counted')"))
        return 5

    counted = job_kind(queue="low", params=Keyed, prepare=prepare, count=count)(no_work)
    business_id = make.business()
    with engine.begin() as connection:
        limit = connection.scalar(text("SHOW statement_timeout"))
        began = start(connection, counted, settings, business_id, Keyed(), who="dana", user_id=7)
        assert connection.scalar(text("SHOW statement_timeout")) == limit
    (job,) = sql("SELECT * FROM background_jobs")
    assert (job["id"], job["total"]) == (began.job_id, began.total) == (began.job_id, 5)
    assert (job["params"], job["queue"], job["requested_by_user_id"]) == ({"mailbox": "fixed"}, "low", 7)
    assert sql("SELECT FROM businesses WHERE name = 'counted'") == []
    assert sql("SELECT actor FROM job_events") == [{"actor": "dana"}]


@pytest.mark.parametrize(("ago", "left"), [(60, None), (59.5, 1)])
def test_a_cooldown_that_ends_while_a_start_waits_for_its_turn_is_over(
    ago, left, make, begin, engine, settings
) -> None:
    limited, business_id = job_kind(queue="low", cooldown_seconds=60)(no_work), make.business()
    begin(limited, business_id)
    ended = f"""UPDATE background_jobs SET created_at = clock_timestamp() - interval '{ago} s';
               SELECT cancel_job(id, 'dana') FROM background_jobs"""
    with engine.begin() as connection, pytest.raises(TooSoonError) if left else nullcontext() as too_soon:
        connection.execute(text(ended))
        assert start(connection, limited, settings, business_id, read_params(limited, {}), who="dana").job_id
    assert left is None or too_soon.value.seconds == left


@pytest.mark.parametrize(("query", "is_told"), [("SELECT pg_sleep(30)", False), ("SELECT 1 / 0", True)])
def test_at_the_start_a_long_count_is_left_to_the_worker_and_a_wrong_one_is_told(
    query, is_told, make, begin, sql, monkeypatch
) -> None:
    monkeypatch.setattr("actors.runtime.jobs.start.COUNT_SECONDS", 0.1)
    counts = job_kind(queue="low", count=lambda begun, _params: begun.connection.scalar(text(query)))(no_work)
    if is_told:
        with pytest.raises(DBAPIError, match="division by zero"):
            begin(counts, make.business())
        assert sql("SELECT FROM background_jobs") == []
    else:
        begin(counts, make.business())
        assert sql("SELECT status, total FROM background_jobs") == [{"status": "queued", "total": None}]


def test_only_a_second_active_job_is_one_and_not_any_other_refusal_of_postgres(make) -> None:
    business_id = make.business()
    make.job(business_id)
    refused = []
    for columns in ({}, {"status": "cancelling"}):
        with pytest.raises(IntegrityError) as error:
            make.job(business_id, **columns)
        refused.append(is_second(error.value))
    assert refused == [True, False]
    assert not is_second(DBAPIError("SELECT 1", None, None))


class Asked(Params):
    number: int
    day: date | None = None
    at: datetime | None = None
    word: str = Field(default="", max_length=3)
    cursor: str = set_at_start("")


def test_what_is_wrong_with_all_of_it_is_told_by_the_name_of_the_whole() -> None:
    with pytest.raises(ValidationError) as refused:
        Asked.model_validate_json("[1]")
    told = [sentence(refused.value), sentence(refused.value, "the body")]
    assert [one.partition(": ")[0] for one in told] == ["Found params = '[1]'", "Found the body = '[1]'"]
    assert sentences(refused.value) == {}


def test_a_start_that_a_kind_refuses_says_why_in_a_sentence_and_a_code(make, begin, sql) -> None:
    def refuse(_begun: Start, _params: Params) -> Params:
        raise RefusedError("There is no mailbox", "no_mailbox")

    with pytest.raises(RefusedError) as refused:
        begin(job_kind(queue="low", prepare=refuse)(no_work), make.business())
    assert (str(refused.value), refused.value.code) == ("There is no mailbox", "no_mailbox")
    assert sql("SELECT FROM background_jobs") == []


@pytest.mark.parametrize(
    ("given", "error", "fields"),
    [
        ({}, "'number' is missing", {"number": "'number' is missing"}),
        ({"number": 1, "size": 2}, "Unknown field 'size'", {"size": "Unknown field 'size'"}),
        ({"number": 1, "cursor": "x"}, "Unknown field 'cursor'", {}),
        ({"number": 1, "day": "2025-02-30"}, "Invalid day format: '2025-02-30'. Use YYYY-MM-DD format", "day"),
        ({"number": 1, "day": "12025-02-03"}, "Invalid day format: '12025-02-03'. Use YYYY-MM-DD format", "day"),
        ({"number": 1, "day": "20250203"}, "Invalid day format: '20250203'. Use YYYY-MM-DD format", "day"),
        ({"number": 1, "day": 5}, "Invalid day format: '5'. Use YYYY-MM-DD format", "day"),
        ({"number": 1, "day": "x" * 99}, f"Invalid day format: '{'x' * 40}'. Use YYYY-MM-DD format", "day"),
        (
            {"number": 1, "at": "x" * 99},
            f"Found at = '{'x' * 40}', expected a moment such as 2025-12-31T12:00:00Z",
            "at",
        ),
        ({"number": "x" * 99}, f"Found number = '{'x' * 40}', expected only digits", "number"),
        ({"number": 1, "word": "long"}, "Found word = 'long': String should have at most 3 characters", "word"),
        (
            {"number": {"n" * 99: 1}},
            f"Found number = {'{' + repr('n' * 99)[:79]!r}: Input should be a valid integer",
            "number",
        ),
    ],
)
def test_params_that_a_kind_cannot_use_are_told_in_a_sentence(given, error, fields) -> None:
    with pytest.raises(ParamsError) as refused:
        read_params(job_kind(queue="low", params=Asked)(no_work), given)
    assert str(refused.value) == error
    assert refused.value.fields == ({fields: error} if isinstance(fields, str) else fields)
