"""What lies in the spool while codec workers read files of an encrypted data store, and of another one."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from lightwell.codec_pool.far_storage.server import FarStorage
from lightwell.codec_pool.messages import (
    ChunkFailed,
    ChunkRead,
    ExistingFound,
    FileRead,
    FileRefused,
    FindExisting,
    OpenPacks,
    PacksOpened,
    ReadChunk,
)
from lightwell.codec_pool.process import WorkerProcess
from lightwell.domain.imports.jobs import InputFile, pack_files
from lightwell.settings import Settings
from lightwell.stores.buckets.fetched import Fetched
from lightwell.stores.buckets.registry import Buckets
from lightwell.stores.data_folder.sealed_files import FileSealer
from lightwell.stores.data_folder.uploads import Upload
from lightwell.stores.keys.ring import KeyRing
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.pack_objects import OpenPack
from tests.dicomweb.support.uploads import part10
from tests.support.ct_files import ct

NAME = b"SECRET^PATIENT"
PIXELS = np.random.default_rng(7).integers(-1000, 2000, (72, 256, 256), np.int16).tobytes() * 2
"""Of a multi-frame instance that is larger than what is read as a whole, 16 MiB."""
SAMPLE = PIXELS[1_000_000:1_000_032]


def many_frames(series: str) -> bytes:
    made = ct(1, series=series, size=256, PatientName=NAME.decode(), NumberOfFrames=144)
    made.PixelData = PIXELS
    return part10(made)


def deflated() -> bytes:
    made = ct(1, series="4", size=256, PatientName=NAME.decode())
    made.PixelData = PIXELS[1_000_000 - 65_536 : 1_000_000 + 65_536]
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return part10(made)


class _Buckets:
    """S3, with one object."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def far(self) -> _Buckets:
        return self

    def is_local(self, bucket: str) -> bool:
        return False

    def fetch_tagged(
        self, bucket: str, key: str, *, memory_limit: int, spool_dir: Path, listed: int, sealed: bool
    ) -> Fetched:
        path = spool_dir / "bucket-1"
        with path.open("wb") as stream:
            if not sealed:
                stream.write(self.data)
                return Fetched(path, "tag")
            sealer = FileSealer(stream.write)
            sealer.write(self.data)
            return Fetched(path, "tag", sealer.finish())


@dataclass
class Reading:
    """A worker that reads a chunk: of a zip file, S3, an upload, and a deflated file."""

    worker: WorkerProcess
    spool: Path
    task: ReadChunk
    keys: Iterator[int] = field(default_factory=lambda: count(101, 2))

    def send(self) -> None:
        self.worker.send(self.task)

    def messages(self) -> Iterator[Any]:
        """What it says, until the chunk has been read; at a `FindExisting` it waits, and has all open."""
        while (message := self.worker.receive(120)) is not None:
            yield message
            if isinstance(message, FindExisting):
                self.worker.send(ExistingFound(None, []))
            elif isinstance(message, OpenPacks):
                packs = [replace(self.task.packs[0], key=next(self.keys)) for _ in range(message.count)]
                self.worker.send(PacksOpened(packs))
            elif isinstance(message, ChunkRead | ChunkFailed):
                return
        raise AssertionError("the worker says nothing")

    def readable(self) -> dict[str, bytes]:
        """The files of the spool by kind, those included that have no name any more."""
        found: dict[str, bytes] = {}
        for path in self.spool.rglob("*"):
            if path.is_file():
                found[path.name] = path.read_bytes()
        for link in Path(f"/proc/{self.worker.pid}/fd").iterdir():
            with suppress(OSError):
                target = link.readlink()
                if target.is_relative_to(self.spool):
                    found[target.name] = link.read_bytes()
        return found


@pytest.fixture(params=[True, False], ids=["encrypted", "plain"])
def reading(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reading]:
    spool = tmp_path / "spool"
    spool.mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("one", many_frames("1"))
    (tmp_path / "deflated").write_bytes(deflated())
    far, sent = many_frames("2"), many_frames("3")
    upload = Upload(spool, sealed=request.param)
    upload.write([sent])
    key = upload.finish()
    places = [
        (("zip", str(tmp_path / "a.zip"), "one"), len(sent)),
        (("s3", "far", "one"), len(far)),
        (("part", str(upload.path), "0"), len(sent)),
        (("file", str(tmp_path / "deflated")), 1),
    ]
    files = [InputFile(n, place[-1], place, size) for n, (place, size) in enumerate(places)]
    pack = OpenPack(99, os.urandom(32) if request.param else b"")
    task = ReadChunk(
        1, "", "HTJ2K", pack_files(files), 0, [], [], [pack], [], last_attempt=True, upload_key=key
    )
    objects = LocalObjects(tmp_path / "objects")
    storage = FarStorage(objects, cast(Buckets, _Buckets(far)), spool, cast(KeyRing, None))
    worker = WorkerProcess(Settings(data=tmp_path / "data", worker_sandbox="off"), storage)
    yield Reading(worker, spool, task)
    worker.close()
    upload.remove()


def test_nothing_of_an_encrypted_data_store_is_readable_in_the_spool(reading: Reading) -> None:
    reading.send()
    seen: dict[str, set[bool]] = {}
    read = 0
    for message in reading.messages():
        if isinstance(message, FindExisting):
            for name, content in reading.readable().items():
                kind = name.partition("-")[0].removesuffix(" (deleted)")
                found = NAME in content and (kind == "inflate" or SAMPLE in content)
                hidden = NAME not in content and SAMPLE not in content
                assert found or hidden, name
                seen.setdefault(kind, set()).add(found)
        elif isinstance(message, FileRead):
            read += 1
            assert message.record.pixels is not None
            assert message.record.pixels.frame_count in (1, 144)
        assert not isinstance(message, FileRefused | ChunkFailed), message
    assert read == 4
    is_plain = not reading.task.is_sealed
    assert seen == {kind: {is_plain} for kind in ("zip", "bucket", "upload", "inflate")}


@pytest.mark.parametrize("reading", [True], ids=["encrypted"], indirect=True)
def test_refuses_a_file_of_the_spool_that_was_damaged_and_no_other(reading: Reading) -> None:
    (upload,) = reading.spool.glob("upload-*")
    with upload.open("r+b") as stream:
        stream.seek(9_000_000)
        stream.write(bytes(8))
    reading.send()
    refused = [message for message in reading.messages() if isinstance(message, FileRefused)]
    assert [each.failure.file for each in refused] == [2]
    assert refused[0].failure.exception_type == "InternalServerException"
    assert "damaged" in refused[0].failure.message
