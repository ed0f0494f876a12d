"""Alembic's entry. sql/release.py hands over the connection; the caller's transaction is used, not a new one."""

from typing import Any

from alembic import context
from sqlalchemy import event, text

from sql.version import TABLE

connection = context.config.attributes["connection"]

SCHEMA = "CREATE SCHEMA IF NOT EXISTS dramatiq;"  # from the first migration


def leave_out(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
    return statement.replace(SCHEMA, ""), parameters


# If a DBA has created the schema, the role may lack the right to create one, and Postgres checks that first.
if connection.execute(text("SELECT FROM pg_namespace WHERE nspname = 'dramatiq'")).first() is not None:
    event.listen(connection, "before_cursor_execute", leave_out, retval=True)

context.configure(connection=connection, transactional_ddl=False, version_table=TABLE)
context.run_migrations()
