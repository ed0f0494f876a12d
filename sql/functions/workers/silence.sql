-- If the server's clock steps, a healthy job looks silent for as long as the step. So every reading of the clock (each
-- second by every worker, and at every status call) is recorded in one row, and a gap of more than 10 s between two
-- readings, in either direction, is kept: nobody watched, so its real length is unknown.
CREATE OR REPLACE FUNCTION public.watch_clock() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at timestamptz := clock_timestamp();
BEGIN
    IF current_setting('transaction_read_only')::boolean THEN
        RETURN;
    END IF;
    UPDATE public.watched_clock c
    SET seen_at = at,
        gap_from = CASE WHEN at - c.seen_at NOT BETWEEN '-10 s' AND '10 s' THEN c.seen_at ELSE c.gap_from END,
        gap_to = CASE WHEN at - c.seen_at NOT BETWEEN '-10 s' AND '10 s' THEN at ELSE c.gap_to END
    WHERE c.one = (
        SELECT one FROM public.watched_clock
        WHERE coalesce(at - seen_at NOT BETWEEN '0 s' AND '1 s', true) FOR UPDATE SKIP LOCKED);
END $$;

-- How long has nothing happened since this time? Counts only time in which somebody watched the clock: nothing of the last
-- gap, and nothing at all if the last reading is more than 10 s away.
-- A sign of life up to 10 s after the gap's start may date from right before the step. After a step back, the times of the
-- gap repeat: a sign of life in them counts as later than the gap.
CREATE OR REPLACE FUNCTION public.silence(since timestamptz) RETURNS interval
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN clock_timestamp() - c.seen_at NOT BETWEEN '-10 s' AND '10 s' THEN '0'
        WHEN since < CASE WHEN c.gap_from < c.gap_to THEN c.gap_from + interval '10 s' ELSE c.gap_to - interval '10 s' END
            THEN greatest(c.gap_from - since, '0') + (clock_timestamp() - c.gap_to)
        ELSE clock_timestamp() - since
    END
    FROM (SELECT) AS always LEFT JOIN public.watched_clock c ON true
$$;
