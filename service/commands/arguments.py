"""Helpers for declaring commands."""

import argparse
from collections.abc import Callable

Command = Callable[[argparse.Namespace], int]
Add = Callable[[str, Command], argparse.ArgumentParser]  # adds a command; its docstring is its help


def number(value: str) -> int:
    if not (value.isascii() and value.isdigit()) or int(value) >= 2**63:
        raise argparse.ArgumentTypeError(f"found {value[:40]!r}, expected a number from 0 to {2**63 - 1}")
    return int(value)
