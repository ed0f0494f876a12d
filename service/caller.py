"""Who makes a request, and what each role may do."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from service.errors import ApiError

WRITERS = ("owner", "admin")


@dataclass(frozen=True)
class Caller:
    business_id: int | None  # None: an operator, who belongs to no business
    user_id: int | None
    role: str
    token_id: int = 0
    allowance: float | None = None  # changes left after the token's last one; None: it never made one
    seconds_since_change: float = 0.0  # since that change
    session_id: int | None = None  # None: not signed in to the page
    expires_at: datetime | None = None  # of the session, or of the token
    shell: str | None = None  # the command line's user, who has no token

    @property
    def name(self) -> str:
        """How this caller is named in a job's events."""
        if self.shell is not None:
            return f"shell:{self.shell}"
        return f"{'operator' if self.role == 'operator' else 'user'}:{self.user_id or 'unnamed'}"

    def require(self, roles: tuple[str, ...]) -> None:
        """403 unless the caller has one of these roles; an operator may do everything."""
        if self.role != "operator" and self.role not in roles:
            raise ApiError(403, "forbidden", f"A token with the role {self.role} may not do this")

    def own_business(self) -> int:
        """The caller's business; 403 for an operator."""
        if self.business_id is None:
            raise ApiError(403, "no_business", "An operator's token has no business; name a job")
        return self.business_id


def name_token(connection: Connection, caller: Caller) -> None:
    """The events of this transaction name the caller's token."""
    connection.execute(text("SELECT set_config('longhaul.token', :id, true)"), {"id": str(caller.token_id)})
