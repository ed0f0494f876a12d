"""Comments on tables, columns, constraints and indexes: psql's \\d+ shows them, and so does sql/schema.sql."""

from alembic import op

revision = "0011"
down_revision = "0010"

COMMENTS = """
    COMMENT ON TABLE public.token_changes IS 'How many changes a token may still make, at a moment. No foreign key: see service/rate_limits.py.';

    COMMENT ON CONSTRAINT uq_receipts_business_source ON public.receipts IS 'An import or a sync never brings back a deleted receipt: its line meets this and is passed over.';
    COMMENT ON INDEX public.idx_receipts_live IS 'Which receipts of this business come next? (the keyset of every job)';
    COMMENT ON INDEX public.idx_receipts_received IS 'Which are the newest of this business, or those of some days? (the list)';

    COMMENT ON TABLE public.attachments IS 'A file of a receipt in the bucket, and the outbox of its deletion. If purge_requested_at is set and purged_at is null, the object has to go.';
    COMMENT ON COLUMN public.attachments.size IS 'Null until the object is known to be in the bucket.';
    COMMENT ON COLUMN public.attachments.sha256 IS 'Of the file that belongs here, also before it is uploaded.';
    COMMENT ON COLUMN public.attachments.purge_after IS 'Whoever deletes the object first moves this into the future (a lease).';
    COMMENT ON COLUMN public.attachments.purge_job_id IS 'No foreign key: a job that is cleared away leaves its number.';
    COMMENT ON CONSTRAINT attachments_object_key_form ON public.attachments IS 'Not for attachments that are to be purged, which may be older than this rule: their updates must not fail.';
    COMMENT ON INDEX public.idx_attachments_receipt IS 'Which files belong to these receipts?';
    COMMENT ON INDEX public.idx_attachments_purge_due IS 'Which objects are due to be deleted?';

    COMMENT ON TABLE public.attachment_counts IS 'How many attachments a job has asked to be purged, by what became of them. Kept by triggers (functions/jobs/count_attachments.sql). No foreign key: a job that is cleared away leaves what it asked for.';
    COMMENT ON COLUMN public.attachment_counts.kept IS 'Deleted, but the store keeps earlier versions.';
    COMMENT ON COLUMN public.attachment_counts.failed IS 'Failed so far: they are tried again.';
    COMMENT ON COLUMN public.attachment_counts.error IS 'The last one, while some have failed or wait.';

    COMMENT ON TABLE public.workers IS 'One boot of one worker process. Which of them are alive: functions/workers/live_workers.sql.';
    COMMENT ON COLUMN public.workers.id IS 'An integer: it is half of an advisory lock''s key.';
    COMMENT ON COLUMN public.workers.kinds IS 'The kinds of jobs that it knows; null if it does not say.';

    COMMENT ON TABLE public.background_jobs IS 'Pages have room (fillfactor), and a checkpoint writes no indexed column, so that it is a HOT update.';
    COMMENT ON COLUMN public.background_jobs.attempt IS 'The number of the claim: the fencing token that every write of a worker carries.';
    COMMENT ON COLUMN public.background_jobs.refusals IS 'Rows refused in a row, since the last success.';
    COMMENT ON COLUMN public.background_jobs.last_error IS 'Of a row, or of the end.';
    COMMENT ON COLUMN public.background_jobs.waiting_for IS 'What keeps a running job now.';
    COMMENT ON COLUMN public.background_jobs.resends IS 'How often its message was sent again, since the last claim.';
    COMMENT ON INDEX public.idx_background_jobs_business_type_status IS 'Has this business a job of this type in this state?';
    COMMENT ON INDEX public.idx_background_jobs_created_at IS 'Which jobs are old enough to clear away? Which came last?';
    COMMENT ON INDEX public.idx_background_jobs_unique_active IS 'One active job per business and type: the second of two starts at once meets this.';
    COMMENT ON INDEX public.idx_background_jobs_sweep IS 'Which jobs wait, and which run with which worker? (the sweep)';

    COMMENT ON TABLE public.watched_clock IS 'When somebody last looked at the server''s clock, and the last gap: functions/workers/silence.sql.';

    COMMENT ON TABLE public.job_events IS 'What happened to a job, written in the transaction in which it happened. Rows are never changed.';
    COMMENT ON COLUMN public.job_events.actor IS 'user:7, worker:12, sweep, or whoever typed it in psql.';
    COMMENT ON INDEX public.idx_job_events_job IS 'What happened to this job, in order?';

    COMMENT ON TABLE dramatiq.queue IS 'dramatiq-pg''s table. Up to result_ttl the columns are as dramatiq-pg 0.12 makes them, so that its own processes can send; those after it are ours.';
    COMMENT ON COLUMN dramatiq.queue.seq IS 'The order in which messages are claimed. mtime is hours off outside UTC.';
    COMMENT ON COLUMN dramatiq.queue.worker_id IS 'Who has it, while consumed.';
    COMMENT ON COLUMN dramatiq.queue.delivery IS 'Fences off an ack of an earlier delivery.';
    COMMENT ON COLUMN dramatiq.queue.losses IS 'How many workers died with it, in a row.';
    COMMENT ON COLUMN dramatiq.queue.reason IS 'Why it was rejected.';
    COMMENT ON COLUMN dramatiq.queue.eta IS 'When a delayed message is due, in ms since 1970.';
    COMMENT ON INDEX dramatiq.queue_ended_idx IS 'Which messages ended long ago? (retention)';
    COMMENT ON INDEX dramatiq.queue_waiting_idx IS 'Which messages of a queue are next?';
    COMMENT ON INDEX dramatiq.queue_delayed_idx IS 'Which delayed messages are due?';
    COMMENT ON INDEX dramatiq.queue_lost_idx IS 'Which messages were lost with a worker?';
    COMMENT ON INDEX dramatiq.queue_claimed_idx IS 'What does this worker hold?';
"""


def upgrade() -> None:
    op.execute(COMMENTS)
