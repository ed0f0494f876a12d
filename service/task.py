"""A request that was read completely, and its response."""

from typing import Any

from waitress.task import WSGITask

# In a request's environment.
IS_TOO_MANY = "longhaul.is_too_many"
LOOKED_UP = "longhaul.looked_up"


class Task(WSGITask):  # type: ignore[misc]
    """A request that was read completely, for the application."""

    wrote_header: bool  # mypy can't see these two in waitress
    content_bytes_written: int

    def get_environment(self) -> dict[str, Any]:
        environment: dict[str, Any] = super().get_environment()
        environment[IS_TOO_MANY] = self.request.is_too_many
        environment[LOOKED_UP] = self.request.looked_up
        return environment

    def write(self, data: bytes) -> None:
        """A body that is written at once goes out with its head: one packet, which wakes the client once."""
        if self.wrote_header or not self.complete or not self.has_body or self.content_length != len(data):
            super().write(data)
            return
        head = self.build_response_header()
        self.wrote_header = True
        self.content_bytes_written = len(data)
        self.channel.write_soon(head + data)

    def set_close_on_finish(self) -> None:
        """Except after a 304 or a 204, which need no length: waitress would close the connection after every poll."""
        asked = self.request.headers.get("CONNECTION", "").lower()
        if self.version == "1.1" and asked != "close" and self.status.startswith(("304", "204")):
            return
        super().set_close_on_finish()
