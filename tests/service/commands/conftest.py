"""The command line, called in this process."""

import os
import sys
from dataclasses import dataclass
from unittest.mock import patch

import pytest

from service.__main__ import main


@dataclass
class Done:
    returncode: object
    stdout: str
    stderr: str


@pytest.fixture
def command(environment, capsys):
    """command("token", …): runs it with this environment only; NAME=None in `changes` leaves a variable out."""

    def run(*arguments: object, **changes: str | None) -> Done:
        given = {**environment, "PATH": os.environ["PATH"], **changes}
        given = {name: value for name, value in given.items() if value is not None}
        with patch.dict(os.environ, given, clear=True), patch.object(sys, "argv", ["service", *map(str, arguments)]):
            try:
                code: object = main()
            except SystemExit as end:
                code = end.code
        return Done(code, *capsys.readouterr())

    return run
