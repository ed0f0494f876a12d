"""Performs the job of one message: claims it, runs it, and leaves it in a state that says what comes next."""

from collections.abc import Sequence
from contextlib import suppress

import structlog

from actors.runtime.base.errors import ClaimLost
from actors.runtime.base.failures import backoff_seconds, describe, is_transient
from actors.runtime.jobs.claim import Claim
from actors.runtime.jobs.context import JobContext
from actors.runtime.jobs.kinds import Kind
from actors.runtime.jobs.loop import Loop

log = structlog.get_logger("longhaul.job")


def perform(job_id: int, kind: Kind, place: JobContext, types: Sequence[str] | None = None) -> None:
    """The body of every job's Dramatiq actor. `types`: the job_types that it takes; None: any."""
    claim = _claim(job_id, kind, place, types)
    if claim is None:
        log.info("job.skipped", job_id=job_id, kind=kind.name)
        return
    log.info("job.picked", queue=kind.queue, job_id=job_id, kind=kind.name, attempt=claim.attempt)
    loop = Loop(claim, kind, place)
    try:
        loop.run()
    except ClaimLost:
        log.warning("job.claim_lost", job_id=job_id, attempt=claim.attempt)
    except BaseException as error:
        # A bug in the kind, or Dramatiq's time limit. The claim's transaction has been rolled back.
        log.exception("job.crashed", job_id=job_id)
        with suppress(ClaimLost):
            loop.fail(error)
    finally:
        loop.close()


def _claim(job_id: int, kind: Kind, place: JobContext, types: Sequence[str] | None) -> Claim | None:
    """Claims the job. None: it is not queued, so there is nothing to do.

    If Postgres is down, it tries again, because nobody else would notice a claim that was committed after all.
    """
    failures = 0
    while True:
        try:
            with place.engine.begin() as connection:
                if failures:  # the last try may have succeeded, and only its response got lost
                    Claim.release_unconfirmed(connection, job_id, place.worker_id())
                return Claim.acquire(
                    connection,
                    job_id,
                    place.worker_id(),
                    kind.setting(place.settings, "BATCH_SIZE"),
                    kind.setting(place.settings, "STALE_HEARTBEAT_SECONDS"),
                    kind.setting(place.settings, "STALE_UPDATE_SECONDS"),
                    types,
                    kind.setting(place.settings, "RUNNING_PER_BUSINESS"),
                )
        except Exception as error:
            if not is_transient(error) or place.stopping.is_set():
                raise
            failures += 1
            seconds = backoff_seconds(failures)
            log.warning("backoff", job_id=job_id, seconds=seconds, failures=failures, error=describe(error))
            place.stopping.wait(seconds)
