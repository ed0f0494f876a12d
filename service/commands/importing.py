"""`import`: its options, and what happens if it is interrupted."""

import argparse
import codecs
import signal
import sys
from pathlib import Path
from threading import Event

from actors.receipts.currencies import read_currency
from actors.receipts.days import Order
from actors.runtime.base.config import load_settings
from actors.runtime.base.errors import LonghaulError
from actors.runtime.base.storage import Bucket
from service.commands.arguments import Add, number
from service.commands.database import require_business
from service.console import say
from service.imports.columns import NAMES, read_choice
from service.imports.importer import Options, Outcome, import_file
from service.imports.report import report
from service.imports.rows import UnreadableFileError
from sql.engine import make_engine


def add_to(add: Add) -> None:
    importer = add("import", import_command)
    importer.add_argument("file", type=Path, metavar="FILE", help="*.csv, or JSON Lines; - for stdin")
    importer.add_argument("--business", type=number, required=True, metavar="N")
    importer.add_argument("--currency", default="USD", metavar="CODE", help="for lines without one (default: USD)")
    importer.add_argument(
        "--dates",
        default="auto",
        choices=("auto", *Order),
        help="how days such as 03/04/2025 are written (default: detected from the file, else day-first)",
    )
    importer.add_argument(
        "--columns",
        default=[],
        action="append",
        metavar="FIELD=NAME,…",
        help=f"if columns have other names; the fields are {', '.join(NAMES)}",
    )
    importer.add_argument("--encoding", metavar="NAME", help="of a file that is not UTF-8, e.g. windows-1255")
    importer.add_argument("--files-from", type=Path, metavar="DIR", help="folder of the files (default: FILE's own)")


def import_command(arguments: argparse.Namespace) -> int:
    """load receipts from JSON Lines or CSV"""
    options = _import_options(arguments)
    settings = load_settings()
    engine, bucket = make_engine(settings.DATABASE_URL, application_name="longhaul import"), Bucket(settings)
    with engine.begin() as connection:
        require_business(connection, arguments.business)
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
        say("Interrupted. Run it again to continue.", sys.stderr)
        return 130
    except BaseException:
        report(arguments.file, outcome)
        raise
    report(arguments.file, outcome)
    return 1 if outcome.unread else 0


def _interrupts() -> Event:
    """Set by Ctrl-C, which also raises KeyboardInterrupt as usual: one raised inside a destructor gets lost."""
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
    """Python's name for the encoding. LonghaulError if it encodes digits and delimiters differently from ASCII."""
    plain = "Az09,;|\t\"'+-.:/{}[]\\n\n"
    try:
        found = codecs.lookup(name).name
        if found.startswith(("utf-16", "utf-32")) or plain.encode().decode(found) == plain:
            return found
    except (LookupError, UnicodeError):
        pass
    raise LonghaulError(f"--encoding: found {name!r}, expected a name such as windows-1255")
