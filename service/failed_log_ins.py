"""How often log-ins may fail or take long: nobody guesses passwords through us, or takes others' time."""

import math

from sqlalchemy import Engine, text

from service.errors import ApiError

AT_ONCE = 5
SECONDS_EACH = 60  # until one more may fail

LEFT = """
    least(CAST(:most AS float8), f.allowance + extract(epoch FROM clock_timestamp() - f.at)::float8 / :seconds)
"""
FIND = text(f"SELECT {LEFT} FROM failed_log_ins f WHERE business_id = :business_id")  # noqa: S608 - constants
SPEND = text(f"""
    INSERT INTO failed_log_ins AS f (business_id, allowance, at)
    VALUES (:business_id, CAST(:most AS float8) - 1, clock_timestamp())
    ON CONFLICT (business_id) DO UPDATE SET at = clock_timestamp(), allowance = {LEFT} - 1
""")  # noqa: S608 - constants


class FailedLogIns:
    """Of a business, whatever the host: the same server has many names."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def refuse(self, business_id: int) -> None:
        """429 when too many have failed or took long."""
        with self._engine.begin() as connection:
            left = connection.execute(FIND, self._values(business_id)).scalar()
        if left is not None and left < 1:
            seconds = math.ceil((1 - left) * SECONDS_EACH)
            raise ApiError(
                429,
                "too_many_requests",
                f"Found more than {AT_ONCE} log-ins that failed or took long; try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
                retry_after=seconds,
            )

    def spend(self, business_id: int) -> None:
        with self._engine.begin() as connection:
            connection.execute(SPEND, self._values(business_id))

    def _values(self, business_id: int) -> dict[str, int]:
        return {"business_id": business_id, "most": AT_ONCE, "seconds": SECONDS_EACH}
