"""The work. Each module here is one kind of job; packages are shared."""
