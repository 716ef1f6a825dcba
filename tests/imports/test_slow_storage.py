"""While S3 is slow or away, what waits for it stays within its settings, in memory and on disk."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lightwell.codec_pool import process
from lightwell.codec_pool.far_storage.server import FarServer
from lightwell.codec_pool.far_storage.threads import UPLOAD_MEMORY
from tests.support import invariants
from tests.support.ct_files import write_series
from tests.support.imports import importing
from tests.support.services import S3, boto3_client, new_bucket
from tests.support.tcp_proxies import FaultyProxy

COUNT = 24  # three chunks
FETCHED, MEMORY = 120_000, 150_000


class Watch:
    """The most that was fetched ahead, that waited on disk, and that uploads took, in bytes, and for how
    many files; at any moment while it `is_on`."""

    def __init__(self, spool: Path) -> None:
        self.fetched = self.files = self.staged = self.uploading = 0
        self.servers: list[FarServer] = []
        self._spool = str(spool)
        self._over = threading.Event()

    @contextmanager
    def is_on(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.01):
            for server in self.servers:
                with server._lock:
                    self.fetched = max(self.fetched, server._held_bytes[0])
                    self.files = max(self.files, server._held_files)
            self.uploading = max(self.uploading, UPLOAD_MEMORY.used)
            self.staged = max(self.staged, self._on_disk())

    def _on_disk(self) -> int:
        """The size of all files of the spool that are open at once."""
        before = self._open_files()
        if not before:
            return 0
        # One of the first look may be closed before the next is opened; not if it is still there.
        after = self._open_files()
        return sum(min(size, after[file]) for file, size in before.items() if file in after)

    def _open_files(self) -> dict[int, int]:
        """The sizes of the files that this process or a child has open, by inodes; they have no names."""
        found: dict[int, int] = {}
        pids = {os.getpid()}
        for children in Path("/proc/self/task").glob("*/children"):
            with suppress(OSError):  # of a thread that has just ended
                pids.update(map(int, children.read_text().split()))
        for pid in pids:
            with suppress(OSError):
                for link in Path(f"/proc/{pid}/fd").iterdir():
                    with suppress(OSError):
                        if str(link.readlink()).startswith(self._spool):
                            state = link.stat()
                            found[state.st_ino] = state.st_size
        return found


def _be_away(proxy: FaultyProxy) -> None:
    time.sleep(0.5)
    proxy.close()
    time.sleep(1)
    proxy.is_open = True


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_stages_no_more_than_it_may_while_s3_is_slow_or_away(
    tmp_path: Path, migrated_sqlite_url: str, s3_endpoint: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, proxy = new_bucket(s3_endpoint), FaultyProxy(s3_endpoint.url)
    proxy.delay, proxy.rate = 0.2, 1e6
    server = importing(
        tmp_path / "data", migrated_sqlite_url, codec_workers=1,
        storage_url=f"s3://{bucket}/objects", storage_endpoint_url=proxy.url, s3_endpoint_url=proxy.url,
        fetch_ahead_memory=FETCHED, upload_disk=1, upload_memory=MEMORY,
    )  # fmt: skip
    watch = Watch(server.stores.spool)

    class Watched(FarServer):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            watch.servers.append(self)

    monkeypatch.setattr(process, "FarServer", Watched)
    client = boto3_client(s3_endpoint)
    for path in write_series(tmp_path / "made", COUNT, size=128, series="2"):
        client.put_object(Bucket=bucket, Key=f"in/{path.name}", Body=path.read_bytes())
    client.close()
    write_series(server.input / "a", COUNT, size=128)
    with watch.is_on():
        reports = [server.run(input_uri=f"s3://{bucket}/in/")]
        files = watch.files  # of local ones it opens more
        outage = threading.Thread(target=_be_away, args=(proxy,))
        outage.start()
        reports.append(server.run("a/"))
        outage.join()
    assert [len(report.success) for report in reports] == [COUNT, COUNT]
    packs = [size for _, size in server.stores.objects.list("packs")]
    assert len(packs) >= 6  # a chunk whose upload was cut off may leave one that nothing refers to
    # One pack waits at a time, since more than a byte may not, and the next is not begun.
    assert max(packs) / 2 < watch.staged <= max(packs) < 2 * sorted(packs)[-6]
    assert 0 < watch.uploading <= MEMORY or watch.uploading == max(packs)
    assert FETCHED / 2 < watch.fetched <= FETCHED and files == 3
    assert not list(server.stores.spool.glob("bucket-*")) and UPLOAD_MEMORY.used == 0
    invariants.check(server.stores)
    server.close()
    proxy.end()
