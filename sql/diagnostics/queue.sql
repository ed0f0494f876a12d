-- How many messages wait, are being worked on and have ended, by queue, and how old is the oldest that waits?
-- Cost: a scan of the queue's index; with millions of finished messages, some seconds.
SELECT queue_name, state, count(*) AS messages, CASE WHEN state = 'queued' THEN now() - min(mtime) END AS oldest
FROM dramatiq.queue GROUP BY queue_name, state ORDER BY queue_name, state;
