"""The page that people use: static files, and how they are served."""
