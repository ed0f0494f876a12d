"""Alembic's entry. sql/release.py hands over the connection; the caller's transaction is used, not one of its own."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
