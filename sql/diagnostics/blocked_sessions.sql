-- Which sessions wait for a lock, for how long, and for whom? Cost: a look at the lock table; safe at any time.
SELECT * FROM ops.blocked_sessions ORDER BY waits DESC;
