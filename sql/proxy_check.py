"""Is there a proxy in front of Postgres that shares one server session between many clients?

Behind a transaction-pooling proxy, neither a worker's lock nor LISTEN lasts.
"""

from sqlalchemy import Engine, text

TRIES = 3

WHO = text("SELECT pg_backend_pid()")


def sessions_are_shared(engine: Engine) -> bool:
    """Does our session serve another client as soon as we are not in a transaction?"""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as ours:
        for _ in range(TRIES):
            before = ours.execute(WHO).scalar()
            with engine.connect() as other, other.begin():
                # In this order: a proxy with a single session would make us wait while the other client has it.
                if other.execute(WHO).scalar() == before or ours.execute(WHO).scalar() != before:
                    return True
    return False
