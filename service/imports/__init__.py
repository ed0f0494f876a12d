"""`python -m service import`: loads receipts from other tools' exports, and their files into the bucket.

A file is read twice: first for what its lines prove together (the order of its days, its decimal point), then to import
it. A line that can't be read with certainty is reported and skipped; a problem with the whole file is reported once,
and nothing is imported.
"""
