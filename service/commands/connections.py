"""`connections`: re-encrypts the secrets of connections."""

import argparse

from sqlalchemy import text

from actors.outside.vault import Vault
from actors.runtime.base.config import load_settings
from service.commands.arguments import Add
from sql.engine import make_engine

NEXT = text("""
    SELECT id, secret FROM connections WHERE secret IS NOT NULL AND id > :last_id ORDER BY id LIMIT 1
    FOR NO KEY UPDATE
""")
RESEAL = text("UPDATE connections SET secret = :secret WHERE id = :id")


def add_to(add: Add) -> None:
    add("connections", reencrypt_command).add_argument("action", choices=("reencrypt",))


def reencrypt_command(_arguments: argparse.Namespace) -> int:
    """encrypt every connection's secret with the newest of CONNECTION_KEYS"""
    settings = load_settings()
    vault = Vault(settings)
    engine = make_engine(settings.DATABASE_URL, application_name="longhaul connections")
    last_id = number = 0
    while True:  # one transaction each: nobody waits for all of them
        with engine.begin() as connection:
            row = connection.execute(NEXT, {"last_id": last_id}).one_or_none()
            if row is None:
                break
            connection.execute(RESEAL, {"id": row.id, "secret": vault.reseal(row.secret)})
        last_id, number = row.id, number + 1
    print(f"{number} secrets are encrypted with the newest key; the older keys can be removed")
    return 0
