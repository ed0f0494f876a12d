-- What waits in each queue, what is in hand, who takes from it? Cost: a scan of the index of waiting messages, not of ended ones.
SELECT * FROM ops.queues ORDER BY queue;
