"""`python -m service import`: receipts from the exports of other tools, their files into the bucket.

A file is read twice: first for what its lines prove together (the order of its days, its decimal point), then to import
it. Whatever can't be read beyond doubt is named and left out; a fault of the whole file is said once, and nothing is
imported.
"""
