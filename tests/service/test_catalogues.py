"""The page's sentences: each in both languages, none missing, none left over; and one for every code of the API."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

import sql as sql_package
from actors.runtime.jobs.kinds import load_kinds
from service.job_model import Status
from service.page.assets import STATIC
from service.sync import State
from service.why import Reason

MODULES = {file.name: file.read_text() for file in STATIC.glob("*.js") if file.name not in ("en.js", "he.js")}
NAMES = ("zero", "one", "two", "few", "many", "other")  # of plurals
WORDS = r'(?:word|label)\("(\w+)"'
CODES_OF_THE_SERVER_ITSELF = {
    "too_large",
    "unsupported_media_type",
    "method_not_allowed",
    "refused",
}  # no page meets them
OF_RETRIES = {"idempotency_in_progress", "idempotency_mismatch"}  # each start of the page has a key of its own
OF_PLATFORMS = {"read_only", "rights_missing", "wrong_encoding", "schema_too_old"}  # what /readyz says


def catalogue(language: str) -> dict[str, Any]:
    text = (STATIC / f"{language}.js").read_text()
    body = text.partition("export default")[2].strip().removesuffix(";")
    body = re.sub(rf"([{{,]\s*)({'|'.join(NAMES)}):", r'\1"\2":', body)
    found: dict[str, Any] = json.loads(re.sub(r",\s*}", "}", re.sub(r"^\s*//.*$", "", body, flags=re.MULTILINE)))
    return found


EN, HE = catalogue("en"), catalogue("he")


def placeholders(sentence: Any) -> set[str]:
    forms = sentence.values() if isinstance(sentence, dict) else [sentence]
    return set(re.findall(r"\{(\w+)\}", " ".join(forms)))


def test_both_languages_have_the_same_sentences() -> None:
    assert EN.keys() == HE.keys()
    assert len(EN) > 200


def test_a_sentence_names_the_same_values_in_both_languages() -> None:
    assert {key: (EN[key], HE[key]) for key in EN if placeholders(EN[key]) != placeholders(HE[key])} == {}


def test_a_plural_has_the_forms_of_its_language() -> None:
    plural = {key for key in EN if isinstance(EN[key], dict)}
    assert plural == {key for key in HE if isinstance(HE[key], dict)}
    assert {key for key in plural if EN[key].keys() != {"one", "other"}} == set()
    assert {key for key in plural if not {"one", "two", "other"} <= HE[key].keys()} == set()


def test_a_sentence_that_counts_has_plurals() -> None:
    counts = {key for key in EN if placeholders(EN[key]) & {"n", "ahead", "failed"}}
    assert {key for key in counts if not isinstance(EN[key], dict)} == {"why.more_than"}  # a part of another sentence
    for catalogue in (EN, HE):
        forms = [form for key in counts if isinstance(catalogue[key], dict) for form in catalogue[key].values()]
        assert max(len(re.findall(r"\{(?:n|ahead|failed)\}", form)) for form in forms) == 1  # each has one number


def test_no_sentence_is_left_in_the_other_language() -> None:
    def text(sentence: Any) -> str:
        return re.sub(r"\{\w+\}", "", json.dumps(sentence, ensure_ascii=False))

    names = {key for key in EN if not re.search("[a-z]{2}", re.sub(r'"[a-z]+":', "", text(EN[key])))}  # CSV, TLS, #1
    assert {key for key in HE if not re.search("[א-ת]", text(HE[key]))} - names <= SAME_EVERYWHERE
    assert [key for key in EN if re.search("[א-ת]", text(EN[key]))] == []


SAME_EVERYWHERE = {"option.jsonl", "title"}  # JSON Lines, and our own name


def test_every_sentence_that_a_module_says_is_there_and_none_is_left_over() -> None:
    source = "\n".join(MODULES.values())
    written = set(re.findall(r'"([a-z_]+\.[a-z_.]+|loading|title|skip)"', source))
    groups = set(re.findall(r"`(\w+)\.\$\{", source)) | set(re.findall(WORDS, source))
    said = set(re.findall(r'\b(?:t|rich|has)\("([\w.]+)"', source))
    assert len(said) > 100
    assert said - EN.keys() == set()
    loose = {key for key in EN if key not in written and key.partition(".")[0] not in groups}
    assert loose == set()


def error_codes() -> set[str]:
    """What the API may refuse a page with."""
    root = Path(sql_package.__file__).parent.parent
    found = set()
    for file in [*root.glob("service/*.py"), *root.glob("actors/*.py"), *root.glob("actors/mail/*.py")]:
        text = file.read_text()
        found |= set(re.findall(r'ApiError\(\s*\d{3},\s*"(\w+)"', text))
        found |= set(re.findall(r'RefusedError\([^)]*?,\s*"(\w+)"\s*\)', text))
        found |= set(re.findall(r'^\s+code = "(\w+)"', text, re.MULTILINE))
    return found - CODES_OF_THE_SERVER_ITSELF - OF_PLATFORMS - OF_RETRIES


def events() -> set[str]:
    found = set()
    for file in (Path(sql_package.__file__).parent / "functions").rglob("*.sql"):
        body = file.read_text()
        found |= set(re.findall(r"log_job_event\(job, '(\w+)'", body))
        found |= set(re.findall(r"(?:move_job|ask_running)\(job, [^,]+, '(\w+)'", body))
        found |= set(re.findall(r"leave_running\(job\.id, [^,]+, '\w+', '(\w+)'", body))
    return found


@pytest.mark.parametrize(
    ("group", "codes"),
    [
        ("why", set(get_args(Reason))),
        ("remedy", set(get_args(Reason))),
        ("status", set(get_args(Status))),
        ("mail", set(get_args(State))),
        ("kind", set(load_kinds())),
        ("kind_lead", set(load_kinds())),
        ("done", {kind.done_label for kind in load_kinds().values()}),
        ("event", events()),
        ("error", error_codes()),
    ],
)
def test_every_code_of_the_api_has_a_sentence(group, codes) -> None:
    assert codes
    assert {code for code in codes if f"{group}.{code}" not in EN} == set()
