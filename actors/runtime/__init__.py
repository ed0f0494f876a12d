"""What every job is built on. Knows no kind of job and no HTTP."""
