-- Why is job :job not moving? Cost: a few index look-ups; safe at any time.
-- Use: \set job 123 and then \i sql/diagnostics/why_is_it_not_moving.sql
SELECT * FROM ops.why(:job);
