-- The server's clock may step, and then a healthy job looks silent for as long as the step. So every look at it (each
-- second by every worker, and at every status call) is noted in one row, and a gap of more than 10 s between two looks,
-- in either direction, is kept: nobody watched, so nobody can say how long it really was.
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

-- For how long has nothing happened since this time? Counts only time in which somebody watched the clock: of the last
-- gap nothing, and nothing at all while the last look is more than 10 s away.
-- Who was heard up to 10 s after the gap's beginning may have been heard right before the step. After a step back, the
-- times of the gap come once more: who was heard then is taken to have been heard since.
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
