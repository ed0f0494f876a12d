"""A business's mailboxes: connecting one, which logs in before it answers; the list; testing and deleting one."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import falcon
from pydantic import BaseModel, Field
from sqlalchemy import Connection, text

from actors.mail.connection import EVENT, MailConnection, MailSettings, note_refused, open_mailbox
from actors.mail.errors import LoginRefusedError
from actors.mail.line import Line
from actors.mail.mailbox import Mailbox
from actors.outside.vault import NotConfiguredError, SealedError, Vault
from service.caller import WRITERS, Caller, name_token
from service.errors import ApiError, not_found
from service.job_view import Jobs
from service.jobs import reply
from service.log_ins import LogIns
from service.new_connection import NewConnection
from service.openapi import NoQuery, Success, parse_id, responses, spec
from service.rate_limits import spend_change

MAX_CONNECTIONS = 50  # of a business

INSERT = text("""
    INSERT INTO connections (business_id, provider, account, settings, secret)
    SELECT :business_id, :provider, :account, CAST(:settings AS jsonb), :secret
    WHERE (SELECT count(*) FROM connections WHERE business_id = :business_id AND status <> 'deleted') < :most
    RETURNING id
""")
LIST = text("""
    SELECT id AS connection_id, provider, account, settings, status, last_error, created_at, updated_at
    FROM connections WHERE business_id = :business_id AND status <> 'deleted' ORDER BY id
""")
WORKS = text("""
    UPDATE connections SET status = 'connected', last_error = NULL, updated_at = now()
    WHERE id = :connection_id AND business_id = :business_id AND status <> 'deleted'
""")
DELETE = text("""
    UPDATE connections SET status = 'deleted', secret = NULL, last_error = NULL, updated_at = now()
    WHERE id = :connection_id AND business_id = :business_id AND status <> 'deleted'
    RETURNING id
""")
# Its jobs end at their next checkpoint.
CANCEL = text("""
    SELECT public.cancel_job(id, CAST(:who AS text)) FROM background_jobs
    WHERE business_id = :business_id AND job_type = 'sync_receipts' AND key = :key
      AND status IN ('queued', 'running', 'paused')
""")


class ConnectionView(BaseModel):
    connection_id: int
    provider: str
    account: str
    settings: MailSettings
    status: Literal["connected", "needs_reconnect"]
    last_error: str | None
    created_at: datetime
    updated_at: datetime


class ConnectionMade(Success):
    connection_id: int
    server_said: str = Field(description="its greeting")


class ConnectionList(Success):
    connections: list[ConnectionView]


class Works(Success):
    connection_id: int
    server_said: str


def _writer(request: falcon.Request) -> Caller:
    caller: Caller = request.context.caller
    caller.require(WRITERS)
    caller.own_business()
    return caller


class _Resource:
    def __init__(self, jobs: Jobs, log_ins: LogIns) -> None:
        self._engine = jobs.engine
        self._settings = jobs.settings
        self._log_ins = log_ins

    def _vault(self) -> Vault:
        try:
            return Vault(self._settings)
        except NotConfiguredError as error:
            raise ApiError(503, "not_configured", str(error)) from None

    def _change(
        self, caller: Caller, connection_id: int, event: str, act: Callable[[Connection, dict[str, Any]], None]
    ) -> None:
        """In one transaction: what is done, its event, and what it costs the token."""
        scope = {"business_id": caller.own_business(), "connection_id": connection_id, "who": caller.name}
        with self._engine.begin() as connection:
            name_token(connection, caller)
            act(connection, scope)
            connection.execute(EVENT, {**scope, "event": event, "why": None})
            spend_change(connection, caller, self._settings)


class Connections(_Resource):
    @spec.validate(query=NoQuery, resp=responses(ConnectionList))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The business's connections, without their secrets"""
        caller = _writer(request)
        with self._engine.begin() as connection:
            rows = connection.execute(LIST, {"business_id": caller.own_business()}).mappings()
            reply(response, connections=[dict(row) for row in rows])

    @spec.validate(query=NoQuery, json=NewConnection, resp=responses({201: ConnectionMade}, 409, 502))
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Connects a mailbox; logs in there before it answers, within 10 s"""
        given: NewConnection = request.context.json
        caller = _writer(request)
        vault = self._vault()
        business_id, password = caller.own_business(), given.password.get_secret_value()

        def log_in(line: Line) -> Mailbox:
            return open_mailbox(given, given.user, password, self._settings, line)

        said = self._log_ins.try_one(business_id, log_in)
        where = MailSettings(**given.model_dump(include=set(MailSettings.model_fields)))
        values = {
            "business_id": business_id,
            "provider": given.provider,
            "account": given.user,
            "settings": json.dumps(where.model_dump()),
            "secret": vault.seal(business_id, {"password": password}),
            "most": MAX_CONNECTIONS,
        }
        with self._engine.begin() as connection:
            name_token(connection, caller)
            made = connection.execute(INSERT, values).scalar()
            if made is None:
                raise ApiError(409, "too_many_connections", f"Found {MAX_CONNECTIONS} connections; delete one first")
            event = {"connection_id": made, "business_id": business_id, "who": caller.name}
            connection.execute(EVENT, {**event, "event": "connected", "why": None})
            spend_change(connection, caller, self._settings)
        reply(response, connection_id=made, server_said=said)
        response.status = 201
        response.set_header("Location", f"/api/connections/{made}")


class ConnectionItem(_Resource):
    @spec.validate(query=NoQuery, resp=responses(Success, 404))
    def on_delete(self, request: falcon.Request, response: falcon.Response, connection_id: str) -> None:
        """Deletes a connection: its secret is erased, its jobs are cancelled, its receipts stay"""
        caller, wanted = _writer(request), parse_id(connection_id, "connection id")

        def delete(connection: Connection, scope: dict[str, Any]) -> None:
            if connection.execute(DELETE, scope).one_or_none() is None:
                raise not_found(f"Connection {wanted}")
            connection.execute(CANCEL, {**scope, "key": str(wanted)})

        self._change(caller, wanted, "deleted", delete)
        reply(response)


class ConnectionTest(_Resource):
    @spec.validate(query=NoQuery, resp=responses(Works, 404, 409, 502))
    def on_post(self, request: falcon.Request, response: falcon.Response, connection_id: str) -> None:
        """Logs in with the stored secret, within 10 s, and says what the server said"""
        caller, wanted = _writer(request), parse_id(connection_id, "connection id")
        self._vault()
        business_id = caller.own_business()
        with self._engine.begin() as connection:
            found = MailConnection.find(connection, business_id, wanted)
        if found is None:
            raise not_found(f"Connection {wanted}")
        try:
            said = self._log_ins.try_one(business_id, lambda line: found.open(self._settings, line))
        except SealedError as error:
            raise ApiError(503, "not_configured", str(error)) from None
        except ApiError as error:
            if isinstance(error.__cause__, LoginRefusedError):
                with self._engine.begin() as connection:
                    note_refused(connection, business_id, wanted, who=caller.name, why=str(error.__cause__))
            raise
        self._change(caller, wanted, "tested", _works)
        reply(response, connection_id=wanted, server_said=said)


def _works(connection: Connection, scope: dict[str, Any]) -> None:
    connection.execute(WORKS, scope)
