"""What holds at every moment, whatever has just happened. Each question returns the rows that break it."""

from contextlib import closing
from typing import Any

import psycopg2

QUESTIONS = {
    "as many receipts are deleted as the jobs of the business have counted": """
        SELECT b.id, deleted.n, counted.n FROM businesses b
        CROSS JOIN LATERAL (
            SELECT count(*) AS n FROM receipts r WHERE r.business_id = b.id AND r.is_deleted) deleted
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(j.succeeded), 0) AS n FROM background_jobs j
            WHERE j.business_id = b.id AND j.job_type = 'delete_receipts') counted
        WHERE deleted.n <> counted.n""",
    "no receipt above the bound of every job of its business is deleted": """
        SELECT r.business_id, max(r.id) FROM receipts r WHERE r.is_deleted GROUP BY r.business_id
        HAVING max(r.id) > coalesce((SELECT max((j.params ->> 'max_id')::bigint) FROM background_jobs j
                                     WHERE j.business_id = r.business_id AND j.job_type = 'delete_receipts'), 0)""",
    "a business without a job keeps everything": """
        SELECT r.id FROM receipts r LEFT JOIN attachments a ON a.receipt_id = r.id
        WHERE r.business_id = %(bystander)s AND (r.is_deleted OR a.purge_requested_at IS NOT NULL)""",
    "an attachment is to be purged exactly when its receipt is deleted": """
        SELECT a.id FROM attachments a JOIN receipts r ON r.id = a.receipt_id
        WHERE r.is_deleted <> (a.purge_requested_at IS NOT NULL)""",
    "the attachments of a job are counted as they are": """
        SELECT job_id, c, a FROM attachment_counts c FULL JOIN (
            SELECT purge_job_id AS job_id,
                   count(*) FILTER (WHERE purged_at IS NOT NULL AND purge_error IS NULL) AS deleted,
                   count(*) FILTER (WHERE purged_at IS NOT NULL AND purge_error IS NOT NULL) AS kept,
                   count(*) FILTER (WHERE purged_at IS NULL AND purge_error IS NOT NULL) AS failed,
                   count(*) FILTER (WHERE purged_at IS NULL AND purge_error IS NULL) AS pending
            FROM attachments WHERE purge_job_id IS NOT NULL GROUP BY purge_job_id) a USING (job_id)
        WHERE (c.deleted, c.kept, c.failed, c.pending) IS DISTINCT FROM (a.deleted, a.kept, a.failed, a.pending)""",
    "a completed export has a file": """
        SELECT j.id FROM background_jobs j LEFT JOIN attachments a ON a.id = (j.cursor ->> 'file_id')::bigint
        WHERE j.job_type = 'export_receipts' AND j.status = 'completed' AND a.id IS NULL""",
    "a job counts no more than there was": """
        SELECT id, processed, total, failed_count FROM background_jobs
        WHERE processed > total OR processed <> succeeded + failed_count
           OR failed_count > 0 AND business_id <> ALL (%(hostile)s::bigint[])""",
    "each event goes on from the one before": """
        SELECT * FROM (SELECT e.job_id, e.event, e.from_status,
                              lag(e.to_status) OVER (PARTITION BY e.job_id ORDER BY e.id) AS before
                       FROM job_events e) chain
        WHERE from_status IS DISTINCT FROM before""",
    "the last event of a job is its status": """
        SELECT j.id, j.status, last.to_status FROM background_jobs j CROSS JOIN LATERAL (
            SELECT e.to_status FROM job_events e WHERE e.job_id = j.id ORDER BY e.id DESC LIMIT 1) last
        WHERE j.status <> last.to_status""",
    "each claim is an event": """
        SELECT j.id, j.attempt, claims.n FROM background_jobs j CROSS JOIN LATERAL (
            SELECT count(*) AS n FROM job_events e WHERE e.job_id = j.id AND e.event = 'claimed') claims
        WHERE j.attempt <> claims.n""",
    "a business has at most one active job of a type": """
        SELECT business_id FROM background_jobs WHERE status IN ('queued', 'running', 'paused')
        GROUP BY business_id, job_type HAVING count(*) > 1""",
}


def broken(url: str, bystander: int, hostile: list[int]) -> dict[str, list[Any]]:
    """What does not hold, and the first rows that show it; all asked of one snapshot.

    The receipts of hostile businesses may refuse to be deleted.
    """
    with closing(psycopg2.connect(url)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            found = {}
            for name, question in QUESTIONS.items():
                cursor.execute(question, {"bystander": bystander, "hostile": hostile})
                if rows := cursor.fetchmany(3):
                    found[name] = rows
            return found
