"""What must be the same in Python and in SQL, or less in one than in the other, is so."""

import re
from pathlib import Path

from actors.runtime.jobs.reconcile import RELEASED_AT_A_TIME
from actors.runtime.messages import fetcher, identity
from actors.runtime.messages.enqueue import BEING_PROCESSED
from service.errors import REFUSALS
from sql.locks import SPACE

FUNCTIONS = Path(__file__).parent.parent / "sql" / "functions"


def found(file: str, pattern: str) -> int:
    """The number that the pattern finds in a file of functions, the only one."""
    (number,) = re.findall(pattern, (FUNCTIONS / file).read_text())
    return int(number)


def test_a_process_stops_believing_that_it_lives_before_the_others_do() -> None:
    dead_after = found("workers/live_workers.sql", r"< '(\d+) s'")
    assert fetcher.TICK_SECONDS < identity.CLAIM_SECONDS < identity.SILENCE_SECONDS < dead_after - fetcher.TICK_SECONDS


def test_no_lock_of_ours_is_taken_for_a_workers(sql) -> None:
    assert sql("SELECT worker_lock_space() AS n") == [{"n": SPACE - 1}]
    written = [file.name for file in FUNCTIONS.rglob("*.sql") if str(SPACE - 1) in file.read_text()]
    assert written == ["worker_lock_space.sql"]


def test_a_full_round_of_due_messages_is_known_to_be_full() -> None:
    assert found("messages/enqueue_due_messages.sql", r"LIMIT (\d+)") == RELEASED_AT_A_TIME


def test_every_sqlstate_of_our_functions_is_known_to_python() -> None:
    raised = {
        state for file in FUNCTIONS.rglob("*.sql") for state in re.findall(r"ERRCODE = '(LH\d+)'", file.read_text())
    }
    assert raised == {state for state in REFUSALS if state.startswith("LH")} | {BEING_PROCESSED}
