"""The data, as psql sees it. Imports nothing of ours."""
