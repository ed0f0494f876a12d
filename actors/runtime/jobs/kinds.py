"""Kinds of jobs: how one is declared, and how they are found."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection

import actors
from actors.runtime.base.config import QUEUES, Settings
from actors.runtime.base.errors import KindError
from actors.runtime.jobs.run import Batch, Run

Work = Callable[[Run], Iterator[Batch]]
Count = Callable[[Connection, int, dict[str, Any]], int]


@dataclass(frozen=True)
class Kind:
    """A kind of job: the generator that does its work, and what the runtime needs to know to run it."""

    name: str  # job_type, and the name of its Dramatiq actor
    queue: str
    work: Work
    count: Count | None = None  # (connection, business_id, params) → how many items there are
    done_label: str = "succeeded"  # what was done to an item, in the log
    defaults: dict[str, int] = field(default_factory=dict)  # settings of this kind that differ from the general ones

    def setting(self, settings: Settings, name: str) -> int:
        """A setting such as BATCH_SIZE, as it holds for this kind."""
        value: int = self.defaults.get(name, getattr(settings, name))
        return value


def job_kind(
    *, queue: str, count: Count | None = None, done_label: str = "succeeded", **defaults: int
) -> Callable[[Work], Kind]:
    """Declares the function below it as a kind of job, named like the function.

    `defaults` are settings that this kind has for itself, in lower case: `batch_size=200`, `throttle_ms=0`.
    """
    if queue not in QUEUES:
        raise KindError(f"found the queue {queue!r}, expected one of {', '.join(QUEUES)}")
    own = {name.upper(): value for name, value in defaults.items()}
    if unknown := own.keys() - Settings.model_fields.keys():
        raise KindError(f"found the setting {min(unknown).lower()!r}, expected one of Settings")

    for name, value in own.items():
        field = Settings.model_fields[name]
        try:
            TypeAdapter[Any](Annotated[field.annotation, *field.metadata]).validate_python(value)  # type: ignore[arg-type]
        except ValidationError as error:
            raise KindError(f"{name.lower()}: {value!r} is not usable: {error.errors()[0]['msg']}") from None

    def declare(work: Work) -> Kind:
        return Kind(work.__name__, queue, work, count, done_label, own)

    return declare


def load_kinds() -> dict[str, Kind]:
    """Every kind, by name: each module in actors/ is one. KindError names one that can't be imported or is none."""
    kinds = {}
    for module in pkgutil.iter_modules(actors.__path__):
        if module.ispkg:  # what several kinds share
            continue
        try:
            found = vars(importlib.import_module(f"actors.{module.name}")).get(module.name)
        except Exception as error:
            raise KindError(f"actors/{module.name}.py cannot be imported: {error!r}") from error
        if not isinstance(found, Kind):
            raise KindError(f"actors/{module.name}.py declares no job kind named {module.name}")
        kinds[found.name] = found
    return kinds
