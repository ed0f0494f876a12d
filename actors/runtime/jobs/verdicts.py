"""What an error means for a job, if its kind knows better than the general rules (base/failures.py).

A kind raises these itself, or returns one from its `classify(error)`.
"""

MAX_SNOOZE_SECONDS = 86_400


class Verdict(Exception):  # noqa: N818 - as a snooze, it need not be an error
    """The sentence is for people: it becomes the job's `waiting_for` or `last_error`."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Snooze(Verdict):
    """Continue in `seconds`: the job goes back into the queue, and its thread is free until then."""

    def __init__(self, seconds: float, sentence: str) -> None:
        super().__init__(sentence)
        self.seconds = min(max(seconds, 1.0), float(MAX_SNOOZE_SECONDS))


class Transient(Verdict):
    """The same work may succeed soon: it is retried after a backoff."""


class Permanent(Verdict):
    """A retry would change nothing: the job fails at once and can be resumed. `code` says why to programs."""

    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code


class Interrupted(BaseException):
    """The run must end here: its worker is stopping, or a pause or a cancel was requested.

    Not an Exception, so that no `except Exception` in a kind can swallow it.
    """
