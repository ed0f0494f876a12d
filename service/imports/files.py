"""The files that an import names: only from inside one folder, and only images and PDFs by their first bytes.

An import file may come from anybody, so the names in it are not trusted: neither paths nor extensions.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from actors.receipts.files import HEAD_BYTES, content_type

MAX_FILE_BYTES = 50 * 1024 * 1024

# Not through a symlink created since, and without waiting for the other end of a pipe.
OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class File:
    """A file that may be uploaded, as it was when its line was read."""

    path: Path
    content_type: str
    size: int  # bytes
    sha256: bytes


def find_file(folder: Path | None, written: str) -> File:
    """The file that a line names. ValueError if it is not a readable image or PDF inside `folder`."""
    if folder is None:
        raise ValueError(f"file {written!r}: stdin has no folder; use --files-from DIR")
    try:
        path = (folder / written).resolve()
        if not path.is_relative_to(folder):
            raise ValueError("it is outside the folder of the import file; choose another with --files-from DIR")
        with _open(path) as handle:
            found = content_type(handle.read(HEAD_BYTES))
            if found is None:
                raise ValueError("expected an image or a PDF")
            handle.seek(0)
            digest = hashlib.file_digest(handle, "sha256").digest()
            return File(path, found, handle.tell(), digest)
    except FileNotFoundError:
        raise ValueError(f"file {written!r} does not exist") from None
    except OSError as error:
        raise ValueError(f"file {written!r}: {error.strerror or error}") from None
    except (ValueError, RuntimeError) as error:  # a NUL in the name; a loop of symlinks
        raise ValueError(f"file {written!r}: {error}") from None


@contextmanager
def unchanged(file: File) -> Iterator[BufferedReader]:
    """The file, open. ValueError if it has changed, OSError if it can't be read."""
    with _open(file.path) as handle:
        if hashlib.file_digest(handle, "sha256").digest() != file.sha256:
            raise ValueError("it has changed since")
        handle.seek(0)
        yield handle


def _open(path: Path) -> BufferedReader:
    handle = open(path, "rb", opener=lambda name, _flags: os.open(name, OPEN_FLAGS))  # noqa: SIM115 - its caller closes it
    try:
        status = os.fstat(handle.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("expected a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise ValueError(f"found {status.st_size} bytes, expected at most {MAX_FILE_BYTES}")
    except BaseException:
        handle.close()
        raise
    return handle
