-- Which jobs ended last, how, and how fast were they? Cost: an index scan from the newest job back; safe at any time.
SELECT * FROM ops.history ORDER BY id DESC LIMIT 20;
