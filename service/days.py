"""Days in a query: in UTC, both ends inclusive."""


def within_days(column: str) -> str:
    """The condition that `column` is between the days :from_date and :to_date, if these are given."""
    return f"""
        (CAST(:from_date AS date) IS NULL OR {column} >= CAST(:from_date AS date)::timestamp AT TIME ZONE 'UTC')
        AND (CAST(:to_date AS date) IS NULL
             OR {column} < (CAST(:to_date AS date) + 1)::timestamp AT TIME ZONE 'UTC')
    """
