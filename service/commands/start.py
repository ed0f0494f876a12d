"""`start`: a job of any kind, from the shell, with the same code as over HTTP."""

import argparse
import getpass
import json
from typing import Any

from actors.runtime.base.config import load_settings
from actors.runtime.base.errors import LonghaulError
from actors.runtime.jobs.kinds import load_kinds
from actors.runtime.jobs.start import ParamsError, read_params
from service.caller import Caller
from service.commands.arguments import Add, number
from service.commands.database import require_business
from service.errors import ApiError
from sql.engine import make_engine


def add_to(add: Add) -> None:
    start = add("start", start_command)
    start.add_argument("kind", metavar="KIND", help="a module in actors/, such as delete_receipts")
    start.add_argument("--business", type=number, metavar="N", required=True)
    start.add_argument("--params", default="{}", metavar="JSON", help="as an object (default: none)")
    start.add_argument("--confirm", metavar="WORD", help="the confirmation word that some kinds require")


def start_command(arguments: argparse.Namespace) -> int:
    """start a job of any kind and print its id"""
    from service.job_starts import Starts
    from service.job_view import Jobs  # loads every kind, which the other commands don't need

    kind = load_kinds().get(arguments.kind)
    if kind is None:
        raise LonghaulError(f"found the kind {arguments.kind!r}, expected one of {', '.join(sorted(load_kinds()))}")
    if kind.confirm is not None and arguments.confirm != kind.confirm:
        raise LonghaulError(f"--confirm: found {arguments.confirm!r}, expected {kind.confirm!r}")
    try:
        params = read_params(kind, _object(arguments.params))
    except ParamsError as error:
        raise LonghaulError(f"--params: {error}") from None
    settings = load_settings()
    kind.check(settings)
    engine = make_engine(settings.DATABASE_URL, application_name="longhaul start")
    with engine.begin() as connection:
        require_business(connection, arguments.business)
    user = getpass.getuser()
    # bandit takes the field for subprocess's; it has no place for a reason in its own comment.
    caller = Caller(arguments.business, None, "operator", shell=user)  # nosec B604
    try:
        answer, _ = Starts(Jobs(engine, settings)).start(caller, kind, params)
    except ApiError as error:
        raise LonghaulError(str(error)) from None
    print(answer["job_id"])
    return 0


def _object(given: str) -> dict[str, Any]:
    try:
        found = json.loads(given)
    except ValueError as error:
        raise LonghaulError(f"--params: found invalid JSON: {error}") from None
    if not isinstance(found, dict):
        raise LonghaulError(f"--params: found {given[:80]!r}, expected an object")
    return found
