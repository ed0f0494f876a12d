-- Which workers are alive, silent or dead, what do they listen to and work on? Cost: a look at pg_locks; safe at any time.
SELECT * FROM ops.workers ORDER BY id;
