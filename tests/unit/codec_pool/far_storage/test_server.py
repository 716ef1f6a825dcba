"""The engine's end and the worker's of the socket by which a worker reaches S3, which is a double here."""

from __future__ import annotations

import io
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from lightwell.codec_pool.far_storage import server as far_server
from lightwell.codec_pool.far_storage.client import EngineGoneError, FarClient, FarObjects
from lightwell.codec_pool.far_storage.messages import MOST_READ, FarChannel
from lightwell.codec_pool.far_storage.sealed_source import SealedSource
from lightwell.codec_pool.far_storage.server import LONGEST, FarServer, FarStorage
from lightwell.codec_pool.far_storage.threads import READS
from lightwell.codec_pool.messages import ExistingFound, InspectInput, PacksOpened, ReadChunk
from lightwell.codec_pool.process import let_have
from lightwell.domain.imports.existing_instances import ExistingInstance
from lightwell.domain.imports.jobs import InputFile, pack_files
from lightwell.errors import InputError, StorageError, StorageUnavailableError
from lightwell.framing import frame
from lightwell.settings import Settings
from lightwell.stores.buckets.fetched import Fetched
from lightwell.stores.buckets.registry import Buckets
from lightwell.stores.data_folder.sealed_files import UPLOADED, FileGrant, FileSealer
from lightwell.stores.keys.ring import KeyRing
from lightwell.stores.objects.interface import MissingObjectError
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.pack_objects import OpenPack, pack_name

PATIENCE = 30.0


@dataclass
class _Buckets:
    """A bucket of S3 whose objects are ``contents``: bytes, or what fetching them raises."""

    contents: dict[str, bytes | Exception] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def far(self) -> _Buckets:
        return self

    def is_local(self, bucket: str) -> bool:
        return bucket == "folder"

    def fetch_tagged(self, bucket: str, key: str, *, sealed: bool = False, **limits: Any) -> Fetched:
        found = self.fetch(bucket, key, **limits)
        if isinstance(found, bytes) or not sealed:
            return Fetched(found)
        content = found.read_bytes()
        with found.open("wb") as stream:
            sealer = FileSealer(stream.write)
            sealer.write(content)
            return Fetched(found, None, sealer.finish())

    def fetch(
        self, bucket: str, key: str, *, memory_limit: int, spool_dir: Path, listed: int | None = None
    ) -> bytes | Path:
        self.begun.append(key)
        assert self.gate.wait(PATIENCE)
        self.fetched.append(key)
        found = self.contents[key]
        if isinstance(found, Exception):
            raise found
        if len(found) <= memory_limit:
            return found
        path = spool_dir / f"bucket-{key}"
        path.write_bytes(found)
        return path


@dataclass
class Pair:
    server: FarServer
    client: FarClient
    theirs: socket.socket
    buckets: _Buckets
    objects: LocalObjects
    spool: Path


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Both ends; of files above 100 bytes, 4 files and 1,000 bytes are fetched ahead at most."""
    monkeypatch.setattr(far_server, "WHOLE", 100)
    spool = tmp_path / "spool"
    spool.mkdir()
    buckets, objects = _Buckets(), LocalObjects(tmp_path / "objects")
    buckets.gate.set()
    ours, theirs = socket.socketpair()
    settings = Settings(fetch_ahead_files=4, fetch_ahead_memory=250, fetch_ahead_disk=1000)
    storage = FarStorage(objects, cast(Buckets, buckets), spool, cast(KeyRing, None))
    server = FarServer(FarChannel(ours, LONGEST), storage, settings)
    client = FarClient(FarChannel(theirs))
    yield Pair(server, client, theirs, buckets, objects, spool)
    theirs.close()
    server.close()


def chunk(
    task: int, sizes: dict[str, int], *, start: int = 0, bucket: str = "far", **more: object
) -> ReadChunk:
    files = [InputFile(start + n, key, None, size) for n, (key, size) in enumerate(sizes.items())]
    given = {"skip": [], "first": [], "packs": [], "mappings": [], **more}
    return ReadChunk(
        task=task, bucket=bucket, storage_format="x", files=pack_files(files), first_file=start,
        last_attempt=False, **given,  # type: ignore[arg-type]
    )  # fmt: skip


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        time.sleep(0.005)


def taken(pair: Pair, task: int, file: int) -> bytes:
    with pair.client.take(task, file)[0] as source:
        return source.read(0, source.size)


def test_fetches_some_files_ahead_and_more_when_they_are_taken(pair: Pair) -> None:
    contents = {f"k{n:02}": bytes([n]) * 60 for n in range(30)}
    pair.buckets.contents.update(contents)
    let_have(pair.server, chunk(1, {key: 60 for key in contents}, start=7))
    until(lambda: len(pair.buckets.fetched) == 4)
    let_have(pair.server, chunk(2, {"k00": 60}, start=50))
    time.sleep(0.05)
    assert len(pair.buckets.fetched) == 4
    assert [taken(pair, 1, 7 + n) for n in range(30)] == list(contents.values())
    pair.client.end(1)
    assert taken(pair, 2, 50) == contents["k00"]
    pair.client.end(2)
    assert sorted(pair.buckets.fetched) == sorted([*contents, "k00"])


def test_leaves_out_what_is_skipped_and_fetches_the_dangerous_first(pair: Pair) -> None:
    pair.buckets.contents.update({key: key.encode() for key in "abcdefg"})
    let_have(pair.server, chunk(1, dict.fromkeys("abcdefg", 1), skip=[0], first=[6]))
    until(lambda: len(pair.buckets.fetched) == 4)
    assert sorted(pair.buckets.fetched) == ["b", "c", "d", "g"]


def test_passes_large_files_of_encrypted_data_stores_sealed(pair: Pair) -> None:
    pair.buckets.contents["k"] = b"SECRET^PATIENT" * 50
    let_have(pair.server, chunk(1, {"k": 700}, packs=[OpenPack(9, b"g" * 32)]))
    with pair.client.take(1, 0)[0] as source:
        assert isinstance(source, SealedSource)
        assert b"SECRET" not in os.pread(source._fd, 10_000, 0)
        assert source.read(0, 1000) == b"SECRET^PATIENT" * 50
    assert list(pair.spool.iterdir()) == []


def test_passes_large_files_as_descriptors_and_keeps_none_of_them(pair: Pair) -> None:
    contents = {f"k{n}": os.urandom(600) for n in range(4)}
    pair.buckets.contents.update(contents)
    let_have(pair.server, chunk(1, dict.fromkeys(contents, 600)))
    until(lambda: len(pair.buckets.fetched) == 1)
    time.sleep(0.05)
    assert len(pair.buckets.fetched) == 1  # two would be more than 1,000 bytes
    assert [taken(pair, 1, n) for n in range(4)] == list(contents.values())
    assert list(pair.spool.iterdir()) == []


def test_goes_on_with_the_next_chunk_when_one_is_given_up(pair: Pair) -> None:
    before = descriptors()
    pair.buckets.contents.update({f"k{n}": b"x" * 600 for n in range(6)})
    let_have(pair.server, chunk(1, {f"k{n}": 600 for n in range(5)}))
    let_have(pair.server, chunk(2, {"k5": 600}, start=9))
    assert taken(pair, 1, 0)
    pair.client.end(1)
    assert taken(pair, 2, 9) == b"x" * 600
    pair.client.end(2)
    until(lambda: pair.server._held_files == 0)
    assert pair.server._held_bytes == [0, 0]
    until(lambda: descriptors() <= before)


def test_counts_what_is_fetched_for_a_chunk_that_was_given_up_until_it_is_dropped(pair: Pair) -> None:
    pair.buckets.contents.update({f"k{n}": bytes([n]) * 60 for n in range(8)})
    pair.buckets.gate.clear()
    let_have(pair.server, chunk(1, {f"k{n}": 60 for n in range(4)}))
    let_have(pair.server, chunk(2, {f"k{n}": 60 for n in range(4, 8)}, start=4))
    until(lambda: len(pair.buckets.begun) == 4)
    pair.client.end(1)
    until(lambda: 1 not in pair.server._chunks)
    assert pair.server._held_files == 4 and len(pair.server._chunks[2].waiting) == 4
    pair.buckets.gate.set()
    assert [taken(pair, 2, 4 + n) for n in range(4)] == [bytes([n]) * 60 for n in range(4, 8)]
    pair.client.end(2)
    until(lambda: pair.server._held_files == 0)
    assert pair.server._held_bytes == [0, 0]


@pytest.mark.parametrize("kind", [InputError, StorageError, StorageUnavailableError, MissingObjectError])
def test_tells_why_a_file_cannot_be_fetched(pair: Pair, kind: type[Exception]) -> None:
    pair.buckets.contents.update({"a": kind("for this reason"), "b": b"b"})
    let_have(pair.server, chunk(1, {"a": 1, "b": 1}))
    with pytest.raises(kind, match="for this reason") as raised:
        pair.client.take(1, 0)
    assert type(raised.value) is kind
    assert taken(pair, 1, 1) == b"b"


def test_tells_of_a_fault_without_its_text(pair: Pair) -> None:
    pair.buckets.contents["a"] = KeyError("secret")
    let_have(pair.server, chunk(1, {"a": 1}))
    with pytest.raises(StorageError, match=r"^A fault in lightwell \(KeyError\)\.$"):
        pair.client.take(1, 0)


def test_answers_for_a_file_that_is_not_in_the_chunk(pair: Pair) -> None:
    let_have(pair.server, chunk(1, {"a": 1}))
    for task, file in ((1, 1), (5, 0)):
        with pytest.raises(StorageError, match="not told of"):
            pair.client.take(task, file)


def test_knows_when_the_worker_waits_for_s3(pair: Pair) -> None:
    pair.buckets.contents["a"] = b"a"
    pair.buckets.gate.clear()
    let_have(pair.server, chunk(1, {"a": 1}))
    assert not pair.server.is_awaited(between_files=False)
    thread = threading.Thread(target=lambda: taken(pair, 1, 0))
    thread.start()
    until(lambda: pair.server.is_awaited(between_files=False))
    pair.buckets.gate.set()
    thread.join()
    until(lambda: not pair.server.is_awaited(between_files=True))


def test_reads_the_packs_that_a_message_named_and_no_others(pair: Pair) -> None:
    data = os.urandom(MOST_READ + 5000)
    for key in (1, 2):
        pair.objects.put(pack_name(key), data)
    far = FarObjects(pair.client, "s3://x")
    same = ExistingInstance(1, 0, 1, None, [], b"", None, None)
    let_have(pair.server, ExistingFound([same], []))
    assert far.read(pack_name(1), 3, MOST_READ + 100) == data[3 : MOST_READ + 103]
    assert far.read(pack_name(1), 3, 0) == b"" and far.size(pack_name(1)) == len(data)
    for name in (pack_name(2), "packs/../secret", "checks/1"):
        with pytest.raises(StorageError, match="what it was not told of"):
            far.read(name, 0, 1)
        with pytest.raises(StorageError, match="what it was not told of"):
            far.size(name)
    with pytest.raises(StorageError, match="ends at byte"):
        far.read(pack_name(1), len(data) - 1, 2)


def test_writes_each_pack_that_was_opened_once_and_no_others(pair: Pair, tmp_path: Path) -> None:
    far = FarObjects(pair.client, "s3://x")
    let_have(pair.server, PacksOpened([OpenPack(key, b"") for key in (1, 2, 3)]))

    def write(key: int, data: bytes) -> None:
        writer = far.writer(pack_name(key), tmp_path)
        try:
            writer.write(data)
            writer.commit()
        finally:
            writer.abort()

    write(1, b"0123456789")
    assert pair.objects.get(pack_name(1)) == b"0123456789"
    for key in (1, 4):
        with pytest.raises(StorageError, match="what it was not told of"):
            write(key, b"changed")
    assert pair.objects.get(pack_name(1)) == b"0123456789" and pair.objects.get(pack_name(4)) is None
    short = tmp_path / "short"
    short.write_bytes(b"x")
    with short.open("rb") as stream, pytest.raises(StorageError, match="what it was not told of"):
        pair.client.store(pack_name(2), stream, 5)
    end, other = os.pipe()
    with os.fdopen(end, "rb") as pipe, pytest.raises(StorageError, match="what it was not told of"):
        pair.client.store(pack_name(3), pipe, 0)
    os.close(other)
    assert pair.objects.get(pack_name(2)) is None and pair.objects.get(pack_name(3)) is None


def test_writes_the_whole_of_a_stream_or_nothing(pair: Pair) -> None:
    with pytest.raises(StorageError, match="has changed"):
        pair.objects.put_stream("packs/1", io.BytesIO(b"12345"), 6)
    assert not pair.objects.exists("packs/1")


def test_fetches_the_overrides_of_a_chunk_and_of_an_inspection(pair: Pair) -> None:
    pair.buckets.contents.update({"a.json": b"[]", "b.json": b"{}", "c.json": b"secret"})
    let_have(pair.server, chunk(1, {}, mappings=[("1.2", None, "a.json")]))
    let_have(pair.server, InspectInput(2, "override", b"b.json", "far", True))
    let_have(pair.server, InspectInput(3, "zip", b"c.json", "far", True))
    assert pair.client.document("far", "a.json") == b"[]"
    assert pair.client.document("far", "b.json") == b"{}"
    for bucket, key in (("far", "c.json"), ("other", "a.json")):
        with pytest.raises(StorageError, match="what it was not told of"):
            pair.client.document(bucket, key)


@pytest.mark.parametrize("sent", [frame(b"\xc1"), frame(b"x" * 10)[:8], (LONGEST + 1).to_bytes(4, "big")])
def test_ends_a_connection_that_sends_no_messages(pair: Pair, sent: bytes) -> None:
    pair.theirs.sendall(sent)
    if len(sent) == 8:
        pair.theirs.shutdown(socket.SHUT_WR)
    let_have(pair.server, chunk(1, {"a": 1}))
    with pytest.raises(EngineGoneError):
        pair.client.read(pack_name(1), 0, 1)


def test_ends_a_connection_that_sends_descriptors_for_nothing(pair: Pair) -> None:
    for _ in range(3):
        try:
            socket.send_fds(pair.theirs, [b"\0"], [0, 1, 2])
        except OSError:
            break
    with pytest.raises(EngineGoneError):
        pair.client.read(pack_name(1), 0, 1)


def test_closes_while_files_are_fetched_and_nobody_takes_them(pair: Pair) -> None:
    pair.buckets.contents.update({f"k{n}": b"x" * 600 for n in range(4)})
    pair.buckets.gate.clear()
    let_have(pair.server, chunk(1, {f"k{n}": 600 for n in range(4)}))
    pair.server.close()
    pair.buckets.gate.set()
    until(lambda: list(pair.spool.iterdir()) == [])
    with pytest.raises(EngineGoneError):
        pair.client.take(1, 0)


def test_takes_no_more_questions_than_it_has_answered(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[Callable[[], None]] = []
    monkeypatch.setattr(READS, "submit", waiting.append)
    far = FarObjects(pair.client, "s3://x")

    def ask() -> None:
        with suppress(StorageError, EngineGoneError):
            far.size(pack_name(1))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for answered in range(4):
        until(lambda: len(waiting) == 8 + answered)  # noqa: B023
        waiting[answered]()
    until(lambda: len(waiting) == 12)
    for work in waiting[4:]:
        work()
    for thread in threads:
        thread.join()


def test_an_upload_sealed_again_is_no_other_file(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[bytes] = []
    sealer = FileSealer(parts.append, FileGrant(os.urandom(32), UPLOADED + bytes(8)))
    sealer.write(b"some")
    opens = sealer.finish()
    pair.buckets.contents = {"uploads/a": b"".join(parts), "b": b"other"}
    monkeypatch.setattr(far_server, "WHOLE", 1000)
    monkeypatch.setattr(
        far_server, "uploaded_key", lambda keys, store, name, *content: opens if name == "uploads/a" else None
    )
    files = [InputFile(n, key, None, 1000, "as listed") for n, key in enumerate(pair.buckets.contents)]
    given = chunk(1, {}, packs=[OpenPack(1, b"g" * 32)])
    let_have(pair.server, msgspec.structs.replace(given, files=pack_files(files)))
    for number, is_other in enumerate((False, True)):
        source, said = pair.client.take(1, number)
        source.close()
        assert said is is_other
