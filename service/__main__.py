"""The command line: `python -m service --help`."""

import argparse
import codecs
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event

from psycopg2.extensions import make_dsn, parse_dsn
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from actors.receipts.currencies import read_currency
from actors.receipts.dates import Order
from actors.runtime.base.config import DatabaseSettings, load, load_settings
from actors.runtime.base.errors import LonghaulError
from actors.runtime.base.failures import describe
from actors.runtime.base.storage import Bucket
from actors.runtime.base.streams import open_standard_streams
from service.console import say
from service.imports.columns import NAMES, read_choice
from service.imports.importer import Options, Outcome, import_file
from service.imports.report import report
from service.imports.rows import UnreadableFileError
from service.tokens import DAYS, list_tokens, new_token, revoke_token, rotate_token
from sql.engine import make_engine
from sql.release import UnusableDatabaseError, release
from sql.version import expected_version

Command = Callable[[argparse.Namespace], int]


def release_command(_arguments: argparse.Namespace) -> int:
    """bring the database to this release's schema"""
    try:
        warning = release(make_engine(load(DatabaseSettings).DATABASE_URL, application_name="longhaul release"))
    except UnusableDatabaseError as error:
        raise LonghaulError(f"DATABASE_URL: {error}") from None
    if warning:
        say(f"warning: {warning}", sys.stderr)
    print(f"released: schema version {expected_version()}")
    return 0


def business_command(arguments: argparse.Namespace) -> int:
    """make a business and print its id"""
    name = arguments.name.strip()
    if not name or len(name) > 200:
        raise LonghaulError(f"found a name of {len(name)} characters, expected 1 to 200")
    engine = make_engine(load(DatabaseSettings).DATABASE_URL, application_name="longhaul business")
    with engine.begin() as connection:
        print(connection.execute(text("INSERT INTO businesses (name) VALUES (:n) RETURNING id"), {"n": name}).scalar())
    return 0


def token_command(arguments: argparse.Namespace) -> int:
    """make an API token and print it, this once; or: list, revoke ID, rotate ID"""
    if arguments.action in ("revoke", "rotate") and arguments.id is None:
        raise LonghaulError(f"found no id, expected one: token {arguments.action} ID")
    if arguments.action not in ("revoke", "rotate") and arguments.id is not None:
        raise LonghaulError("found an id, expected one after revoke or rotate only")
    engine = make_engine(load(DatabaseSettings).DATABASE_URL, application_name="longhaul token")
    with engine.begin() as connection:
        print(_token_output(connection, arguments))
    return 0


def _token_output(connection: Connection, arguments: argparse.Namespace) -> str:
    token_id: int = arguments.id
    if arguments.action == "list":
        return "\n".join(list_tokens(connection, arguments.business))
    if arguments.action == "revoke":
        revoke_token(connection, token_id)
        return f"revoked: token {token_id}"
    if arguments.action == "rotate":
        return rotate_token(connection, token_id, arguments.expires)
    return _new_token(connection, arguments)


def _new_token(connection: Connection, arguments: argparse.Namespace) -> str:
    if arguments.role is None:
        raise LonghaulError("a new token needs --role owner, admin, member or operator")
    operator = arguments.role == "operator"
    if operator and arguments.business is not None:
        raise LonghaulError("an operator belongs to no business: leave out --business")
    if not operator and (arguments.business is None or arguments.user is None):
        raise LonghaulError(f"a token with the role {arguments.role} needs --business and --user")
    if not operator:
        _require_business(connection.execute(BUSINESS, {"id": arguments.business}).scalar(), arguments.business)
    name = arguments.name and arguments.name.strip()
    if name is not None and not (1 <= len(name) <= 100 and name.isprintable()):
        raise LonghaulError("--name: expected 1 to 100 printable characters")
    days = DAYS if arguments.expires is None else arguments.expires
    return new_token(connection, arguments.role, arguments.business, arguments.user, name, days)


def import_command(arguments: argparse.Namespace) -> int:
    """load receipts from JSON Lines or CSV"""
    options = _import_options(arguments)
    settings = load_settings()
    engine, bucket = make_engine(settings.DATABASE_URL, application_name="longhaul import"), Bucket(settings)
    with engine.begin() as connection:
        _require_business(connection.execute(BUSINESS, {"id": arguments.business}).scalar(), arguments.business)
    bucket.check()
    outcome = Outcome()
    try:
        import_file(arguments.file, engine, bucket, arguments.business, options, outcome, _interrupts())
    except UnreadableFileError as error:
        raise LonghaulError(f"{arguments.file}: {error}") from None
    except OSError as error:
        raise LonghaulError(f"{arguments.file}: {error.strerror or error}") from None
    except KeyboardInterrupt:
        report(arguments.file, outcome)
        say("Interrupted. Run it again to go on.", sys.stderr)
        return 130
    except BaseException:
        report(arguments.file, outcome)
        raise
    report(arguments.file, outcome)
    return 1 if outcome.unread else 0


def _interrupts() -> Event:
    """Set by Ctrl-C, which also raises KeyboardInterrupt as ever: one that is raised within a destructor gets lost."""
    interrupted = Event()

    def interrupt(_number: int, _frame: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    return interrupted


def _import_options(arguments: argparse.Namespace) -> Options:
    try:
        currency = read_currency(arguments.currency)
    except ValueError as error:
        raise LonghaulError(f"--currency: {error}") from None
    try:
        columns = read_choice(arguments.columns)
    except ValueError as error:
        raise LonghaulError(f"--columns: {error}") from None
    if arguments.files_from is not None and not arguments.files_from.is_dir():
        raise LonghaulError(f"--files-from: {str(arguments.files_from)!r} is not a folder")
    encoding = arguments.encoding
    if encoding is not None:
        encoding = _encoding(encoding)
    dates = None if arguments.dates == "auto" else Order(arguments.dates)
    return Options(currency, dates, columns, encoding, arguments.files_from)


def _encoding(name: str) -> str:
    """The encoding in Python's words. LonghaulError when digits and delimiters are not themselves in it."""
    plain = "Az09,;|\t\"'+-.:/{}[]\\n\n"
    try:
        found = codecs.lookup(name).name
        if found.startswith(("utf-16", "utf-32")) or plain.encode().decode(found) == plain:
            return found
    except (LookupError, UnicodeError):
        pass
    raise LonghaulError(f"--encoding: found {name!r}, expected a name such as windows-1255")


def demo_command(arguments: argparse.Namespace) -> int:
    """delete some thousand receipts on servers of its own, and prove it"""
    from service.local.demo import demo  # needs requirements-dev.txt

    return demo(arguments.receipts)


def dev_command(_arguments: argparse.Namespace) -> int:
    """start everything on servers of its own, and stay"""
    from service.local.demo import dev

    return dev()


def psql_command(_arguments: argparse.Namespace) -> int:
    """open psql on DATABASE_URL, or on the database of `dev`"""
    from service.local.demo import dev_url, psql_binary

    url = os.environ.get("DATABASE_URL") or dev_url()
    parts = parse_dsn(load(DatabaseSettings, {"DATABASE_URL": url}).DATABASE_URL)
    if "password" in parts:
        os.environ["PGPASSWORD"] = parts.pop("password")  # not on the command line, where `ps` shows it
    os.execv(psql_binary(), ["psql", make_dsn(**parts)])  # noqa: S606 - becomes psql


BUSINESS = text("SELECT id FROM businesses WHERE id = :id")


def _require_business(found: int | None, wanted: int) -> None:
    if found is None:
        raise LonghaulError(f"there is no business {wanted}; make one with: python -m service business NAME")


def _id(value: str) -> int:
    if not (value.isascii() and value.isdigit()) or int(value) >= 2**63:
        raise argparse.ArgumentTypeError(f"found {value[:40]!r}, expected a number from 0 to {2**63 - 1}")
    return int(value)


def _days(value: str) -> int:
    days = _id(value)
    if days > 3650:
        raise argparse.ArgumentTypeError(f"found {days}, expected at most 3650")
    return days


def parser() -> argparse.ArgumentParser:
    main_parser = argparse.ArgumentParser(prog="python -m service", description="Longhaul's command line.")
    commands = main_parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        sub.set_defaults(command=command)
        return sub

    add("release", release_command)
    add("business", business_command).add_argument("name", metavar="NAME")
    token = add("token", token_command)
    token.add_argument("action", nargs="?", choices=("list", "revoke", "rotate"), help="(default: make one)")
    token.add_argument("id", nargs="?", type=_id, metavar="ID", help="of the token to revoke or rotate")
    token.add_argument("--business", type=_id, metavar="N")
    token.add_argument("--user", type=_id, metavar="N")
    token.add_argument("--role", choices=("owner", "admin", "member", "operator"))
    token.add_argument("--name", help="what it is for, in the list")
    token.add_argument("--expires", type=_days, metavar="DAYS", help=f"0: never (default: {DAYS}; rotate: as before)")
    importer = add("import", import_command)
    importer.add_argument("file", type=Path, metavar="FILE", help="*.csv, or JSON Lines; - for stdin")
    importer.add_argument("--business", type=_id, required=True, metavar="N")
    importer.add_argument("--currency", default="USD", metavar="CODE", help="for lines that name none (default: USD)")
    importer.add_argument(
        "--dates",
        default="auto",
        choices=("auto", *Order),
        help="how days such as 03/04/2025 are written (default: as the file proves, else day-first)",
    )
    importer.add_argument(
        "--columns",
        default=[],
        action="append",
        metavar="FIELD=NAME,…",
        help=f"where the columns have other names; the fields are {', '.join(NAMES)}",
    )
    importer.add_argument("--encoding", metavar="NAME", help="of a file that is not UTF-8, e.g. windows-1255")
    importer.add_argument("--files-from", type=Path, metavar="DIR", help="folder of the files (default: FILE's own)")
    demo = add("demo", demo_command)
    demo.add_argument("--receipts", type=_id, default=5000, metavar="N", help="how many (default: 5000)")
    add("dev", dev_command)
    add("psql", psql_command)
    return main_parser


def main() -> int:
    open_standard_streams()
    arguments = parser().parse_args()
    try:
        code: int = arguments.command(arguments)
    except LonghaulError as error:
        say(str(error), sys.stderr)
        return 1
    except DBAPIError as error:
        say(f"Postgres refused or cannot be reached (see DATABASE_URL): {describe(error)}", sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
