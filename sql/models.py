"""The tables. The migrations make them; tests/sql/test_schema.py proves that both say the same."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Double,
    Enum,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sql.states import ACTIVE, FINISHED, REQUESTS, STATUSES


def one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "ck": "%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a class attribute
        int: BigInteger,
        str: Text,
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
    }


class Business(Base):
    __tablename__ = "businesses"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiToken(Base):
    __tablename__ = "api_tokens"
    __table_args__ = (
        CheckConstraint(one_of("role", ("owner", "admin", "member", "operator")), name="role_known"),
        CheckConstraint("(role = 'operator') = (business_id IS NULL)", name="operator_has_no_business"),
        CheckConstraint("octet_length(token_sha256) = 32", name="sha256_length"),
        UniqueConstraint("id", name="uq_api_tokens_id"),
    )

    token_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    business_id: Mapped[int | None] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    user_id: Mapped[int | None]
    role: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    id: Mapped[int] = mapped_column(Identity())
    name: Mapped[str | None]
    expires_at: Mapped[datetime | None]
    issued_by: Mapped[str | None]


class TokenChanges(Base):
    """How many changes a token may still make, at a moment. No foreign key: see service/rates.py."""

    __tablename__ = "token_changes"

    token_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    allowance: Mapped[float] = mapped_column(Double)
    at: Mapped[datetime]


class Receipt(Base):
    __tablename__ = "receipts"
    __table_args__ = (
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
        CheckConstraint("is_deleted = (deleted_at IS NOT NULL)", name="deleted_at_iff_deleted"),
        # An import or a sync never brings back a deleted receipt: its line meets this and is passed over.
        UniqueConstraint("business_id", "source", "source_id", name="uq_receipts_business_source"),
        # Which receipts of this business come next? (the keyset of every job)
        Index("idx_receipts_live", "business_id", "id", postgresql_where=text("NOT is_deleted")),
        # Which are the newest of this business, or those of some days? (the list)
        Index(
            "idx_receipts_received",
            "business_id",
            "received_at",
            "id",
            postgresql_where=text("NOT is_deleted"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id"))
    vendor: Mapped[str]
    amount: Mapped[Decimal] = mapped_column(Numeric(14, 2))
    currency: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    source: Mapped[str] = mapped_column(server_default="manual")
    source_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    is_deleted: Mapped[bool] = mapped_column(server_default=false())
    deleted_at: Mapped[datetime | None]


class Attachment(Base):
    """A file of a receipt in the bucket, and the outbox of its deletion.

    `size` is null until the object is known to be in the bucket. `purge_requested_at` set and `purged_at`
    null means: the object has to go. Whoever deletes it first moves `purge_after` into the future (a lease).
    """

    __tablename__ = "attachments"
    __table_args__ = (
        UniqueConstraint("object_key", name="uq_attachments_object_key"),
        CheckConstraint("size >= 0", name="size_not_negative"),
        CheckConstraint("octet_length(sha256) = 32", name="sha256_length"),
        # Not for those that are to be purged, which may be older than this rule: their updates must not fail.
        CheckConstraint(
            "purge_requested_at IS NOT NULL "
            r"OR octet_length(object_key) BETWEEN 1 AND 1024 AND object_key !~ '[[:cntrl:]]|^/|//|\.\.'",
            name="object_key_form",
        ),
        CheckConstraint("purge_attempts >= 0", name="purge_attempts_not_negative"),
        CheckConstraint("purged_at IS NULL OR purge_requested_at IS NOT NULL", name="purged_only_on_request"),
        CheckConstraint("(purge_requested_at IS NULL) = (purge_after IS NULL)", name="purge_after_iff_requested"),
        # Which files belong to these receipts?
        Index("idx_attachments_receipt", "receipt_id"),
        # Which objects are due to be deleted?
        Index(
            "idx_attachments_purge_due",
            "purge_after",
            postgresql_where=text("purge_requested_at IS NOT NULL AND purged_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    receipt_id: Mapped[int] = mapped_column(ForeignKey("receipts.id"))
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id"))
    object_key: Mapped[str]
    content_type: Mapped[str]
    size: Mapped[int | None]
    sha256: Mapped[bytes | None]  # of the file that belongs here, also before it is uploaded
    purge_requested_at: Mapped[datetime | None]
    purge_after: Mapped[datetime | None]
    purge_attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    purge_job_id: Mapped[int | None]  # no foreign key: a job that is cleared away leaves its number
    purged_at: Mapped[datetime | None]
    purge_error: Mapped[str | None]


class AttachmentCounts(Base):
    """How many attachments a job has asked to be purged, by what became of them. Triggers keep it; see
    functions/jobs/count_attachments.sql. No foreign key: a job that is cleared away leaves what it asked for.
    """

    __tablename__ = "attachment_counts"
    __table_args__ = {"postgresql_with": {"fillfactor": 50}}  # noqa: RUF012 - SQLAlchemy reads it as a class attribute

    job_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    deleted: Mapped[int]
    kept: Mapped[int]  # deleted, but the store keeps earlier versions
    failed: Mapped[int]  # … so far; they are tried again
    pending: Mapped[int]
    error: Mapped[str | None]  # the last, while some have failed or wait


class Worker(Base):
    """One boot of one worker process. Alive: see functions/workers/live_workers.sql."""

    __tablename__ = "workers"

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)  # int4: half of an advisory lock's key
    hostname: Mapped[str]
    pid: Mapped[int] = mapped_column(Integer)
    queues: Mapped[list[str]]
    release: Mapped[str]
    kinds: Mapped[list[str] | None]  # of jobs, that it knows; null: it does not say
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    stopped_at: Mapped[datetime | None]


class BackgroundJob(Base):
    __tablename__ = "background_jobs"
    __table_args__ = (
        CheckConstraint(one_of("status", STATUSES), name="status_known"),
        CheckConstraint(one_of("requested", REQUESTS), name="requested_known"),
        CheckConstraint("requested IS NULL OR status = 'running'", name="requested_only_while_running"),
        CheckConstraint(f"({one_of('status', FINISHED)}) = (finished_at IS NOT NULL)", name="finished_at_iff_finished"),
        CheckConstraint("processed = succeeded + failed_count", name="processed_adds_up"),
        CheckConstraint(
            "processed >= 0 AND succeeded >= 0 AND failed_count >= 0 AND total >= 0",
            name="counters_not_negative",
        ),
        CheckConstraint("attempt >= 0 AND recoveries >= 0", name="attempts_not_negative"),
        CheckConstraint("refusals >= 0", name="refusals_not_negative"),
        # Has this business a job of this type in this state?
        Index("idx_background_jobs_business_type_status", "business_id", "job_type", "status"),
        # Which jobs are old enough to clear away? Which came last?
        Index("idx_background_jobs_created_at", "created_at"),
        # One active job per business and type: the second start of two at once meets this.
        Index(
            "idx_background_jobs_unique_active",
            "business_id",
            "job_type",
            unique=True,
            postgresql_where=text(one_of("status", ACTIVE)),
        ),
        # Which jobs wait, and which run with which worker? (the sweep)
        Index(
            "idx_background_jobs_sweep",
            "status",
            "worker_id",
            postgresql_where=text(one_of("status", ("queued", "running"))),
        ),
        # Room on each page, so that a checkpoint (which writes no indexed column) is a HOT update.
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id"))
    job_type: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="queued")
    requested: Mapped[str | None]
    total: Mapped[int | None]
    processed: Mapped[int] = mapped_column(server_default=text("0"))
    succeeded: Mapped[int] = mapped_column(server_default=text("0"))
    failed_count: Mapped[int] = mapped_column(server_default=text("0"))
    refusals: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # in a row, since the last success
    last_error: Mapped[str | None]  # of a row, or of the end
    waiting_for: Mapped[str | None]  # what keeps a running job now
    cursor: Mapped[dict[str, Any] | None]
    params: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    stats: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    recoveries: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    resends: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # of its message, since the last claim
    resent_at: Mapped[datetime | None]
    worker_id: Mapped[int | None] = mapped_column(Integer)
    queue: Mapped[str]
    actor: Mapped[str]
    message_id: Mapped[UUID | None]
    requested_by_user_id: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]


class WatchedClock(Base):
    """When somebody looked at the server's clock last, and the last gap: see functions/workers/silence.sql."""

    __tablename__ = "watched_clock"
    __table_args__ = (
        CheckConstraint("one", name="one_row"),
        {"postgresql_with": {"fillfactor": 20}},
    )

    one: Mapped[bool] = mapped_column(primary_key=True, server_default=true())
    seen_at: Mapped[datetime | None]
    gap_from: Mapped[datetime | None]
    gap_to: Mapped[datetime | None]


class JobEvent(Base):
    """What happened to a job, in the transaction in which it happened. Rows are never changed."""

    __tablename__ = "job_events"
    __table_args__ = (
        # What happened to this job, in order?
        Index("idx_job_events_job", "job_id", "id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("background_jobs.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    event: Mapped[str]
    from_status: Mapped[str | None]
    to_status: Mapped[str]
    actor: Mapped[str]  # "user:7", "worker:12", "sweep", or whoever typed it in psql
    reason: Mapped[str | None]
    attempt: Mapped[int] = mapped_column(Integer)
    worker_id: Mapped[int | None] = mapped_column(Integer)
    detail: Mapped[dict[str, Any] | None]


# dramatiq-pg's table. The columns up to result_ttl are as dramatiq-pg 0.12 makes them (its own processes may put
# messages in), those after it are ours.
message_state = Enum("queued", "consumed", "rejected", "done", name="state", schema="dramatiq", metadata=Base.metadata)
queue = Table(
    "queue",
    Base.metadata,
    Column("message_id", Uuid, primary_key=True),
    Column("queue_name", Text, nullable=False, server_default="default"),
    Column("state", message_state),
    Column("mtime", DateTime(timezone=True), server_default=text("(now() AT TIME ZONE 'UTC')")),
    Column("message", JSONB),
    Column("result", JSONB),
    Column("result_ttl", DateTime(timezone=True)),
    Column("seq", BigInteger, Identity()),  # the order in which messages are taken; mtime is hours off outside UTC
    Column("worker_id", Integer),  # who has it, while consumed
    Column("delivery", Integer, nullable=False, server_default=text("0")),  # fences an ack of an earlier delivery
    Column("losses", Integer, nullable=False, server_default=text("0")),  # workers that died with it, in a row
    Column("reason", Text),  # why it was rejected
    Column("eta", Numeric, Computed("((message -> 'options') ->> 'eta')::numeric", persisted=True)),  # in ms
    # Which messages ended long ago? (retention)
    Index("queue_ended_idx", "mtime", postgresql_where=text("state IN ('done', 'rejected')")),
    # Which messages of a queue are next?
    Index("queue_waiting_idx", "queue_name", "seq", postgresql_where=text("state = 'queued'")),
    # Which delayed messages are due?
    Index("queue_delayed_idx", "eta", postgresql_where=text("state = 'queued' AND eta IS NOT NULL")),
    # Which messages were lost with a worker?
    Index("queue_lost_idx", "seq", postgresql_where=text("state = 'queued' AND losses > 0")),
    # What does this worker hold?
    Index("queue_claimed_idx", "worker_id", postgresql_where=text("state = 'consumed'")),
    schema="dramatiq",
    postgresql_with={
        "fillfactor": 80,
        "autovacuum_vacuum_scale_factor": 0.01,
        "autovacuum_vacuum_cost_delay": 0,
        "autovacuum_analyze_scale_factor": 0.02,
    },
)
