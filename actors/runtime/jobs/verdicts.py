"""What an error means for a job, where its kind knows better than the general rules (base/failures.py).

A kind raises these itself, or returns one from its `classify(error)`.
"""

MAX_SNOOZE_SECONDS = 86_400


class Verdict(Exception):  # noqa: N818 - as a snooze, it need not be an error
    """The sentence is for people: it becomes the job's `waiting_for` or `last_error`."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Snooze(Verdict):
    """Go on in so many seconds: the job goes back into the queue and its thread is free meanwhile."""

    def __init__(self, seconds: float, sentence: str) -> None:
        super().__init__(sentence)
        self.seconds = min(max(seconds, 1.0), float(MAX_SNOOZE_SECONDS))


class Transient(Verdict):
    """The same work may succeed soon: it is tried again after a backoff."""


class Permanent(Verdict):
    """Trying again changes nothing: the job fails at once, resumable. `code` says why to programs."""

    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code


class Interrupted(BaseException):
    """The run shall end here: its worker is stopping, or somebody asked for a pause or a cancel.

    Not an Exception, so that no `except Exception` in a kind can swallow it.
    """
