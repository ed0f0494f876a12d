"""The work. Each module beside runtime/ is one kind of job."""
