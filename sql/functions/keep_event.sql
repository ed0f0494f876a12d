-- Events are written once: an UPDATE is refused, a DELETE too unless it comes with that of the job.
CREATE OR REPLACE FUNCTION public.keep_event() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'events are append-only: they are not changed, and go only with their job' USING ERRCODE = '0A000';
END $$;
