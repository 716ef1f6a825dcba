"""A listing of S3 that is interrupted goes on after the last key that it has kept."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from lightwell.domain.imports.jobs import Job
from lightwell.domain.imports.units import Token
from lightwell.errors import StorageUnavailableError
from lightwell.ingest.merge import ImportTarget
from lightwell.stores.buckets.fetched import Fetched
from lightwell.stores.buckets.registry import Bucket, Buckets
from lightwell.stores.db.tables import chunk
from lightwell.stores.jobs import transitions
from lightwell.work.imports import chunk_writer, chunking
from lightwell.work.imports.import_phases import ImportPhases
from tests.support import invariants
from tests.support.ct_files import ct
from tests.support.imports import Importing

COUNT = 40
TOO_LARGE = 2 << 20
"""Of every tenth file, which is refused while it is listed."""


class FarBucket:
    """A bucket of S3 whose connection breaks off after some keys; ``asked`` are the keys begun after."""

    def __init__(self, keys: list[str], breaks_after: list[int]) -> None:
        self.objects = {key: _file(number) for number, key in enumerate(keys, 1)}
        self.keys = keys
        self.breaks_after = breaks_after
        self.asked: list[str] = []

    def list(self, prefix: str, after: str = "") -> Iterator[tuple[str, int, str | None]]:
        self.asked.append(after)
        left = self.breaks_after.pop(0) if self.breaks_after else len(self.keys)
        for key in self.keys:
            if key > after:
                if not left:
                    raise StorageUnavailableError("The network is gone.")
                left -= 1
                yield key, TOO_LARGE if int(key[:3]) % 10 == 3 else len(self.objects[key]), None

    def fetch(
        self,
        key: str,
        *,
        memory_limit: int,
        spool_dir: Path,
        listed: int | None = None,
        sealed: bool = False,
    ) -> Fetched:
        return Fetched(self.objects[key])

    def remove_unfinished(self, folder: str) -> None: ...

    def put(self, key: str, data: bytes) -> None: ...

    def put_file(self, key: str, path: Path) -> None: ...

    def take_file(self, key: str, path: Path) -> None: ...

    def remove(self, keys: Sequence[str]) -> None: ...


def _file(number: int) -> bytes:
    stream = io.BytesIO()
    ct(number).save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of few files, written two at a time."""
    monkeypatch.setattr(chunking, "_LOOK", 6)
    monkeypatch.setattr(chunking, "MOST_FILES", 3)
    monkeypatch.setattr(chunk_writer, "_CHUNKS_AT_ONCE", 2)
    monkeypatch.setattr(chunk_writer, "_OUTCOMES_AT_ONCE", 1)


def run(server: Importing, bucket: FarBucket, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Import everything of the bucket. Returns how often each key is in a chunk or was refused."""
    of_name = Buckets._bucket

    def find(buckets: Buckets, name: str) -> Bucket:
        return bucket if name == "far-away" else of_name(buckets, name)

    monkeypatch.setattr(Buckets, "_bucket", find)
    server = replace(server, settings=replace(server.settings, import_max_file_bytes=1 << 20))
    report = server.run(input_uri="s3://far-away/")
    assert report.job.status == "COMPLETED", report.job.message
    assert (report.job.scanned, report.job.read) == (COUNT, COUNT)
    assert report.manifest["numberOfImportedFiles"] == COUNT - 4
    invariants.check(server.stores)
    server.close_engine()
    return Counter(line["inputFile"] for line in [*report.success, *report.failure])


def test_goes_on_after_the_last_key_that_is_kept(
    server: Importing, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{number:03}.dcm" for number in range(1, COUNT + 1)]
    bucket = FarBucket(keys, [COUNT // 2, 10, 0])
    assert run(server, bucket, monkeypatch) == Counter(keys)
    first, *again = bucket.asked
    assert not first and len(again) == 3, bucket.asked
    assert "010.dcm" < again[0] < again[1] == again[2] < "031.dcm", "two chunks at most are listed again"


def test_goes_on_where_all_was_kept_but_the_end(
    sqlite: Importing, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, calls = transitions.end_listing, 0

    def end_listing(conn: Connection, key: int, scanned: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise StorageUnavailableError("The database is gone.")
        end(conn, key, scanned)

    monkeypatch.setattr(transitions, "end_listing", end_listing)
    keys = [f"{number:03}.dcm" for number in range(1, COUNT + 1)]
    bucket = FarBucket(keys, [])
    assert run(sqlite, bucket, monkeypatch) == Counter(keys)
    assert calls == 2 and len(bucket.asked) == 2


def test_begins_anew_where_keys_come_in_no_order(
    sqlite: Importing, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{number:03}.dcm" for number in range(1, COUNT + 1)]
    keys[11:13] = reversed(keys[11:13])
    bucket = FarBucket(keys, [15, 30])
    assert run(sqlite, bucket, monkeypatch) == Counter(keys)
    assert "" in bucket.asked[1:]
    with sqlite.stores.db.read() as conn:
        assert not conn.execute(select(chunk.c.job)).all()


def test_stops_with_its_process_and_goes_on_in_another(
    sqlite: Importing, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, calls = ImportPhases._list, 0

    def listing(self: ImportPhases, job: Job, target: ImportTarget, token: Token) -> None:
        nonlocal calls
        calls += 1
        running = self._stopping
        if calls == 1:
            self._stopping = threading.Event()
            self._stopping.set()
        try:
            begin(self, job, target, token)
        finally:
            self._stopping = running

    monkeypatch.setattr(ImportPhases, "_list", listing)
    keys = [f"{number:03}.dcm" for number in range(1, COUNT + 1)]
    bucket = FarBucket(keys, [])
    assert run(sqlite, bucket, monkeypatch) == Counter(keys)
    first, again = bucket.asked
    assert not first and "" < again < "013.dcm", "it stopped once it had written chunks"


def test_the_log_names_no_file_below_the_input_that_is_away(
    sqlite: Importing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begin, calls = ImportPhases._list, 0

    def listing(self: ImportPhases, job: Job, target: ImportTarget, token: Token) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise StorageUnavailableError("s3://far-away/DOE^JANE.json does not answer.")
        begin(self, job, target, token)

    monkeypatch.setattr(ImportPhases, "_list", listing)
    keys = [f"{number:03}.dcm" for number in range(1, COUNT + 1)]
    assert run(sqlite, FarBucket(keys, []), monkeypatch) == Counter(keys)
    assert "is paused" in caplog.text and "s3://far-away/…" in caplog.text
    assert "JANE" not in caplog.text
