"""sql/schema.sql: tables, constraints, indexes and triggers after all migrations, for people to read.

`make schema` rewrites it, from a new database. Functions are not in it: they have their own files.
"""

import re
import subprocess
from pathlib import Path

from service.local.embedded import postgres, postgres_program
from service.local.runs import LOCAL
from service.local.sandbox import database
from sql.engine import make_engine
from sql.release import release

FILE = Path(__file__).parent.parent.parent / "sql" / "schema.sql"
HEAD = "-- The schema as the migrations leave it. Made by `make schema`; a test keeps it true.\n"

# What pg_dump writes above each object.
_OBJECT = re.compile(r"^--\n-- Name: .*; Type: (.*?); Schema: .*\n--\n", re.MULTILINE)

# What it writes for an identity column with a default sequence.
_SEQUENCE = re.compile(
    r" \(\n    SEQUENCE NAME \S+_seq\n    START WITH 1\n    INCREMENT BY 1\n    NO MINVALUE\n    NO MAXVALUE\n"
    r"    CACHE 1\n\);"
)


def main() -> None:
    with postgres(LOCAL / "postgres") as server, database(server, "longhaul_schema") as url:
        FILE.write_text(released_schema(url))
    print(f"written: {FILE.relative_to(FILE.parent.parent)}")


def released_schema(url: str) -> str:
    """Releases to this empty database and returns what schema.sql should say."""
    engine = make_engine(url, application_name="longhaul schema")
    release(engine)
    engine.dispose()
    options = ("--schema-only", "--no-owner", "--no-privileges", "--exclude-schema=ops", "--dbname", url)
    dump = subprocess.run([postgres_program("pg_dump"), *options], capture_output=True, text=True, check=True).stdout
    _, *objects = _OBJECT.split(dump)
    bodies = zip(objects[::2], objects[1::2], strict=True)
    kept = [body for kind, body in bodies if kind not in ("FUNCTION", "SCHEMA") and "COMMENT ON FUNCTION" not in body]
    lines = [line for body in kept for line in body.splitlines() if not line.startswith(("SET ", "--", "\\"))]
    text = re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip("\n").replace(";\n\nCOMMENT ON", ";\nCOMMENT ON")
    return f"{HEAD}\n{_SEQUENCE.sub(';', text)}\n"


if __name__ == "__main__":
    main()
