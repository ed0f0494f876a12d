"""Days in a query: in UTC, as 2025-12-31, both ends inclusive."""

import re
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo


def _day(value: Any, info: ValidationInfo) -> Any:
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
            raise ValueError
        return datetime.strptime(value, "%Y-%m-%d").date()
    except (TypeError, ValueError):
        raise ValueError(f"Invalid {info.field_name} format: '{value}'. Use YYYY-MM-DD format") from None


Day = Annotated[date, BeforeValidator(_day)]


def within_days(column: str) -> str:
    """The condition that `column` is between the days :from_date and :to_date, if these are given."""
    return f"""
        (CAST(:from_date AS date) IS NULL OR {column} >= CAST(:from_date AS date)::timestamp AT TIME ZONE 'UTC')
        AND (CAST(:to_date AS date) IS NULL
             OR {column} < (CAST(:to_date AS date) + 1)::timestamp AT TIME ZONE 'UTC')
    """
