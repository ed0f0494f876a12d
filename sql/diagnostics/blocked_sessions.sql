-- Which sessions wait for a lock, for how long, and for whom? Cost: a look at the lock table; safe at any time.
SELECT waiting.pid, waiting.application_name, now() - waiting.query_start AS waits, left(waiting.query, 80) AS query,
       blocker.pid AS blocker_pid, blocker.application_name AS blocker, blocker.state AS blocker_state,
       left(blocker.query, 80) AS blocker_query
FROM pg_stat_activity waiting
JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS b (pid) ON true
JOIN pg_stat_activity blocker ON blocker.pid = b.pid
WHERE waiting.datname = current_database()
ORDER BY waits DESC;
