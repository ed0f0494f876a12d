-- What happened to job :job, and who did it? Cost: an index scan of its events; safe at any time.
-- Use: \set job 123 and then \i sql/diagnostics/timeline.sql
SELECT * FROM ops.events WHERE job_id = :job ORDER BY id;
