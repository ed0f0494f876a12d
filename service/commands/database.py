"""`release` and `business`: what a database needs before anything else."""

import argparse
import sys

from sqlalchemy import Connection, text

from actors.runtime.base.config import DatabaseSettings, load
from actors.runtime.base.errors import LonghaulError
from service.commands.arguments import Add
from service.console import say
from sql.engine import make_engine
from sql.release import UnusableDatabaseError, release
from sql.version import expected_version

BUSINESS = text("SELECT id FROM businesses WHERE id = :id")


def add_to(add: Add) -> None:
    add("release", release_command)
    add("business", business_command).add_argument("name", metavar="NAME")


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
    """create a business and print its id"""
    name = arguments.name.strip()
    if not name or len(name) > 200:
        raise LonghaulError(f"found a name of {len(name)} characters, expected 1 to 200")
    engine = make_engine(load(DatabaseSettings).DATABASE_URL, application_name="longhaul business")
    with engine.begin() as connection:
        print(connection.execute(text("INSERT INTO businesses (name) VALUES (:n) RETURNING id"), {"n": name}).scalar())
    return 0


def require_business(connection: Connection, wanted: int) -> None:
    if connection.execute(BUSINESS, {"id": wanted}).scalar() is None:
        raise LonghaulError(f"there is no business {wanted}; create one with: python -m service business NAME")
