"""The command line: `python -m service --help`."""

import argparse
import sys

from sqlalchemy.exc import DBAPIError

from actors.runtime.base.errors import LonghaulError
from actors.runtime.base.failures import describe
from actors.runtime.base.streams import open_standard_streams
from service.commands import connections, database, importing, local, roles, start, token
from service.commands.arguments import Command
from service.console import say


def parser() -> argparse.ArgumentParser:
    main_parser = argparse.ArgumentParser(prog="python -m service", description="Longhaul's command line.")
    commands = main_parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        sub.set_defaults(command=command)
        return sub

    for module in (database, token, roles, connections, start, importing, local):
        module.add_to(add)
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
