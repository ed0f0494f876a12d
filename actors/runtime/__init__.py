"""What every job stands on. Knows no kind of job and no HTTP."""
