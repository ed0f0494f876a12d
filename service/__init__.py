"""HTTP and the command line. Imports actors and sql; nothing imports it."""
