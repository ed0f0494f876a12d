"""The settings: the environment, read once into a frozen object."""

import base64
import binascii
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from actors.runtime.base.errors import ConfigError
from sql.url import checked_url

QUEUES = ("high", "default", "low", "receipts", "receipts_sync", "maintenance", "recordings", "broadcasts")

SECRETS = {
    "DATABASE_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "CONNECTION_KEYS",
}  # their values never appear in errors


def _queue_names(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    unknown = [name for name in names if name not in QUEUES]
    if unknown or not names:
        named = [] if LIKE_A_PASSWORD.search(value) else unknown[:1]
        found = " ".join(["unknown queue", *map(repr, named)]) if unknown else "no queue"
        raise ValueError(f"{found}; the queues are {', '.join(QUEUES)}")
    return names


def _keys(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    keys = tuple(key.strip() for key in value.split(",") if key.strip())
    for key in keys:
        try:
            usable = len(base64.b64decode(key, altchars=b"-_", validate=True)) == 32
        except (binascii.Error, ValueError):
            usable = False
        if not usable:
            raise ValueError("expected 32-byte keys in URL-safe Base64, separated by commas")
    return keys


def _http_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("expected http://… or https://…")
    parts = _split(url)
    if "@" in url or LIKE_A_PASSWORD.search(parts.netloc.rpartition("]")[2]):
        raise ValueError("expected an address without a user: the keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError("expected http://host or https://host, with at most a port and a path")
    return url.rstrip("/")


def _bucket(name: str) -> str:
    if "://" in name or "@" in name:
        raise ValueError("expected the bucket's name, not an address: that is S3_ENDPOINT_URL")
    return name


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("expected an address") from None  # the error repeats what may be a password


def _origin(url: str) -> str:
    parts = _split(url)
    known = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
    if not known or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("expected https://host, with at most a port")
    return url.rstrip("/").lower()


class DatabaseSettings(BaseModel):
    """For commands that only use Postgres."""

    model_config = ConfigDict(frozen=True)

    DATABASE_URL: Annotated[str, AfterValidator(checked_url)] = Field(repr=False)


class KindSettings(BaseModel):
    """Settings that each kind of job can override in the environment as <KIND>_<SETTING>; these are the defaults."""

    BATCH_SIZE: int = Field(default=50, ge=1, le=10_000)
    THROTTLE_MS: int = Field(default=200, ge=0, le=5_000)  # plus a batch of 30 s, still below any stale limit
    MAX_RUNTIME_SECONDS: int = Field(default=300, ge=1, le=86_400)
    GIVE_WAY_SECONDS: int = Field(default=30, ge=1, le=86_400)
    MAX_BATCH_FAILURES: int = Field(default=10, ge=1, le=1000)
    MAX_REFUSALS_IN_A_ROW: int = Field(default=100, ge=0, le=1_000_000)
    STALE_HEARTBEAT_SECONDS: int = Field(default=120, ge=40, le=86_400)
    STALE_UPDATE_SECONDS: int = Field(default=300, ge=40, le=86_400)
    COOLDOWN_SECONDS: int = Field(default=0, ge=0, le=86_400)  # between two starts of a business and key
    RUNNING_PER_BUSINESS: int = Field(default=0, ge=0, le=10_000)  # jobs of this kind; 0: any number


# Variables of one kind: they are read once the kinds are known.
OF_A_KIND = re.compile(r"[A-Z][A-Z0-9_]*_(SECONDS|MS|SIZE|FAILURES|ROW|BUSINESS)")


class Settings(KindSettings, DatabaseSettings):
    """One field per variable; the README's table says what each is for."""

    S3_ENDPOINT_URL: Annotated[str, AfterValidator(_http_url)] | None = None
    S3_BUCKET: Annotated[str, AfterValidator(_bucket)] = Field(min_length=3)
    AWS_ACCESS_KEY_ID: str = Field(min_length=1, repr=False)
    AWS_SECRET_ACCESS_KEY: str = Field(min_length=1, repr=False)
    AWS_SESSION_TOKEN: str | None = Field(default=None, repr=False)
    AWS_REGION: str = "us-east-1"
    PUBLIC_URL: Annotated[str, AfterValidator(_origin)] | None = None  # where browsers reach the page
    WORKER_PROCESSES: int = Field(default=1, ge=1, le=64)
    WORKER_THREADS: int = Field(default=8, ge=1, le=64)
    WORKER_QUEUES: Annotated[tuple[str, ...], BeforeValidator(_queue_names)] = QUEUES
    CONNECTION_KEYS: Annotated[tuple[str, ...], BeforeValidator(_keys)] = Field(default=(), repr=False)
    ALLOW_PRIVATE_HOSTS: bool = False
    MAX_MAILS: int = Field(default=1_000_000, ge=1, le=1_000_000_000)  # that are listed of one business
    UNDO_DAYS: int = Field(default=0, ge=0, le=365)
    CHANGES_AT_ONCE: int = Field(default=60, ge=0, le=100_000)
    CHANGES_PER_SECOND: float = Field(default=1, gt=0, le=100_000)
    READS_PER_SECOND: int = Field(default=200, ge=0, le=100_000)
    REQUESTS_AT_ONCE: int = Field(default=32, ge=0, le=100_000)
    MESSAGE_RETENTION_DAYS: int = Field(default=7, ge=1, le=3650)
    JOB_RETENTION_DAYS: int = Field(default=90, ge=1, le=3650)
    LOG_FORMAT: Literal["console", "json"] = "console"
    RELEASE: str = "unknown"
    of_kinds: dict[str, str] = Field(default_factory=dict, repr=False)  # see KindSettings


AnySettings = TypeVar("AnySettings", bound=DatabaseSettings)


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises ConfigError naming every missing or invalid variable. An empty variable counts as not set."""
    return load(Settings, environment)


def load(model: type[AnySettings], environment: Mapping[str, str] = os.environ) -> AnySettings:
    given = {name: environment[name] for name in model.model_fields if environment.get(name)}
    if "of_kinds" in model.model_fields:
        of_kinds = {name: value for name, value in environment.items() if value and OF_A_KIND.fullmatch(name)}
        given["of_kinds"] = of_kinds  # type: ignore[assignment]
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(e["loc"][0], e["msg"], given) for e in error.errors())) from None


# As in an address: user:password, a port that is none, %40, a query. What may be one is never repeated.
LIKE_A_PASSWORD = re.compile(r"[@?#%]|:(?!//|\d{1,5}(?:/|$))")


def shown(value: object) -> str:
    """A setting's value, for a message; not if it may be a password."""
    return "its value" if LIKE_A_PASSWORD.search(str(value)) else repr(value)


def _sentence(name: Any, message: str, given: Mapping[str, str]) -> str:
    if name not in given:
        return f"{name} is not set"
    found = "its value" if name in SECRETS else shown(given[name])
    return f"{name}: {found} is not usable: {message.removeprefix('Value error, ')}"
