"""A receipt's file type, from its first bytes: an image or a PDF. Its name proves nothing."""

import filetype

HEAD_BYTES = 8192

# Content type → the extension of its object's key. No SVG: it can contain scripts.
SUFFIXES = {
    "application/pdf": ".pdf",
    "image/avif": ".avif",
    "image/gif": ".gif",
    "image/heic": ".heic",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/tiff": ".tif",
    "image/webp": ".webp",
}


def content_type(head: bytes) -> str | None:
    """One of SUFFIXES, from the first HEAD_BYTES of a file; None for anything else."""
    found = filetype.guess_mime(head)
    if found == "image/gif" and not head.startswith((b"GIF87a", b"GIF89a")):
        return None
    return found if found in SUFFIXES else None
