-- What happened to job :job, and who did it? Cost: an index scan of its events; safe at any time.
-- Use: \set job 123 and then \i sql/diagnostics/timeline.sql
SELECT at, event, from_status, to_status, actor, reason, attempt, worker_id, detail
FROM job_events WHERE job_id = :job ORDER BY id;
