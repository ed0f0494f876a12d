"""A file's encoding: from its byte order mark, else as its owner says, else UTF-8."""

import codecs
import re
from typing import BinaryIO

from service.imports.rows import UnreadableFileError

NOT_UTF_8 = "found bytes that are not UTF-8 text"

_BOMS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LEGACY = ("windows-1252", "windows-1255", "windows-1250", "windows-1251")
_FOREIGN = (
    (b"PK\x03\x04", "an Excel workbook or another ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a compressed file"),
)


def find_encoding(head: bytes, told: str | None) -> str:
    """The encoding that the first bytes prove, else the one given. UnreadableFileError if they are not text."""
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            if told is not None and not told.startswith("utf"):
                raise UnreadableFileError(f"found the byte order mark of {encoding}, but --encoding {told}")
            return encoding
    if told is not None:
        return told
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            raise UnreadableFileError(f"found {what}, expected CSV or JSON Lines; save it as CSV")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<table", b"<svg")):
        raise UnreadableFileError("found HTML or XML, expected CSV or JSON Lines")
    if b"\x00" in head:
        for start, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
            if head[start::2].count(0) > len(head) // 4 and not head[1 - start :: 2].count(0):
                raise UnreadableFileError(f"found text that looks like {encoding}; if it is, use --encoding {encoding}")
        raise UnreadableFileError("found binary data, expected CSV or JSON Lines")
    return "utf-8"


def not_utf_8(handle: BinaryIO) -> str:
    """The first text that is not UTF-8, as read in other encodings: its owner knows which is right."""
    handle.seek(0)
    line = next((line for line in handle if undecoded(line.decode("utf-8", "surrogateescape"))), b"")
    word = re.search(rb"[^\x00-\x7f][^,;\t|\r\n]{,19}", line)
    sample = word[0] if word else b""
    read = [f"{sample.decode(encoding, 'replace')!r} as {encoding}" for encoding in _LEGACY]
    return f"{NOT_UTF_8}, which read {', '.join(read)}; choose the right --encoding"


def undecoded(text: str) -> bool:
    """Does it have bytes that are not UTF-8?"""
    return not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)
