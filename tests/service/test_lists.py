"""A list reads the rows of its own business, however many others have, and however new theirs are."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from service.job_view import LIST
from service.sync import MESSAGES

MAILS = """
    WITH made AS (
        INSERT INTO connections (business_id, provider, account, secret) VALUES (:b, 'imap', 'dana', 'x') RETURNING id)
    INSERT INTO mail_messages (connection_id, business_id, uidvalidity, uid, message_hash, received_at, size)
    SELECT made.id, :b, 7, n, sha256('x'), now(), 5 FROM made CROSS JOIN generate_series(1, :number) AS n
"""
JOBS = """
    INSERT INTO background_jobs (business_id, job_type, queue, actor, status, finished_at)
    SELECT :b, 'delete_receipts', 'maintenance', 'delete_receipts', 'completed', now() FROM generate_series(1, :number)
"""
ALL = {"status": None, "job_type": None, "after": None, "ids": None, "from_date": None, "to_date": None}


def plans(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(inner for child in node.get("Plans", ()) for inner in plans(child))]


@pytest.mark.parametrize(
    ("fill", "table", "statement", "values"),
    [
        (MAILS, "mail_messages", MESSAGES, {"state": None, "connection_id": None, "after": None}),
        (JOBS, "background_jobs", LIST, ALL),
    ],
    ids=["mails", "jobs"],
)
def test_a_list_reads_no_row_of_another_business(make, sql, engine, fill, table, statement, values) -> None:
    ours, theirs = make.business(), make.business()
    sql(fill, b=ours, number=300)
    sql(fill, b=theirs, number=20_000)
    sql(f"ANALYZE {table}")
    with engine.connect() as session:
        explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.text}")
        found = session.execute(explain, {**values, "business_id": ours, "limit": 50}).scalar_one()
    read = plans((found if isinstance(found, list) else json.loads(found))[0]["Plan"])
    assert sum(node.get("Rows Removed by Filter", 0) for node in read) == 0
    assert max(node["Actual Rows"] for node in read) == 51
