"""Kinds of jobs: how one is declared, and how they are found."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection

import actors
from actors.runtime.base.config import QUEUES, KindSettings, Settings, shown
from actors.runtime.base.errors import ConfigError, KindError, LonghaulError
from actors.runtime.jobs.batch import Batch
from actors.runtime.jobs.params import Params
from actors.runtime.jobs.run import Run
from actors.runtime.jobs.verdicts import Verdict

OWNERS = ("owner", "admin")

Work = Callable[[Run[Any]], Iterator[Batch]]


@dataclass(frozen=True)
class Start:
    """What a kind's `prepare` and `count` know about a start. They run in its transaction."""

    connection: Connection
    business_id: int
    settings: Settings


class RefusedError(LonghaulError):
    """A kind's `prepare` refuses the start; `code` says why to programs."""

    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code


class MissingError(LonghaulError):
    """A kind's `prepare` finds nothing of that name or number in this business."""


@dataclass(frozen=True)
class Result:
    """A file that a job has made."""

    object_key: str
    filename: str  # to save it as


@dataclass(frozen=True)
class Kind:
    """A kind of job: the generator that does its work, and what the runtime and the API need to know about it."""

    name: str  # job_type, and the name of its Dramatiq actor
    queue: str
    work: Work
    params: type[Params] = Params
    done_label: str = "succeeded"  # what was done to an item, for the log and the page
    roles: tuple[str, ...] = OWNERS  # that may start it
    confirm: str | None = None  # the confirmation word for a start
    key: Callable[[Any], str] = lambda _params: ""  # one active job at a time per business and key
    complete: Callable[[Start, Any], Any] | None = None  # → the params with what a caller may omit
    prepare: Callable[[Start, Any], Any] | None = None  # → the params with what is fixed at the start
    count: Callable[[Start, Any], int] | None = None  # → how many items there are
    # Job ids → stats to show. While the job moves, a poll with If-None-Match asks for them after each batch only.
    stats: Callable[[Connection, Sequence[int]], Mapping[int, dict[str, Any]]] | None = None
    result: Callable[[Connection, Mapping[str, Any]], "Result | None"] | None = None  # the job's row → its file
    undoes: str | None = None  # the name of the kind whose jobs it undoes, for UNDO_DAYS
    classify: Callable[[Exception], Verdict | None] | None = None  # comes before the general rules
    old_names: tuple[str, ...] = ()  # jobs started under these are still performed
    old_settings: Mapping[str, str] = field(default_factory=dict)  # COOLDOWN_SECONDS → the variable's former name
    defaults: Mapping[str, Any] = field(default_factory=dict)  # settings of this kind that differ from the general ones

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.old_names)

    def setting(self, settings: Settings, name: str) -> Any:
        """A setting such as BATCH_SIZE, for this kind.

        From the environment as <KIND>_<SETTING> or its former name; else as the kind declares it; else the general one.
        """
        for variable in (f"{self.name.upper()}_{name}", self.old_settings.get(name)):
            if variable in settings.of_kinds:
                return _usable(variable, name, settings.of_kinds[variable])
        return self.defaults.get(name, getattr(settings, name))

    def check(self, settings: Settings) -> None:
        """ConfigError naming this kind's variable if it is invalid."""
        for name in KindSettings.model_fields:
            self.setting(settings, name)


def _usable(variable: str, name: str, value: Any) -> Any:
    try:
        return _adapter(name).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{variable}: {shown(value)} is not usable: {error.errors()[0]['msg']}") from None


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    field = KindSettings.model_fields[name]
    return TypeAdapter(Annotated[field.annotation, *field.metadata])  # type: ignore[arg-type]


def job_kind(
    *,
    queue: str,
    params: type[Params] = Params,
    done_label: str = "succeeded",
    roles: Iterable[str] = OWNERS,
    confirm: str | None = None,
    key: Callable[[Any], str] = lambda _params: "",
    complete: Callable[[Start, Any], Any] | None = None,
    prepare: Callable[[Start, Any], Any] | None = None,
    count: Callable[[Start, Any], int] | None = None,
    stats: Callable[[Connection, Sequence[int]], Mapping[int, dict[str, Any]]] | None = None,
    result: Callable[[Connection, Mapping[str, Any]], "Result | None"] | None = None,
    undoes: str | None = None,
    classify: Callable[[Exception], Verdict | None] | None = None,
    old_names: Iterable[str] = (),
    old_settings: Mapping[str, str] | None = None,
    **settings: Any,
) -> Callable[[Work], Kind]:
    """Declares the function below it as a kind of job, named like the function. What each field is for: Kind.

    `settings` are this kind's own, in lower case: `batch_size=200`, `cooldown_seconds=60`.
    """
    _check_queue(queue)
    said = (params, done_label, tuple(roles), confirm, key, complete, prepare, count, stats, result, undoes, classify)
    of_old, own = (tuple(old_names), old_settings or {}), _own_settings(settings)
    return lambda work: Kind(work.__name__, queue, work, *said, *of_old, own)


def _check_queue(queue: str) -> None:
    if queue not in QUEUES:
        raise KindError(f"found the queue {queue!r}, expected one of {', '.join(QUEUES)}")


def _own_settings(declared: Mapping[str, Any]) -> dict[str, Any]:
    own = {name.upper(): value for name, value in declared.items()}
    if unknown := own.keys() - KindSettings.model_fields.keys():
        raise KindError(f"found {min(unknown).lower()!r}, expected a setting: {', '.join(KindSettings.model_fields)}")
    for name, value in own.items():
        try:
            _usable(name.lower(), name, value)
        except ConfigError as error:
            raise KindError(str(error)) from None
    return own


def load_kinds() -> dict[str, Kind]:
    """Every kind, by name: each module in actors/ is one. KindError names one that is not, or can't be imported."""
    kinds = {}
    for module in pkgutil.iter_modules(actors.__path__):
        if module.ispkg:  # shared by several kinds
            continue
        try:
            found = vars(importlib.import_module(f"actors.{module.name}")).get(module.name)
        except Exception as error:
            raise KindError(f"actors/{module.name}.py cannot be imported: {error!r}") from error
        if not isinstance(found, Kind):
            raise KindError(f"actors/{module.name}.py declares no job kind named {module.name}")
        kinds[found.name] = found
    return kinds


def by_every_name(kinds: Iterable[Kind]) -> dict[str, Kind]:
    """The kinds by the job_types that they perform, old names included."""
    return {name: kind for kind in kinds for name in kind.names}
