"""Uploads files to the bucket, several at a time.

If an attachment has no size, its upload is not known to have finished; running the import again uploads it.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event

from sqlalchemy import Engine, text

from actors.runtime.base.errors import StorageError
from actors.runtime.base.storage import Bucket
from service.imports.files import unchanged
from service.imports.store import Item
from sql.engine import lift_time_limits

THREADS = 8
GROUP = 16  # files in one transaction, because a transaction costs more than a small file
GROUP_BYTES = 1024 * 1024  # in one transaction, because a delete job waits for it

# Locked during the uploads: a delete job that wants these attachments waits, so it never misses an object that is
# arriving. If this process dies in between, the rows still name the objects. Rows that are already locked are being
# uploaded by another import, or about to be deleted.
HOLD = text("""
    SELECT id, object_key, content_type FROM attachments
    WHERE id = ANY(:ids) AND size IS NULL AND purge_requested_at IS NULL FOR UPDATE SKIP LOCKED
""")

UPLOADED = text("""
    UPDATE attachments a SET size = file.size
    FROM unnest(CAST(:ids AS bigint[]), CAST(:sizes AS bigint[])) AS file (id, size) WHERE a.id = file.id
""")

Waiting = tuple[int, Item]  # an attachment's id, and the line that created it


@dataclass
class Uploaded:
    files: int = 0
    failed: list[str] = field(default_factory=list)  # a sentence for each line whose file can no longer be read


class Uploader:
    """Uploads on its own threads, which end with the block."""

    def __init__(self, engine: Engine, bucket: Bucket) -> None:
        self._engine, self._bucket = engine, bucket
        self._pool = ThreadPoolExecutor(THREADS, "upload")
        self._refused = Event()

    def __enter__(self) -> "Uploader":
        return self

    def __exit__(self, *_error: object) -> None:
        self._refused.set()
        self._pool.shutdown(cancel_futures=True)

    def upload(self, waiting: Sequence[Waiting]) -> Uploaded:
        """Uploads all. StorageError if the bucket refuses one: earlier uploads are kept, the rest is left."""
        tasks: list[Future[Uploaded]] = [self._pool.submit(self._group, group) for group in _groups(waiting)]
        done = [task.result() for task in tasks]
        return Uploaded(sum(group.files for group in done), [why for group in done for why in group.failed])

    def _group(self, group: list[Waiting]) -> Uploaded:
        sizes: dict[int, int] = {}
        found, refusal = Uploaded(), None
        with self._engine.begin() as connection:
            lift_time_limits(connection)  # for a large file on a slow connection
            held = {row.id: row for row in connection.execute(HOLD, {"ids": [number for number, _ in group]})}
            for number, item in group:
                if number not in held or item.file is None or self._refused.is_set():
                    continue
                try:
                    with unchanged(item.file) as handle:
                        sizes[number] = self._bucket.put(held[number].object_key, handle, held[number].content_type)
                except (OSError, ValueError) as error:
                    why = error.strerror if isinstance(error, OSError) and error.strerror else error
                    found.failed.append(f"line {item.number}: its receipt is created but its file not uploaded: {why}")
                except StorageError as error:
                    self._refused.set()
                    refusal = error
            connection.execute(UPLOADED, {"ids": list(sizes), "sizes": list(sizes.values())})
        if refusal is not None:
            raise refusal
        found.files = len(sizes)
        return found


def _groups(waiting: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    group: list[Waiting] = []
    size = 0
    for number, item in waiting:
        group.append((number, item))
        size += item.file.size if item.file else 0
        if len(group) >= GROUP or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
