"""`roles`: the statements that make a role an operator; nothing is executed."""

import argparse

from actors.runtime.base.config import DatabaseSettings, load
from service.commands.arguments import Add
from sql.engine import make_engine
from sql.roles import OPERATOR, statements


def add_to(add: Add) -> None:
    roles = add("roles", roles_command)
    roles.add_argument(
        "--operator", default=OPERATOR, metavar="ROLE", help=f"for people with psql (default: {OPERATOR})"
    )
    roles.add_argument("--process", metavar="ROLE", help="for web and worker processes that do not own the tables")


def roles_command(arguments: argparse.Namespace) -> int:
    """print the statements that let a role read the schema ops and call its verbs; run them with psql"""
    engine = make_engine(load(DatabaseSettings).DATABASE_URL, application_name="longhaul roles")
    with engine.connect() as connection:
        for statement in statements(connection, arguments.operator, arguments.process):
            print(f"{statement};")
    return 0
