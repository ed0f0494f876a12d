"""The README and SECURITY.md name nothing that is not there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_test_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "README.md").read_text()))
    written = set(re.findall(r"def (test_\w+)", "".join(file.read_text() for file in ROOT.glob("tests/**/test_*.py"))))
    assert len(named) > 20
    assert named - written == set()


def test_every_file_of_tests_that_is_named_exists() -> None:
    text = "".join((ROOT / name).read_text() for name in ("README.md", "SECURITY.md"))
    named = set(re.findall(r"`(?:tests/)?([\w/]*test_\w+\.py)", text))
    assert len(named) > 5
    named.remove("test_anonymise_receipts.py")  # to be written by who follows the README
    assert [name for name in named if not list(ROOT.glob(f"tests/**/{name}"))] == []
