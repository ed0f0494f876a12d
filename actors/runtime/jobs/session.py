"""The connection of a run: the transaction that its kind opens, and that the checkpoint ends."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import Connection, Engine

from actors.runtime.base.errors import KindError
from actors.runtime.jobs.batch import Batch
from actors.runtime.jobs.beats import Beats
from actors.runtime.jobs.blockers import INTRODUCE, NAME, Wait, Waits
from actors.runtime.jobs.claim import Claim


class Session:
    def __init__(self, engine: Engine, waits: Waits, beats: Beats) -> None:
        self._engine = engine
        self._waits = waits
        self._beats = beats
        self._connection: Connection | None = None
        self._open = ExitStack()
        self._pid = 0
        self.is_open = False
        self.wait: Wait | None = None  # who blocked the transaction that is open or has failed

    def connect(self, claim: Claim) -> Claim:
        """Takes a connection; returns the claim as stored now."""
        self._connection = self._engine.connect()
        with self.transaction(claim) as connection:
            name = NAME.format(job_id=claim.job_id, attempt=claim.attempt)
            if self.wait is not None:
                self.wait.pid = self._pid = connection.execute(INTRODUCE, {"name": name}).scalar_one()
            return claim.reload(connection)

    def begin(self, claim: Claim) -> Connection:
        """Opens the transaction; KindError if one is open."""
        if self.is_open or self._connection is None:
            raise KindError("begin() was called in an open transaction: yield the batch or commit() first")
        self._beats.inside(claim)
        self.wait = Wait(self._pid, time.monotonic())
        self._open.enter_context(self._waits.noted(self.wait))
        self._open.callback(self._rollback)
        self.is_open = True
        self._connection.begin()
        return self._connection

    @property
    def connection(self) -> Connection:
        """The open transaction's connection; KindError if none is open."""
        if not self.is_open or self._connection is None:
            raise KindError("no transaction is open: begin() opens one")
        return self._connection

    def checkpoint(self, claim: Claim, batch: Batch) -> None:
        """Ends the transaction of a batch; opens one first if the kind needed none."""
        with self.transaction(claim) as connection:
            claim.checkpoint(connection, batch)

    def commit(self, claim: Claim) -> None:
        """Ends the transaction without a checkpoint, if the claim is still held; KindError if none is open."""
        connection = self.connection
        with self.transaction(claim):
            claim.beat(connection)

    def beat(self, claim: Claim, why: str | None) -> None:
        """A heartbeat outside a transaction, with what the job waits for."""
        with self.transaction(claim) as connection:
            claim.beat(connection, why)

    @contextmanager
    def transaction(self, claim: Claim) -> Iterator[Connection]:
        """The open transaction, else a new one; committed after the block, held or not. What a block that raises has
        written is rolled back with the session. From then on the job's heartbeats come from outside a transaction.
        """
        connection = self.connection if self.is_open else self.begin(claim)
        yield connection
        transaction = connection.get_transaction()
        assert transaction is not None
        transaction.commit()
        self.wait = None
        self._end()
        self._beats.outside(claim)

    def close(self, claim: Claim) -> None:
        """Releases the connection; what was not committed is rolled back."""
        self._beats.inside(claim)
        self._end()
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _rollback(self) -> None:
        transaction = None if self._connection is None else self._connection.get_transaction()
        if transaction is not None:
            transaction.rollback()

    def _end(self) -> None:
        self.is_open = False
        self._open.close()
