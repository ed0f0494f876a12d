-- Makes all objects that could not be deleted from the bucket due at once, instead of up to an hour later: call it once the
-- cause (keys, rights, the region) is fixed. Returns how many there were. Skips locked rows, so it never waits.
-- What was never tried is not due yet: it can still be restored (UNDO_DAYS), downloaded (an export), or adopted by a receipt.
CREATE OR REPLACE FUNCTION public.retry_purge() RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    WITH waiting AS MATERIALIZED (
        SELECT a.id FROM public.attachments a
        WHERE a.purge_requested_at IS NOT NULL AND a.purged_at IS NULL AND a.purge_after > now()
          AND a.purge_attempts > 0
        FOR UPDATE SKIP LOCKED
    ), due AS (
        UPDATE public.attachments a SET purge_after = now() FROM waiting w WHERE a.id = w.id RETURNING 1
    )
    SELECT count(*) FROM due
$$;
