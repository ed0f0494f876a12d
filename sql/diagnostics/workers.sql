-- Which worker processes are alive, what do they really listen to, and what do they work on? Cost: a look at pg_locks.
SELECT w.id, w.hostname, w.pid, w.queues, w.release, w.started_at,
       array(SELECT j.id FROM background_jobs j WHERE j.status = 'running' AND j.worker_id = w.id) AS jobs
FROM workers w JOIN live_workers() AS live (id) ON live.id = w.id
ORDER BY w.id;
