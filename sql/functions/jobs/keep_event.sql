-- Events are append-only: an UPDATE is refused, and so is a DELETE as long as the job exists.
CREATE OR REPLACE FUNCTION public.keep_event() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM public.background_jobs j WHERE j.id = OLD.job_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'events are append-only: they cannot be changed, and are deleted only with their job' USING ERRCODE = '0A000';
END $$;
