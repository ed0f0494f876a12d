"""`demo`, `dev` and `psql`: for trying and operating Longhaul on your machine."""

import argparse
import os
import sys

from psycopg2.extensions import make_dsn, parse_dsn

from actors.runtime.base.config import DatabaseSettings, load
from service.commands.arguments import Add, number


def add_to(add: Add) -> None:
    demo = add("demo", demo_command)
    demo.add_argument("--receipts", type=number, default=5000, metavar="N", help="how many (default: 5000)")
    add("dev", dev_command)
    add("psql", psql_command)


def demo_command(arguments: argparse.Namespace) -> int:
    """delete a few thousand receipts on private servers, and prove it"""
    from service.local.demo import demo  # needs requirements-dev.txt

    return demo(arguments.receipts)


def dev_command(_arguments: argparse.Namespace) -> int:
    """start everything on private servers, and keep it running"""
    from service.local.dev import dev

    return dev()


def psql_command(_arguments: argparse.Namespace) -> int:
    """open psql on DATABASE_URL, or on the database of `dev`"""
    from service.local.dev import dev_url
    from service.local.embedded import psql_binary

    url = os.environ.get("DATABASE_URL") or dev_url()
    parts = parse_dsn(load(DatabaseSettings, {"DATABASE_URL": url}).DATABASE_URL)
    if "password" in parts:
        os.environ["PGPASSWORD"] = parts.pop("password")  # not on the command line, where `ps` would show it
    if parts.pop("sslpassword", None) is not None:  # there is no variable for it
        print("psql asks for the passphrase of the client's key", file=sys.stderr)
    os.execv(psql_binary(), ["psql", make_dsn(**parts)])  # noqa: S606 - becomes psql
