"""`make bench`, or `python -m bench delete`: runs the given parts, all by default; --keep writes RESULTS.md."""

import datetime
import importlib
import os
import pkgutil
import platform
import sys
from pathlib import Path

import bench

RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    parts = sorted(module.name for module in pkgutil.iter_modules(bench.__path__) if not module.name.startswith("_"))
    keeping = "--keep" in sys.argv
    wanted = [name for name in sys.argv[1:] if name != "--keep"] or parts
    if unknown := set(wanted) - set(parts):
        sys.exit(f"found {', '.join(sorted(unknown))}, expected one of {', '.join(parts)}")
    for part in wanted:
        print(f"\n{part} …", flush=True)
        table = importlib.import_module(f"bench.{part}").run()
        print(table)
        if keeping:
            keep(part, table)


def keep(part: str, table: str) -> None:
    """Puts the table into RESULTS.md in place of this part's last one."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    section = f"## {part}\n\n{datetime.date.today().isoformat()}, {machine}\n\n{table.strip()}\n"
    head, *sections = RESULTS.read_text().split("\n## ") if RESULTS.exists() else ["# What was measured\n"]
    others = {text.partition("\n")[0]: f"## {text.strip()}\n" for text in sections}
    others[part] = section
    RESULTS.write_text("\n".join([head.strip() + "\n", *(others[name] for name in sorted(others))]))


if __name__ == "__main__":
    main()
