"""An importer on a database and a bucket of its own."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from actors.runtime.base.storage import Bucket
from service.imports.importer import Options, Outcome, import_file

# As small as they can be, and what their first bytes say.
PDF = b"%PDF-1.1\n"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"


@pytest.fixture
def business_id(make) -> int:
    return make.business()


@pytest.fixture
def load(engine: Engine, bucket: Bucket, business_id: int, tmp_path: Path) -> Callable[..., Outcome]:
    """load(lines): imports them from a file in tmp_path; bytes and text are taken as they are, a dict as JSON."""

    def run(lines: object, name: str = "receipts.jsonl", bucket: Bucket = bucket, **options: object) -> Outcome:
        file = tmp_path / name
        if isinstance(lines, list):
            lines = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        file.write_bytes(lines if isinstance(lines, bytes) else str(lines).encode())
        return import_file(file, engine, bucket, business_id, Options(**options))  # type: ignore[arg-type]

    return run


@pytest.fixture
def receipts(sql, business_id: int) -> Callable[[], list[str]]:
    """receipts(): what was imported, `vendor amount currency day` each, in the order of the lines."""

    def read() -> list[str]:
        rows = sql(
            """SELECT concat_ws(' ', vendor, amount, currency, received_at::date) AS receipt FROM receipts
               WHERE business_id = :id ORDER BY id""",
            id=business_id,
        )
        return [row["receipt"] for row in rows]

    return read
