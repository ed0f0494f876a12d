-- Which jobs are active, how far are they, and who works on them? Cost: one row per active job; safe at any time.
SELECT j.id, j.business_id, j.job_type, j.status, j.requested, j.processed, j.total, j.failed_count, j.attempt,
       j.recoveries, w.hostname || ':' || w.pid AS worker,
       j.worker_id IN (SELECT live_workers()) AS worker_alive,
       now() - j.heartbeat_at AS since_heartbeat, j.waiting_for, j.last_error
FROM background_jobs j LEFT JOIN workers w ON w.id = j.worker_id
WHERE j.status IN ('queued', 'running', 'paused')
ORDER BY j.id;
