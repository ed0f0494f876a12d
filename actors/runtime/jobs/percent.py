"""A job's progress, as a number for people."""


def percent(processed: int, total: int | None) -> float:
    """0.0 to 100.0 with one decimal; 0.0 if the total is unknown or zero."""
    return min(round(100 * processed / total, 1), 100.0) if total else 0.0
