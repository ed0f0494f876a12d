"""Does a proxy stand before Postgres that lends one server session to many clients?

Behind a transaction-pooling one neither the lock that says that a worker is alive nor LISTEN holds.
"""

from sqlalchemy import Engine, text

TRIES = 3

WHO = text("SELECT pg_backend_pid()")


def sessions_are_shared(engine: Engine) -> bool:
    """Is another client served by the session that serves us, as soon as we are not in a transaction?"""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as ours:
        for _ in range(TRIES):
            before = ours.execute(WHO).scalar()
            with engine.connect() as other, other.begin():
                # In this order: a proxy with a single session would let us wait while the other one has it.
                if other.execute(WHO).scalar() == before or ours.execute(WHO).scalar() != before:
                    return True
    return False
