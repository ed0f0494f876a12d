"""The commands of `python -m service`: each module has a group of related ones, with their arguments."""
