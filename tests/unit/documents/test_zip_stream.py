"""Archives that are made while they are sent."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import pytest

from lightwell.documents.zip_stream import ArchivedFile, zip_stream

NOON = (2026, 11, 30, 12, 0, 0)


def test_is_sent_piece_by_piece_and_holds_what_was_put_in() -> None:
    made = []

    def pieces(name: str) -> Iterator[bytes]:
        for number in range(8):
            made.append((name, number))
            yield bytes([number]) * 100_000

    files = [
        ArchivedFile(f"study/{name}.dcm", length, pieces(name))
        for name, length in (("a", None), ("b", 800_000))
    ]
    stream = zip_stream(iter(files), NOON)
    first = next(stream)
    # No more is made than is sent.
    assert len(first) < 400_000 and made == [("a", 0), ("a", 1), ("a", 2)]
    whole = first + b"".join(stream)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert [(each.filename, each.file_size, each.date_time) for each in archive.infolist()] == [
            ("study/a.dcm", 800_000, NOON),
            ("study/b.dcm", 800_000, NOON),
        ]
        assert {each.compress_type for each in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("study/b.dcm") == b"".join(bytes([number]) * 100_000 for number in range(8))


def test_holds_more_than_64_thousand_files() -> None:
    files = (ArchivedFile(f"{number}", 1, iter([b"x"])) for number in range(70_000))
    with zipfile.ZipFile(io.BytesIO(b"".join(zip_stream(files, NOON)))) as archive:
        assert len(archive.namelist()) == 70_000


def test_is_no_archive_if_something_fails_midway() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * 600_000
        raise OSError("gone")

    got: list[bytes] = []
    stream = zip_stream([ArchivedFile("a", 10, iter([b"x" * 10])), ArchivedFile("b", None, pieces())], NOON)
    with pytest.raises(OSError, match="gone"):
        for piece in stream:
            got.append(piece)
    assert len(b"".join(got)) > 500_000 and list(stream) == []
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(b"".join(got)))
