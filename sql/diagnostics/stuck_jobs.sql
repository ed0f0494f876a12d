-- Which active jobs do not move, why, and what fixes it? Cost: some look-ups for each job that may be stuck; safe at any time.
SELECT id, business_id, job_type, status, reason, for_how_long, sentence, remedy FROM ops.stuck_jobs ORDER BY id LIMIT 100;
