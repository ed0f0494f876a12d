"""How far a job is, as a number for people."""


def percent(processed: int, total: int | None) -> float:
    """0.0 to 100.0 with one decimal; 0.0 while the total is unknown or nothing."""
    return min(round(100 * processed / total, 1), 100.0) if total else 0.0
