"""A worker dyno that also knows the kinds in tests/system/kinds: they are found like any in actors/."""

import sys
from pathlib import Path

import actors

actors.__path__.append(str(Path(__file__).parent / "kinds"))

from actors.runtime.__main__ import main  # noqa: E402 - it looks for the kinds

if __name__ == "__main__":
    sys.exit(main())
