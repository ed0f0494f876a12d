-- Which messages were rejected lately, and why? Cost: an index scan of those that ended within a day; some seconds for millions.
SELECT * FROM ops.rejected_messages WHERE at > now() - interval '1 day' ORDER BY at DESC LIMIT 20;
