"""A business to try things on: its receipts with their files, and a token for its owner."""

import json
import tempfile
from pathlib import Path

from sqlalchemy import Engine, text

from actors.runtime.base.config import load_settings
from actors.runtime.base.storage import Bucket
from service.auth import create_token
from service.imports.importer import Options, import_file

VENDORS = ("Corner Cafe", "Hardware & Home", "Paper Mill Books", "Night Owl Taxi", "Green Grocer")

# A PDF of one empty page, as small as a PDF can be.
PDF = b"""%PDF-1.1
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 300]>>endobj
trailer<</Root 1 0 R>>
"""


def seed(environment: dict[str, str], engine: Engine, receipts: int) -> int:
    """A business with receipts, each with a PDF in the bucket; loaded with the importer, as a user would."""
    with engine.begin() as connection:
        business_id: int = connection.execute(
            text("INSERT INTO businesses (name) VALUES ('Demo & Sons') RETURNING id")
        ).scalar_one()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "receipt.pdf").write_bytes(PDF)
        file = Path(folder, "receipts.jsonl")
        with file.open("w") as lines:
            for n in range(receipts):
                line = {
                    "id": n,
                    "vendor": VENDORS[n % len(VENDORS)],
                    "amount": f"{n % 90 + 5}.{n % 100:02}",
                    "date": f"{n % 28 + 1:02}/{n % 12 + 1:02}/2025",
                    "image": "receipt.pdf",
                }
                lines.write(json.dumps(line) + "\n")
        bucket = Bucket(load_settings(environment))
        outcome = import_file(file, engine, bucket, business_id, Options(currency="EUR"))
    print(f"{outcome.made} receipts with {outcome.uploaded} attachments for business {business_id}", flush=True)
    return business_id


def owner_token(engine: Engine, business_id: int) -> str:
    with engine.begin() as connection:
        return create_token(connection, "owner", business_id, 1)
