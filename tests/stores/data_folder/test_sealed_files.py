"""Sealed files of the spool."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from lightwell.codec_pool.far_storage.sealed_source import SealedSource, source_of
from lightwell.errors import StorageError
from lightwell.stores.data_folder.sealed_files import (
    UPLOADED,
    FileGrant,
    FileKey,
    FileOpener,
    FileSealer,
    SpooledFileDamagedError,
    largest_object,
)
from lightwell.stores.data_folder.uploads import Upload

KiB, MiB = 1 << 10, 1 << 20


def sealed(path: Path, data: bytes, step: int = 300 * KiB) -> FileKey:
    with path.open("wb") as stream:
        sealer = FileSealer(stream.write)
        for start in range(0, len(data), step):
            sealer.write(data[start : start + step])
        return sealer.finish()


@pytest.mark.parametrize("size", [0, 1, 256 * KiB, 256 * KiB + 1, 512 * KiB, 512 * KiB + 1, 9 * MiB + 12_345])
def test_gives_what_was_written_wherever_it_is_read(tmp_path: Path, size: int) -> None:
    data, chance = random.Random(size).randbytes(size), random.Random(1)
    key = sealed(tmp_path / "file", data)
    with source_of(os.open(tmp_path / "file", os.O_RDONLY), key) as source:
        assert source.size == size and source.read(0, size + 5) == data
        for _ in range(200):
            offset = chance.randrange(size + 2)
            length = chance.choice((1, 4096, 70 * KiB, 512 * KiB, 600 * KiB, 5 * MiB))
            assert source.read(offset, length) == data[offset : offset + length]
    opener = FileOpener(key)
    with SealedSource.of(os.open(tmp_path / "file", os.O_RDONLY), opener, size // 3, size // 2) as part:
        assert part.size == size // 2
        assert part.read(0, size) == data[size // 3 :][: size // 2]
        assert part.read(1, size) == data[size // 3 :][1 : size // 2]


def test_is_refused_wherever_it_was_changed_cut_off_or_exchanged(tmp_path: Path) -> None:
    data = os.urandom(1 * MiB + 77)
    path = tmp_path / "file"
    key = sealed(path, data)
    whole = path.read_bytes()
    assert not any(data[start : start + 12] in whole for start in range(0, len(data), 40_000))

    def reads(content: bytes, opened_by: FileKey = key) -> list[bytes]:
        path.write_bytes(content)
        found = []
        with source_of(os.open(path, os.O_RDONLY), opened_by) as source:
            for start in range(0, source.size, 100_000):
                found.append(source.read(start, 100_000))
        return found

    assert b"".join(reads(whole)) == data
    # The seal at the end is not read again: whoever reads it was given it.
    for place in (36, 5000, 36 + 64 * KiB, 36 + 64 * KiB + 15, 512 * KiB + 60, 1 * MiB + 100):
        for content in (
            whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :],
            whole[:place],
            whole[:place] + whole[place + 1 :],
        ):
            with pytest.raises(SpooledFileDamagedError, match="damaged before it was read"):
                reads(content)
    other = sealed(tmp_path / "other", data)
    with pytest.raises(SpooledFileDamagedError):
        reads((tmp_path / "other").read_bytes())
    for wrong in (FileKey(other.grant, key.seal), FileKey(key.grant, key.seal[:-1]), FileKey(b"", b"")):
        with pytest.raises(SpooledFileDamagedError):
            reads(whole, wrong)


def test_opens_each_segment_once_for_reads_that_go_on(tmp_path: Path) -> None:
    data = os.urandom(3 * MiB)
    key = sealed(tmp_path / "file", data)
    opener, places = FileOpener(key), []
    inner = opener._cipher.open

    class Counting:
        size, range_of = opener._cipher.size, opener._cipher.range_of

        def open(self, data: bytes, offset: int, length: int) -> bytes:
            places.append((offset, length))
            return inner(data, offset, length)

    opener._cipher = Counting()  # type: ignore[assignment]
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    for start in range(0, len(data), 50_000):
        assert opener.read(fd, start, 50_000) == data[start : start + 50_000]
    os.close(fd)
    assert sum(length for _, length in places) <= 2 * len(data)


def test_an_upload_is_sealed_and_known_to_who_wrote_it(tmp_path: Path) -> None:
    plain, upload = Upload(tmp_path), Upload(tmp_path, sealed=True)
    data = b"DOE^JANE" * 200_000
    for each in (plain, upload):
        for start in range(0, len(data), 300_000):
            each.write([data[start : start + 150_000], memoryview(data)[start + 150_000 : start + 300_000]])
        assert each.size == len(data)
    assert plain.finish() is None and plain.head(8, 16) == b"DOE^JANE" * 2
    assert plain.path.read_bytes() == data
    assert upload.head(8, 16) == b"", "there is no key yet"
    key = upload.finish()
    assert key is not None and upload.finish() is key
    assert upload.head(8, 16) == b"DOE^JANE" * 2
    assert b"DOE^JANE" not in upload.path.read_bytes()
    with source_of(os.open(upload.path, os.O_RDONLY), key) as source:
        assert source.read(0, source.size) == data
    for each in (plain, upload):
        each.remove()
    with pytest.raises(StorageError):
        Upload(tmp_path / "nowhere", sealed=True)


@pytest.mark.parametrize("size", [0, 1, 256 * KiB, 256 * KiB + 1, 512 * KiB, 512 * KiB + 1, 9 * MiB])
def test_an_upload_takes_little_more_than_its_file(size: int) -> None:
    parts: list[bytes] = []
    sealer = FileSealer(parts.append, FileGrant(os.urandom(32), UPLOADED + bytes(8)))
    sealer.write(bytes(size))
    sealer.finish()
    length = sum(map(len, parts))
    assert length <= largest_object(size) <= length + 120
