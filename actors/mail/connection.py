"""A connection's row: where its mailbox is, how to log in there, and what holds for the receipts from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import Connection, text

from actors.mail.imap import ImapMailbox
from actors.mail.line import Line
from actors.mail.mailbox import Mailbox
from actors.mail.wire import Server
from actors.outside.vault import Vault
from actors.receipts.currencies import MINOR_UNITS
from actors.runtime.base.config import Settings

FIND = text("""
    SELECT id, business_id, provider, account, settings, secret, status, last_error, uidvalidity, last_uid
    FROM connections WHERE id = :connection_id AND business_id = :business_id AND status <> 'deleted'
""")
REFUSED = text("""
    UPDATE connections SET status = 'needs_reconnect', last_error = :why, updated_at = now()
    WHERE id = :connection_id AND business_id = :business_id AND status = 'connected'
    RETURNING id
""")
EVENT = text("""
    INSERT INTO connection_events (connection_id, business_id, event, actor, reason)
    VALUES (:connection_id, :business_id, :event, :who, :why)
""")


class MailSettings(BaseModel):
    """What `connections.settings` holds for a mailbox."""

    model_config = ConfigDict(frozen=True)

    host: str = Field(min_length=1, max_length=253)
    port: int = Field(ge=1, le=65_535)
    tls: Literal["tls", "starttls", "none"] = "tls"
    folder: str = Field(default="INBOX", min_length=1, max_length=500)
    currency: str | None = Field(default=None, description="of amounts with no sign, or a bare $")
    timezone: str = Field(default="UTC", description="in which a mail's day counts")
    dates: Literal["day-first", "month-first"] | None = Field(
        default=None, description="how 03/04/2025 is read; by default as the reading nearest to the mail's own day"
    )

    @field_validator("currency")
    @classmethod
    def _iso(cls, currency: str | None) -> str | None:
        if currency is not None and currency not in MINOR_UNITS:
            raise ValueError(f"Found currency = {currency[:20]!r}, expected a code of ISO 4217 such as EUR")
        return currency

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"Found timezone = {name[:40]!r}, expected a name such as Asia/Jerusalem") from None
        return name


@dataclass(frozen=True)
class MailConnection:
    id: int
    business_id: int
    account: str
    settings: MailSettings
    secret: bytes
    status: str
    last_error: str | None
    uidvalidity: int | None
    last_uid: int | None

    @classmethod
    def find(cls, connection: Connection, business_id: int, connection_id: int) -> "MailConnection | None":
        """None when there is none, or it was deleted."""
        scope = {"business_id": business_id, "connection_id": connection_id}
        row = connection.execute(FIND, scope).mappings().one_or_none()
        return None if row is None else cls.of(row)

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> "MailConnection":
        values = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(**{**values, "settings": MailSettings(**row["settings"]), "secret": bytes(row["secret"])})

    def open(self, settings: Settings, line: Line) -> Mailbox:
        """Logs in over `line`; call it outside of a transaction. MailError, SealedError, NotConfiguredError."""
        password = Vault(settings).open(self.business_id, self.secret)["password"]
        return open_mailbox(self.settings, self.account, password, settings, line)


def open_mailbox(where: MailSettings, user: str, password: str, settings: Settings, line: Line) -> Mailbox:
    server = Server(where.host, where.port, where.tls, private_allowed=settings.ALLOW_PRIVATE_HOSTS)
    return ImapMailbox(server, user, password, where.folder, line)


def note_refused(connection: Connection, business_id: int, connection_id: int, *, who: str, why: str) -> None:
    """The provider refuses the secret: jobs fail at once until somebody connects anew."""
    scope = {"connection_id": connection_id, "business_id": business_id, "why": why}
    if connection.execute(REFUSED, scope).one_or_none() is not None:
        connection.execute(EVENT, {**scope, "event": "refused", "who": who})
