-- Maintains attachment_counts: how many attachments each job has asked to purge, by result, and the last error while some
-- are left. So reading a job costs the same, however many it has. A trigger calls it after each UPDATE of attachments. If
-- the counts do not change (a lease), it writes nothing.
-- In order of job id, so that two statements with several jobs do not deadlock.
CREATE OR REPLACE FUNCTION public.count_attachments() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.attachment_counts AS c (job_id, deleted, kept, failed, pending, error)
    SELECT * FROM (
        SELECT purge_job_id,
               coalesce(sum(n) FILTER (WHERE purged AND purge_error IS NULL), 0) AS deleted,
               coalesce(sum(n) FILTER (WHERE purged AND purge_error IS NOT NULL), 0) AS kept,
               coalesce(sum(n) FILTER (WHERE NOT purged AND purge_error IS NOT NULL), 0) AS failed,
               coalesce(sum(n) FILTER (WHERE NOT purged AND purge_error IS NULL), 0) AS pending,
               max(purge_error) FILTER (WHERE NOT purged AND n > 0) AS error  -- that more have than before
        FROM (SELECT purge_job_id, purged_at IS NOT NULL AS purged, purge_error, sum(n) AS n
              FROM (SELECT purge_job_id, purged_at, purge_error, 1 AS n FROM new_rows
                    UNION ALL
                    SELECT purge_job_id, purged_at, purge_error, -1 AS n FROM old_rows) AS row_changes
              WHERE purge_job_id IS NOT NULL
              GROUP BY 1, 2, 3 HAVING sum(n) <> 0) AS differences
        GROUP BY purge_job_id) AS changes
    WHERE (deleted, kept, failed, pending) <> (0, 0, 0, 0) OR error IS NOT NULL
    ORDER BY purge_job_id
    ON CONFLICT (job_id) DO UPDATE SET deleted = c.deleted + excluded.deleted, kept = c.kept + excluded.kept,
                                       failed = c.failed + excluded.failed, pending = c.pending + excluded.pending,
                                       error = CASE WHEN c.failed + excluded.failed + c.pending + excluded.pending > 0
                                                    THEN coalesce(excluded.error, c.error) END;
    RETURN NULL;
END $$;

-- The same if a row with a job's number is inserted or deleted, which none of our statements does.
CREATE OR REPLACE FUNCTION public.count_attachment() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    a public.attachments := CASE WHEN TG_OP = 'INSERT' THEN NEW ELSE OLD END;
    n integer := CASE WHEN TG_OP = 'INSERT' THEN 1 ELSE -1 END;
BEGIN
    INSERT INTO public.attachment_counts AS c (job_id, deleted, kept, failed, pending)
    VALUES (a.purge_job_id,
            CASE WHEN a.purged_at IS NOT NULL AND a.purge_error IS NULL THEN n ELSE 0 END,
            CASE WHEN a.purged_at IS NOT NULL AND a.purge_error IS NOT NULL THEN n ELSE 0 END,
            CASE WHEN a.purged_at IS NULL AND a.purge_error IS NOT NULL THEN n ELSE 0 END,
            CASE WHEN a.purged_at IS NULL AND a.purge_error IS NULL THEN n ELSE 0 END)
    ON CONFLICT (job_id) DO UPDATE SET deleted = c.deleted + excluded.deleted, kept = c.kept + excluded.kept,
                                       failed = c.failed + excluded.failed, pending = c.pending + excluded.pending,
                                       error = CASE WHEN c.failed + excluded.failed + c.pending + excluded.pending > 0
                                                    THEN c.error END;
    RETURN NULL;
END $$;
