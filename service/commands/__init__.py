"""The commands of `python -m service`: each module has some that belong together, with their arguments."""
