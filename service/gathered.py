"""Questions that come while another is being answered are answered together, by the next look.

So many who poll cost one look at a time, and nobody's answer is older than his question.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Generic, TypeVar

from actors.runtime.base.failures import is_transient

PATIENCE_SECONDS = 1.0  # with a look that hangs: then everybody looks alone

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")


@dataclass
class _Round(Generic[Key, Answer]):
    """Those who are answered by one look."""

    keys: set[Key] = field(default_factory=set)
    answers: Mapping[Key, Answer] = field(default_factory=dict)
    error: BaseException | None = None
    ended: Event = field(default_factory=Event)


class Gathered(Generic[Key, Answer]):
    def __init__(self, look: Callable[[Sequence[Key]], Mapping[Key, Answer]]) -> None:
        """`look(keys)` returns what it finds, by key. After an error that may be over one of several questions, each is
        asked alone.
        """
        self._look = look
        self._next = _Round[Key, Answer]()
        self._joining = Lock()
        self._looking = Lock()

    def get(self, key: Key) -> Answer | None:
        """None if it was not found."""
        with self._joining:
            mine = self._next
            leads = not mine.keys
            mine.keys.add(key)
        if leads:
            self._lead(mine)
        elif not mine.ended.wait(PATIENCE_SECONDS):
            return self._look([key]).get(key)
        if mine.error is not None:
            if len(mine.keys) > 1 and not is_transient(mine.error):
                return self._look([key]).get(key)
            raise mine.error
        return mine.answers.get(key)

    def _lead(self, mine: _Round[Key, Answer]) -> None:
        alone = self._looking.acquire(timeout=PATIENCE_SECONDS)
        try:
            with self._joining:
                self._next = _Round()  # who asks from now on needs a later look
            mine.answers = self._look(list(mine.keys))
        except BaseException as error:
            mine.error = error
        finally:
            mine.ended.set()
            if alone:
                self._looking.release()
