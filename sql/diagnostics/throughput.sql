-- How much is done in each queue? Cost: an index scan of the messages that ended within 15 minutes.
SELECT * FROM ops.throughput ORDER BY queue;
