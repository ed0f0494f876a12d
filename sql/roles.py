"""Rights: the statements that make a role an operator, or a role for our processes."""

from psycopg2.extensions import quote_ident
from sqlalchemy import Connection, text

OPERATOR = "longhaul_operator"  # each release grants a role of this name what an operator needs

EXISTS = text("SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = :role)")


def operator_grants(role: str) -> list[str]:
    """Statements that let `role` (quoted if necessary) read all views and call the verbs, without rights on tables.

    To end the session that blocks a job it also needs pg_signal_backend, see `statements`.
    """
    return [
        f"GRANT USAGE ON SCHEMA ops TO {role}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA ops TO {role}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ops TO {role}",
    ]


def process_grants(role: str) -> list[str]:
    """What web and worker processes need if their role does not own the tables."""
    return [
        f"GRANT USAGE ON SCHEMA public, dramatiq TO {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, dramatiq TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public, dramatiq TO {role}",
        f"GRANT pg_monitor, pg_signal_backend TO {role}",
    ]


def statements(connection: Connection, operator: str, process: str | None) -> list[str]:
    """For a person to run: creates a missing role, without login."""
    lines = []
    for role, grants in ((operator, operator_grants), (process, process_grants)):
        if role is not None:
            name = quote(connection, role)
            if not connection.execute(EXISTS, {"role": role}).scalar_one():
                lines.append(f"CREATE ROLE {name} NOLOGIN")
            lines += grants(name)
            if grants is operator_grants:  # a release may not be allowed to grant it
                lines.append(f"GRANT pg_signal_backend TO {name}")
    return lines


def grant_to_operator(connection: Connection) -> None:
    """Grants the operator's role, if it exists, this release's views and functions. Creates no role."""
    if connection.execute(EXISTS, {"role": OPERATOR}).scalar_one():
        for statement in operator_grants(OPERATOR):
            connection.exec_driver_sql(statement)


def quote(connection: Connection, name: str) -> str:
    quoted: str = quote_ident(name, connection.connection.driver_connection)
    return quoted
