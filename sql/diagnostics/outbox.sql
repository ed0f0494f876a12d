-- Which objects are still to be deleted from the bucket, since when, and what does it say? Cost: a scan of what is still to do.
SELECT * FROM ops.outbox ORDER BY since;
