-- Which jobs are active, how far are they, how fast, and who works on them? Cost: one row per active job; safe at any time.
SELECT * FROM ops.active_jobs ORDER BY id;
