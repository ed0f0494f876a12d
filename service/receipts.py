"""The list of receipts."""

import re
from datetime import date, datetime
from typing import Annotated, Any

import falcon
from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo
from sqlalchemy import Engine, text

from service.auth import Caller
from service.errors import bad_input
from service.jobs import Page, paginate, reply
from service.openapi import Success, responses, spec

# Days are days of received_at in UTC, both inclusive; `after` is the id of the last receipt seen.
LIST = text("""
    SELECT id, vendor, amount::text, currency, received_at, source, source_id, created_at FROM receipts
    WHERE business_id = :business_id AND NOT is_deleted
      AND (CAST(:from_date AS date) IS NULL OR received_at >= CAST(:from_date AS date)::timestamp AT TIME ZONE 'UTC')
      AND (CAST(:to_date AS date) IS NULL
           OR received_at < (CAST(:to_date AS date) + 1)::timestamp AT TIME ZONE 'UTC')
      AND (CAST(:after AS bigint) IS NULL OR (received_at, id) < (:after_received_at, :after))
    ORDER BY received_at DESC, id DESC LIMIT :limit + 1
""")

RECEIVED_AT = text("SELECT received_at FROM receipts WHERE id = :after AND business_id = :business_id")


def _day(value: Any, info: ValidationInfo) -> Any:
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
            raise ValueError
        return datetime.strptime(value, "%Y-%m-%d").date()
    except (TypeError, ValueError):
        raise ValueError(f"Invalid {info.field_name} format: '{value}'. Use YYYY-MM-DD format") from None


Day = Annotated[date, BeforeValidator(_day)]


class ReceiptQuery(Page):
    from_date: Day | None = Field(default=None, description="first day, UTC")
    to_date: Day | None = Field(default=None, description="last day, UTC")
    fromDate: Day | None = Field(default=None, description="the same as from_date")  # noqa: N815 - the seeds' name
    toDate: Day | None = Field(default=None, description="the same as to_date")  # noqa: N815


class Receipt(BaseModel):
    id: int
    vendor: str
    amount: str = Field(description="a decimal number, exact")
    currency: str
    received_at: datetime
    source: str
    source_id: str | None
    created_at: datetime


class ReceiptList(Success):
    receipts: list[Receipt]
    next_after: int | None


def _one(name: str, snake: date | None, camel: date | None) -> date | None:
    if snake is not None and camel is not None and snake != camel:
        raise bad_input(f"Found {name} = {snake} and another day in camelCase: {camel}; expected one of them")
    return snake or camel


class ReceiptCollection:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @spec.validate(query=ReceiptQuery, resp=responses(ReceiptList))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The business's receipts, newest first"""
        query: ReceiptQuery = request.context.query
        caller: Caller = request.context.caller
        values: dict[str, Any] = {
            "business_id": caller.own_business(),
            "from_date": _one("from_date", query.from_date, query.fromDate),
            "to_date": _one("to_date", query.to_date, query.toDate),
            "after": query.after,
            "after_received_at": None,
            "limit": query.limit,
        }
        with self._engine.begin() as connection:
            if query.after is not None:
                values["after_received_at"] = connection.execute(RECEIVED_AT, values).scalar()
                if values["after_received_at"] is None:
                    raise bad_input(f"Found after = {query.after}, expected the next_after of a page before")
            rows = connection.execute(LIST, values).mappings()
            receipts, next_after = paginate((dict(row) for row in rows), query.limit, "id")
        reply(response, receipts=receipts, next_after=next_after)
