-- Keeps attachment_counts: how many attachments each job has asked to be purged, by what became of them, and the last error
-- while there are some left. So a look at a job costs the same, however many it has. Called by a trigger after each UPDATE
-- of attachments, whoever makes it. What changes nothing here (a lease) writes nothing.
-- In order of job id, so that two statements that meet several jobs do not wait for each other in a circle.
CREATE OR REPLACE FUNCTION public.count_attachments() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.attachment_counts AS c (job_id, deleted, kept, failed, pending, error)
    SELECT * FROM (
        SELECT purge_job_id,
               coalesce(sum(n) FILTER (WHERE purged AND purge_error IS NULL), 0) AS deleted,
               coalesce(sum(n) FILTER (WHERE purged AND purge_error IS NOT NULL), 0) AS kept,
               coalesce(sum(n) FILTER (WHERE NOT purged AND purge_error IS NOT NULL), 0) AS failed,
               coalesce(sum(n) FILTER (WHERE NOT purged AND purge_error IS NULL), 0) AS pending,
               max(purge_error) FILTER (WHERE NOT purged AND n > 0) AS error  -- that more have now than before
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

-- The same for a row that comes or goes with a job's number on it, which none of our statements does.
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
