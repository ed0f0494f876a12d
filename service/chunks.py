"""A body that is sent in chunks: how much of it may be framing."""

from waitress.receiver import ChunkedReceiver
from waitress.utilities import BadRequest

MAX_FRAMING_BYTES = 1024  # sizes, extensions, blank lines and trailers; a body of the API has a few chunks
PIECE_BYTES = 512  # looked at together: waitress copies what is left of them for each chunk


class Chunks(ChunkedReceiver):  # type: ignore[misc]
    """Refuses a body of thousands of tiny chunks or blank lines: each costs the loop that reads for everybody a hundred
    times as much as bytes of a body do.
    """

    error: BadRequest | None

    def __init__(self, buffer: object) -> None:
        super().__init__(buffer)
        self._received = 0

    def received(self, data: bytes) -> int:
        used = 0
        while used < len(data) and not (self.completed or self.error):
            taken = super().received(data[used : used + PIECE_BYTES])
            used += taken
            self._received += taken
            if self._received - len(self) > MAX_FRAMING_BYTES:
                self.error = BadRequest("The chunks are too small, or their lines too long")
        return used
