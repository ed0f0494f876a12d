"""The importer: lines without files against COPY of the parsed rows, and files against bare uploads."""

import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import StringIO
from pathlib import Path

import psycopg2
from sqlalchemy import Engine, text

from actors.runtime.base.config import Settings, load_settings
from actors.runtime.base.storage import Bucket
from service.imports.importer import Options, import_file
from service.local.sandbox import sandbox
from sql.engine import make_engine
from sql.release import release

LINES = 50_000
FILES = 1_000
RUNS = 5
PDF = b"%PDF-1.1\n" + b"x" * 2000


def run() -> str:
    with sandbox("bench") as environment, tempfile.TemporaryDirectory() as name:
        settings, folder = load_settings(environment), Path(name)
        engine = make_engine(settings.DATABASE_URL, application_name="bench")
        release(engine)
        rows = _write(folder)
        times: dict[str, list[float]] = {"csv": [], "jsonl": [], "copy": [], "files": [], "puts": []}
        for _ in range(RUNS):  # in turns: other load on the machine affects all
            times["csv"].append(LINES / _ours(engine, settings, folder / "lines.csv"))
            times["jsonl"].append(LINES / _ours(engine, settings, folder / "lines.jsonl"))
            times["copy"].append(LINES / _copy(engine, settings, rows))
            times["files"].append(FILES / _ours(engine, settings, folder / "files.jsonl"))
            times["puts"].append(FILES / _puts(settings, folder))
        engine.dispose()
    rate = {what: statistics.median(found) for what, found in times.items()}
    return (
        f"| {LINES:,} lines, {FILES:,} files of 2 KB, median of {RUNS} | a second | |\n|---|---|---|\n"
        f"| CSV without files | {rate['csv']:,.0f} lines | {rate['csv'] / rate['copy']:.2f} x COPY |\n"
        f"| JSON Lines without files | {rate['jsonl']:,.0f} lines | {rate['jsonl'] / rate['copy']:.2f} x COPY |\n"
        f"| COPY of the parsed rows | {rate['copy']:,.0f} lines | |\n"
        f"| JSON Lines with a file each | {rate['files']:,.0f} files | {rate['files'] / rate['puts']:.2f} x uploads |\n"
        f"| uploads alone, 8 threads | {rate['puts']:,.0f} files | |\n"
    )


def _write(folder: Path) -> list[tuple[str, str, str]]:
    rows = [
        (f"Vendor {n % 500}", f"{n % 900 + 1}.{n % 100:02}", f"2025-{n % 12 + 1:02}-{n % 28 + 1:02}")
        for n in range(LINES)
    ]
    with (folder / "lines.csv").open("w") as csv, (folder / "lines.jsonl").open("w") as lines:
        csv.write("vendor,amount,date\n")
        for vendor, amount, day in rows:
            csv.write(f"{vendor},{amount},{day}\n")
            lines.write(json.dumps({"vendor": vendor, "amount": amount, "date": day}) + "\n")
    (folder / "receipt.pdf").write_bytes(PDF)
    with (folder / "files.jsonl").open("w") as lines:
        for vendor, amount, day in rows[:FILES]:
            lines.write(json.dumps({"vendor": vendor, "amount": amount, "date": day, "pdf": "receipt.pdf"}) + "\n")
    return rows


def _business(engine: Engine) -> int:
    with engine.begin() as connection:
        return int(connection.execute(text("INSERT INTO businesses (name) VALUES ('b') RETURNING id")).scalar_one())


def _ours(engine: Engine, settings: Settings, file: Path) -> float:
    business_id, bucket = _business(engine), Bucket(settings)
    began = time.perf_counter()
    outcome = import_file(file, engine, bucket, business_id, Options())
    assert outcome.unread == []
    return time.perf_counter() - began


def _copy(engine: Engine, settings: Settings, rows: list[tuple[str, str, str]]) -> float:
    business_id = _business(engine)
    began = time.perf_counter()
    data = StringIO("".join(f"{business_id}\t{v}\t{a}\tUSD\t{d}\timport\tk{n}\n" for n, (v, a, d) in enumerate(rows)))
    with closing(psycopg2.connect(settings.DATABASE_URL)) as connection, connection.cursor() as cursor:
        columns = ("business_id", "vendor", "amount", "currency", "received_at", "source", "source_id")
        cursor.copy_from(data, "receipts", columns=columns)
        connection.commit()
    return time.perf_counter() - began


def _puts(settings: Settings, folder: Path) -> float:
    bucket = Bucket(settings)
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: bucket.put(f"bench/{n}.pdf", folder / "receipt.pdf", "application/pdf"), range(FILES)))
    return time.perf_counter() - began
