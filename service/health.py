"""Health checks for the platform: is the process alive, and can it serve?"""

from typing import Any

import falcon
from sqlalchemy import Engine, text

from service.errors import ApiError
from service.jobs import reply
from service.openapi import Success, open_responses, spec
from service.shared_answer import SharedAnswer
from sql.version import expected_version, is_at_least, schema_version


class Healthy(Success):
    pass


class Ready(Success):
    schema_version: str


class Health:
    open = True

    @spec.validate(resp=open_responses(Healthy), security=[])
    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        """This process responds"""
        reply(response)


# From the catalogue, which everybody may read: has_table_privilege() fails if the table does not exist.
STATE = text("""
    SELECT current_setting('server_encoding') AS encoding,
           current_setting('transaction_read_only')::boolean OR pg_is_in_recovery() AS read_only,
           (SELECT string_agg(may || ' ' || CAST(nspname AS text) || '.' || CAST(relname AS text),
                              ', ' ORDER BY relname, may)
            FROM pg_class t JOIN pg_namespace n ON n.oid = relnamespace,
                 pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) may
            WHERE (nspname, relname) IN (('public', 'background_jobs'), ('dramatiq', 'queue'))
              AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(t.oid, may))) AS lacking
""")


class Readiness:
    open = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._version = SharedAnswer(self._ready_version)  # so that a flood costs Postgres no more than one caller

    @spec.validate(resp=open_responses(Ready, 503), security=[])
    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        """Postgres can be read and written, and has this release's schema or a newer one; as of the last second"""
        reply(response, schema_version=self._version.get())

    def _ready_version(self) -> str:
        """The schema's version; ApiError if this process is not ready."""
        state, found = self._look()
        if state.read_only:
            # What a session learned when it began may be outdated; a new session knows.
            self._engine.dispose()
            state, found = self._look()
        if state.encoding != "UTF8":
            raise ApiError(503, "wrong_encoding", f"Found a database whose encoding is {state.encoding}, expected UTF8")
        if state.lacking:
            raise ApiError(503, "rights_missing", f"DATABASE_URL's role may not {state.lacking}: grant it this right")
        expected = expected_version()
        if found is None or not is_at_least(found, expected):
            raise ApiError(
                503,
                "schema_too_old",
                f"Found the database at version {found}, expected {expected}: run the release command",
            )
        if state.read_only:
            self._engine.dispose()
            raise ApiError(503, "read_only", "The database accepts no writes: it is read-only, or a standby")
        return found

    def _look(self) -> tuple[Any, str | None]:
        with self._engine.connect() as connection:
            state = connection.execute(STATE).one()
            return state, None if state.lacking else schema_version(connection)
