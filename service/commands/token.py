"""`token`: its actions and options."""

import argparse

from sqlalchemy import Connection

from actors.runtime.base.config import DatabaseSettings, load
from actors.runtime.base.errors import LonghaulError
from service.commands.arguments import Add, number
from service.commands.database import require_business
from service.tokens import DAYS, list_tokens, new_token, revoke_token, rotate_token
from sql.engine import make_engine


def add_to(add: Add) -> None:
    token = add("token", token_command)
    token.add_argument("action", nargs="?", choices=("list", "revoke", "rotate"), help="(default: create one)")
    token.add_argument("id", nargs="?", type=number, metavar="ID", help="of the token to revoke or rotate")
    token.add_argument("--business", type=number, metavar="N")
    token.add_argument("--user", type=number, metavar="N")
    token.add_argument("--role", choices=("owner", "admin", "member", "operator"))
    token.add_argument("--name", help="what it is for, in the list")
    token.add_argument("--expires", type=_days, metavar="DAYS", help=f"0: never (default: {DAYS}; rotate: as before)")


def token_command(arguments: argparse.Namespace) -> int:
    """create an API token and print it once; or: list, revoke ID, rotate ID"""
    if arguments.action in ("revoke", "rotate") and arguments.id is None:
        raise LonghaulError(f"found no id, expected one: token {arguments.action} ID")
    if arguments.action not in ("revoke", "rotate") and arguments.id is not None:
        raise LonghaulError("found an id, expected one only after revoke or rotate")
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
        raise LonghaulError("an operator belongs to no business: omit --business")
    if not operator and (arguments.business is None or arguments.user is None):
        raise LonghaulError(f"a token with the role {arguments.role} needs --business and --user")
    if not operator:
        require_business(connection, arguments.business)
    name = arguments.name and arguments.name.strip()
    if name is not None and not (1 <= len(name) <= 100 and name.isprintable()):
        raise LonghaulError("--name: expected 1 to 100 printable characters")
    days = DAYS if arguments.expires is None else arguments.expires
    return new_token(connection, arguments.role, arguments.business, arguments.user, name, days)


def _days(value: str) -> int:
    days = number(value)
    if days > 3650:
        raise argparse.ArgumentTypeError(f"found {days}, expected at most 3650")
    return days
