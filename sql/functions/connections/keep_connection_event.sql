-- Events of connections are append-only: no UPDATE, and no DELETE while their connection exists.
CREATE OR REPLACE FUNCTION public.keep_connection_event() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM public.connections c WHERE c.id = OLD.connection_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'events are append-only: they cannot be changed, and are deleted only with their connection'
        USING ERRCODE = '0A000';
END $$;
