"""DATABASE_URL: libpq parses it, so we accept what psql accepts; errors never repeat any part of it."""

import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import psycopg2
from psycopg2.extensions import connection, parse_dsn

DRIVER = "postgresql+psycopg2://"  # SQLAlchemy's name for it; libpq knows where the server is

# The URL's own values for these come first.
CLIENT_SETTINGS = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15000,
}

BACKSLASHES = "standard_conforming_strings"


def checked_url(url: str) -> str:
    """The URL without surrounding blanks. ValueError if it is invalid; the message repeats no part of it, because
    that might be part of the password.
    """
    url = url.strip()
    if not url.startswith(("postgres://", "postgresql://")):
        raise ValueError("expected postgres://… or postgresql://…")
    try:
        parts = parse_dsn(url)
    except (psycopg2.Error, ValueError):
        raise ValueError(
            "psql can't read it either: expected postgres://user:password@host:port/database?option=value, "
            "with %25 for a % and %20 for a blank in any of them"
        ) from None
    # If a password contains such a character, it ends too early, and the rest is read as a host, a port or a database.
    if "@" in "".join(parts.get(name, "") for name in ("host", "hostaddr", "port", "dbname")):
        raise ValueError("found more than one @, expected one: in a user or a password write %40 for @ and %2F for /")
    if not all(port == "" or _is_port(port) for port in parts.get("port", "").split(",")):
        raise ValueError("expected a number from 1 to 65535 as the port, after the host's name")
    if not parts.get("dbname") and not parts.get("service"):
        raise ValueError("expected the name of a database at its end")
    return url


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 65535


def database_name(url: str) -> str:
    name: str = parse_dsn(url)["dbname"]
    return name


def at_database(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    found = re.fullmatch(r"(postgres(?:ql)?://(?:[^/@]*@)?[^/?]*)(?:/[^?]*)?(\?.*)?", url)
    assert found
    return f"{found[1]}/{quote(name, safe='')}{found[2] or ''}"


def connector(url: str, **ours: Any) -> Callable[[], connection]:
    """For SQLAlchemy's `creator`: opens a session there, always with `ours`.

    psycopg2 reads two settings only when it connects: how text is encoded, and what a backslash means.
    """
    given = parse_dsn(url)
    settings: dict[str, Any] = {name: value for name, value in CLIENT_SETTINGS.items() if name not in given}
    settings |= {**ours, "client_encoding": "UTF8"}
    options = given.get("options") or os.environ.get("PGOPTIONS", "")

    def connect() -> connection:
        session: connection = psycopg2.connect(url, **settings)
        if session.get_parameter_status(BACKSLASHES) == "off":  # not every time: a pooling proxy refuses options
            session.close()
            session = psycopg2.connect(url, **settings, options=f"{options} -c {BACKSLASHES}=on")
        return session

    return connect
