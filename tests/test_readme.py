"""The README: what it names is there, and what it prints works."""

import re
import sys
from pathlib import Path
from typing import Any

import actors
from actors.runtime.base.config import Settings
from actors.runtime.jobs.kinds import load_kinds

ROOT = Path(__file__).parent.parent


def test_every_test_that_the_readme_names_exists() -> None:
    text = "".join((ROOT / name).read_text() for name in ("README.md", "SECURITY.md"))
    named = set(re.findall(r"`(test_\w+)`", text))
    written = set(re.findall(r"def (test_\w+)", "".join(file.read_text() for file in ROOT.glob("tests/**/test_*.py"))))
    assert len(named) > 20
    assert named - written == set()


def test_every_file_of_tests_that_is_named_exists() -> None:
    text = "".join((ROOT / name).read_text() for name in ("README.md", "SECURITY.md"))
    named = set(re.findall(r"`(?:tests/)?([\w/]*test_\w+\.py)", text))
    assert len(named) > 5
    named.remove("test_anonymise_receipts.py")  # to be written by who follows the README
    assert [name for name in named if not list(ROOT.glob(f"tests/**/{name}"))] == []


def test_every_default_that_the_readme_names_is_the_one_that_counts() -> None:
    table = re.findall(r"^\| (`[A-Z].*?) \| ([^|]+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    said = {}
    for variables, defaults in table:
        if re.fullmatch(r"[\d, ]+|`[^`]+`", defaults):
            said |= dict(zip(re.findall(r"`(\w+)`", variables), defaults.replace("`", "").split(", "), strict=True))
    counts = {name: Settings.model_fields[name].default for name in said if name in Settings.model_fields}
    assert len(counts) > 20
    assert {name: str(int(value) if isinstance(value, bool) else value) for name, value in counts.items()} == {
        name: said[name] for name in counts
    }


def test_the_new_kind_in_the_readme_works_as_printed(tmp_path, monkeypatch, make, engine, settings, sql) -> None:
    kind, test = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "anonymise_receipts.py").write_text(kind)
    monkeypatch.setattr(actors, "__path__", [*actors.__path__, str(tmp_path)])
    assert load_kinds()["anonymise_receipts"].queue == "maintenance"
    namespace: dict[str, Any] = {}
    exec(test, namespace)  # noqa: S102 - the README's own test
    namespace["test_old_receipts_lose_their_vendor_and_new_ones_keep_it"](make, engine, settings, sql)
    sys.modules.pop("actors.anonymise_receipts")


def test_no_name_of_a_test_is_longer_than_80_characters() -> None:
    written = re.findall(r"def (test_\w+)", "".join(file.read_text() for file in ROOT.glob("tests/**/test_*.py")))
    assert [name for name in written if len(name) > 80] == []
