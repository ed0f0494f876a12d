"""Receipts: the list, their number, and a link to a receipt's file."""

from datetime import date, datetime
from typing import Any

import falcon
from pydantic import BaseModel, Field
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.config import Settings
from actors.runtime.base.failures import is_timeout
from actors.runtime.base.storage import Bucket
from service.caller import Caller
from service.days import within_days
from service.errors import ApiError, bad_input, not_found
from service.jobs import Page, paginate, reply
from service.openapi import Input, NoQuery, Success, parse_id, responses, spec
from service.results import LINK_SECONDS

SHOWN_BY_BROWSERS = {"application/pdf", "image/avif", "image/gif", "image/jpeg", "image/png", "image/webp"}
COUNT_SECONDS = 1  # if counting takes longer, the number is null

# Days are days of received_at; `after` is the id of the last receipt seen.
SHOWN = f"r.business_id = :business_id AND NOT r.is_deleted AND {within_days('r.received_at')}"
IS_THERE = "a.purge_requested_at IS NULL AND a.size IS NOT NULL"  # uploaded, and not about to be purged
LIST = text(f"""
    SELECT r.id, r.vendor, r.amount::text, r.currency, r.received_at, r.source, r.source_id, r.created_at,
           EXISTS (SELECT FROM attachments a WHERE a.receipt_id = r.id AND {IS_THERE}) AS has_file
    FROM receipts r
    WHERE {SHOWN} AND (CAST(:after AS bigint) IS NULL OR (r.received_at, r.id) < (:after_received_at, :after))
    ORDER BY r.received_at DESC, r.id DESC LIMIT :limit + 1
""")  # noqa: S608 - constants
COUNT = text(f"""
    SELECT (SELECT count(*) FROM receipts r WHERE {SHOWN}) AS receipts,
           (SELECT count(*) FROM receipts r JOIN attachments a ON a.receipt_id = r.id WHERE {SHOWN} AND {IS_THERE})
               AS attachments
""")  # noqa: S608 - constants
FILE = text(f"""
    SELECT r.id, a.id AS attachment_id, a.object_key, a.content_type
    FROM receipts r LEFT JOIN attachments a ON a.receipt_id = r.id AND {IS_THERE}
    WHERE r.id = :receipt_id AND r.business_id = :business_id AND NOT r.is_deleted ORDER BY a.id LIMIT 1
""")  # noqa: S608 - constants

RECEIVED_AT = text("SELECT received_at FROM receipts WHERE id = :after AND business_id = :business_id")


class Days(Input):
    from_date: date | None = Field(default=None, description="first day, UTC")
    to_date: date | None = Field(default=None, description="last day, UTC")
    fromDate: date | None = Field(default=None, description="the same as from_date")  # noqa: N815 - the seeds' name
    toDate: date | None = Field(default=None, description="the same as to_date")  # noqa: N815


class ReceiptQuery(Page, Days):
    pass


class Receipt(BaseModel):
    id: int
    vendor: str
    amount: str = Field(description="an exact decimal number")
    currency: str
    received_at: datetime
    source: str
    source_id: str | None
    created_at: datetime
    has_file: bool


class ReceiptList(Success):
    receipts: list[Receipt]
    next_after: int | None


class ReceiptCounts(Success):
    receipts: int | None = Field(description="null if counting takes longer than a second")
    attachments: int | None = Field(description="the total number of their files")


class Link(Success):
    url: str
    expires_in: int = Field(description="seconds")
    content_type: str


def _one(name: str, snake: date | None, camel: date | None) -> date | None:
    if snake is not None and camel is not None and snake != camel:
        raise bad_input(f"Found {name} = {snake} and another day in camelCase: {camel}; expected one of them")
    return snake or camel


def _values(caller: Caller, query: Days) -> dict[str, Any]:
    return {
        "business_id": caller.own_business(),
        "from_date": _one("from_date", query.from_date, query.fromDate),
        "to_date": _one("to_date", query.to_date, query.toDate),
    }


class ReceiptCollection:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @spec.validate(query=ReceiptQuery, resp=responses(ReceiptList))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The business's receipts, newest first"""
        query: ReceiptQuery = request.context.query
        values = _values(request.context.caller, query)
        values |= {"after": query.after, "after_received_at": None, "limit": query.limit}
        with self._engine.begin() as connection:
            if query.after is not None:
                values["after_received_at"] = connection.execute(RECEIVED_AT, values).scalar()
                if values["after_received_at"] is None:
                    raise bad_input(f"Found after = {query.after}, expected the next_after of a previous page")
            rows = connection.execute(LIST, values).mappings()
            receipts, next_after = paginate((dict(row) for row in rows), query.limit, "id")
        reply(response, receipts=receipts, next_after=next_after)


class ReceiptCount:
    """Separate from the list: a page of a million receipts is quick to find, but counting them is slow."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @spec.validate(query=Days, resp=responses(ReceiptCounts))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """How many receipts and files the business has, in all or within some days"""
        query: Days = request.context.query
        values = _values(request.context.caller, query)
        try:
            with self._engine.begin() as connection:
                connection.execute(text(f"SET LOCAL statement_timeout = '{COUNT_SECONDS}s'"))
                reply(response, **connection.execute(COUNT, values).mappings().one())
        except DBAPIError as error:
            if not is_timeout(error):
                raise
            reply(response, receipts=None, attachments=None)


class ReceiptFile:
    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._bucket = Bucket(settings)

    @spec.validate(query=NoQuery, resp=responses(Link, 404))
    def on_get(self, request: falcon.Request, response: falcon.Response, receipt_id: str) -> None:
        """A link to the receipt's file; anyone who has the link can read the file while it is valid"""
        number = parse_id(receipt_id, "receipt id")
        caller: Caller = request.context.caller
        with self._engine.begin() as connection:
            values = {"receipt_id": number, "business_id": caller.own_business()}
            row = connection.execute(FILE, values).one_or_none()
        if row is None:
            raise not_found(f"Receipt {number}")
        if row.attachment_id is None:
            raise ApiError(404, "no_file", f"Receipt {number} has no file")
        name = f"receipt-{number}.{row.object_key.rpartition('.')[2]}"
        shown = row.content_type in SHOWN_BY_BROWSERS
        url = self._bucket.link(row.object_key, name, LINK_SECONDS, inline=shown)
        reply(response, url=url, expires_in=LINK_SECONDS, content_type=row.content_type)
