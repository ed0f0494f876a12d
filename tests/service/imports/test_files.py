"""The files that an import names: an import file may come from anybody."""

import os
from pathlib import Path

import pytest

from service.imports import files
from service.imports.files import find_file, unchanged
from tests.service.imports.conftest import JPEG, PDF, PNG


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "scans").mkdir(parents=True)
    (tmp_path / "outside.pdf").write_bytes(PDF)
    (tmp_path / "in" / "a.pdf").write_bytes(PDF)
    (tmp_path / "in" / "scans" / "b.png").write_bytes(PNG)
    return (tmp_path / "in").resolve()


@pytest.mark.parametrize("name", ["a.pdf", "scans/b.png", "./a.pdf", "scans/../a.pdf"])
def test_a_file_inside_the_folder_is_found(name: str, folder: Path) -> None:
    file = find_file(folder, name)
    assert file.content_type in ("application/pdf", "image/png")
    assert len(file.sha256) == 32


def test_a_link_to_a_file_inside_the_folder_is_followed(folder: Path) -> None:
    (folder / "link.pdf").symlink_to("a.pdf")
    assert find_file(folder, "link.pdf").path == folder / "a.pdf"


@pytest.mark.parametrize(
    "name",
    ["../outside.pdf", "scans/../../outside.pdf", "/etc/passwd", "/proc/self/environ", "..", "/", "../in2/a.pdf"],
)
def test_nothing_outside_the_folder_is_read(name: str, folder: Path) -> None:
    with pytest.raises(ValueError, match="outside the folder"):
        find_file(folder, name)


def test_no_link_leads_outside_the_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "link.pdf").symlink_to(tmp_path / "outside.pdf")
    (folder / "dir").symlink_to(tmp_path)
    (folder / "chain.pdf").symlink_to("link.pdf")
    for name in ("link.pdf", "dir/outside.pdf", "chain.pdf"):
        with pytest.raises(ValueError, match="outside the folder"):
            find_file(folder, name)


def test_what_is_no_readable_file_is_named(folder: Path) -> None:
    (folder / "loop.pdf").symlink_to("loop.pdf")
    (folder / "empty.pdf").write_bytes(b"")
    os.mkfifo(folder / "pipe.pdf")
    for name, says in (
        ("none.pdf", "does not exist"),
        ("a.pdf/b.pdf", "Not a directory"),
        ("scans", "Is a directory"),
        (".", "Is a directory"),
        ("loop.pdf", "oop"),
        ("pipe.pdf", "expected a regular file"),
        ("empty.pdf", "expected an image or a PDF"),
        ("x" * 300, "too long"),
        ("nul\x00.pdf", "null"),
        ("https://example.com/a.pdf", "does not exist"),
    ):
        with pytest.raises(ValueError, match=f"file .*{says}"):
            find_file(folder, name)


@pytest.mark.parametrize(
    "content",
    [b"<html><script>alert(1)</script>", b"\x1f\x8b\x08\x00" + PDF, b"<svg onload='x()'/>",
     b"<?xml version='1.0'?><svg/>",
     b"MZ\x90\x00", b"PK\x03\x04", b"GIF, said the text", b"#!/bin/sh\n", b"\x00" * 100, b"text " + PDF, b"\x7fELF"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["x.png", "x.pdf"])
def test_the_name_of_a_file_proves_nothing(content: bytes, name: str, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match="expected an image or a PDF"):
        find_file(folder, name)


def test_a_file_that_is_too_large_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", len(PDF) - 1)
    with pytest.raises(ValueError, match="found 9 bytes, expected at most 8"):
        find_file(folder, "a.pdf")


def test_a_file_without_permission_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("service.imports.files.os.open", refuse)
    with pytest.raises(ValueError, match=r"file 'a.pdf': Permission denied"):
        find_file(folder, "a.pdf")


def test_an_error_of_the_disk_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("service.imports.files.hashlib.file_digest", fail)
    with pytest.raises(ValueError, match=r"file 'a.pdf': Input/output error"):
        find_file(folder, "a.pdf")


def test_stdin_has_no_folder() -> None:
    with pytest.raises(ValueError, match="--files-from DIR"):
        find_file(None, "a.pdf")


def test_a_file_is_opened_again_only_as_it_was(folder: Path, tmp_path: Path) -> None:
    file = find_file(folder, "a.pdf")
    with unchanged(file) as handle:
        assert handle.read() == PDF
    (folder / "a.pdf").write_bytes(JPEG)
    with pytest.raises(ValueError, match="it has changed since"), unchanged(file):
        pass
    (folder / "a.pdf").unlink()
    (folder / "a.pdf").symlink_to(tmp_path / "outside.pdf")
    with pytest.raises(OSError, match="symbolic link"), unchanged(file):
        pass
