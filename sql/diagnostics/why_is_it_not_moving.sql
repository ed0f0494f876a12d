-- Why is job :job not moving? One row with the answer. Cost: a few index look-ups; safe at any time.
-- Use: \set job 123 and then \i sql/diagnostics/why_is_it_not_moving.sql
SELECT j.id, j.status, j.processed, j.total,
       now() - j.heartbeat_at AS since_heartbeat,
       CASE
           WHEN j.status = 'running' AND NOT alive THEN
               'Its worker is dead. Any live worker puts it back into the queue within a second or two'
               || CASE WHEN listening = 0 THEN '; but no live worker listens to ' || j.queue ELSE '' END
           WHEN j.status = 'running' AND j.requested IS NOT NULL THEN
               'It stops (' || j.requested || ') at the end of the batch in hand'
           WHEN j.status = 'running' AND j.waiting_for IS NOT NULL AND j.heartbeat_at > now() - interval '40 seconds' THEN
               'It waits to try again: ' || j.waiting_for
           WHEN j.status = 'running' AND j.heartbeat_at < now() - interval '40 seconds' THEN
               'Its worker lives, but the batch in hand takes long; see blocked_sessions.sql'
           WHEN j.status = 'running' THEN 'It is moving'
           WHEN j.status = 'queued' AND listening = 0 THEN
               'No live worker listens to the queue ' || j.queue || '; see WORKER_QUEUES and workers.sql'
           WHEN j.status = 'queued' AND knowing = 0 THEN
               'No live worker knows the kind ' || j.job_type || '; start one of the release that does, or cancel the job'
           WHEN j.status = 'queued' AND message.state IS NULL THEN
               'No message would wake it; any live worker sends one within a second or two, later after ' || j.resends
               || ' of them got lost'
           WHEN j.status = 'queued' AND message.state = 'consumed' THEN
               'A worker has its message and is about to begin'
           WHEN j.status = 'queued' THEN
               'It waits its turn: ' || ahead || ' messages are ahead of it in ' || j.queue
           WHEN j.status = 'paused' THEN 'Somebody paused it: SELECT resume_job(' || j.id || ', ''your name'')'
           WHEN j.status = 'failed' THEN
               'It failed: ' || coalesce(j.last_error, 'for no known reason')
               || '. From its cursor on: SELECT resume_job(' || j.id || ', ''your name'')'
           ELSE 'It has ended: ' || j.status
       END AS answer
FROM background_jobs j
LEFT JOIN dramatiq.queue message ON message.message_id = j.message_id AND message.state IN ('queued', 'consumed')
CROSS JOIN LATERAL (SELECT coalesce(j.worker_id IN (SELECT live_workers()), true) AS alive) worker
CROSS JOIN LATERAL (
    SELECT count(*) AS listening, count(*) FILTER (WHERE w.kinds IS NULL OR j.job_type = ANY (w.kinds)) AS knowing
    FROM workers w JOIN live_workers() AS live (id) ON live.id = w.id
    WHERE j.queue = ANY (w.queues)) listeners
CROSS JOIN LATERAL (
    SELECT count(*) AS ahead FROM dramatiq.queue q
    WHERE q.state = 'queued' AND q.queue_name = j.queue AND q.seq < message.seq) waiting
WHERE j.id = :job;
