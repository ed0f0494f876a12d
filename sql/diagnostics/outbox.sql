-- Which objects are still to be deleted from the bucket, since when, and what does the bucket say?
-- Cost: a scan of the outbox's own index, that is, of what is still to do.
SELECT business_id, purge_job_id AS job, count(*) AS objects, min(purge_requested_at) AS since,
       max(purge_attempts) AS attempts, min(purge_after) AS next_try, max(purge_error) AS an_error
FROM attachments WHERE purge_requested_at IS NOT NULL AND purged_at IS NULL
GROUP BY business_id, purge_job_id ORDER BY since;
