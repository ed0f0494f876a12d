"""Who may do what: the statements that make a role an operator's, or one of our processes'."""

from psycopg2.extensions import quote_ident
from sqlalchemy import Connection, text

OPERATOR = "longhaul_operator"  # a role of this name is granted what an operator needs, at each release

EXISTS = text("SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = :role)")


def operator_grants(role: str) -> list[str]:
    """What lets `role` (quoted where it has to be) look at all and call the verbs, without a right on any table.

    To end the session that blocks a job it needs pg_signal_backend besides, see `statements`.
    """
    return [
        f"GRANT USAGE ON SCHEMA ops TO {role}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA ops TO {role}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ops TO {role}",
    ]


def process_grants(role: str) -> list[str]:
    """What web and worker processes need, where their role does not own the tables."""
    return [
        f"GRANT USAGE ON SCHEMA public, dramatiq TO {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, dramatiq TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public, dramatiq TO {role}",
        f"GRANT pg_monitor, pg_signal_backend TO {role}",
    ]


def statements(connection: Connection, operator: str, process: str | None) -> list[str]:
    """For a person to run: a role that is missing is made, without a way to log in."""
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
    """Where there is such a role: a release makes none, and has new functions and views that it could not call."""
    if connection.execute(EXISTS, {"role": OPERATOR}).scalar_one():
        for statement in operator_grants(OPERATOR):
            connection.exec_driver_sql(statement)


def quote(connection: Connection, name: str) -> str:
    quoted: str = quote_ident(name, connection.connection.driver_connection)
    return quoted
