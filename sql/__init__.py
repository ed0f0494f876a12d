"""The data, as psql sees it. Imports none of our other packages."""
