"""Reading S3 through the cache, from a real server behind a proxy that can be cut, delayed and silenced."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.objects import hedged_gets
from lightwell.stores.objects.block_cache import BLOCK
from lightwell.stores.objects.circuit import Circuit
from lightwell.stores.objects.interface import MissingObjectError
from lightwell.stores.objects.open import CacheOptions, open_objects
from lightwell.stores.objects.s3 import S3Objects
from tests.support.server import until
from tests.support.services import S3, boto3_client, new_bucket
from tests.support.tcp_proxies import FaultyProxy

KEY = "packs/ab/00000000000000ab.pack"
SIZE = 40 * BLOCK + 777


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(2).randbytes(SIZE)


@pytest.fixture(scope="module")
def bucket(s3_server: S3, data: bytes) -> str:
    name = new_bucket(s3_server)
    client = boto3_client(s3_server)
    client.put_object(Bucket=name, Key=f"x/{KEY}", Body=data)
    client.close()
    return name


@pytest.fixture
def way(s3_endpoint: S3) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(s3_endpoint.url)
    yield proxy
    proxy.end()


class Counted(S3Objects):
    """With the counters as a dictionary."""

    counts: Counter[tuple[str, str]]

    def got(self, counter: str, value: str) -> int:
        return self.counts[f"lightwell_storage_{counter}_total", value]


def opened(way: FaultyProxy, bucket: str, root: Path, limit: int = 1 << 30) -> Counted:
    counts: Counter[tuple[str, str]] = Counter()

    def count(counter: str, value: str, by: int) -> None:
        counts[counter, value] += by

    found = open_objects(f"s3://{bucket}/x", endpoint_url=way.url, cache=CacheOptions(root, limit, count))
    assert isinstance(found, S3Objects)
    found.__class__ = Counted
    assert isinstance(found, Counted)
    found.counts = counts
    return found


@pytest.fixture
def objects(way: FaultyProxy, bucket: str, tmp_path: Path) -> Iterator[Counted]:
    found = opened(way, bucket, tmp_path / "cache")
    yield found
    found.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long S3 takes to answer, it is asked once."""
    monkeypatch.setattr(hedged_gets, "_HEDGE_MOST", 100)
    monkeypatch.setattr(hedged_gets, "_STALL_SECONDS", 100)


def gets(way: FaultyProxy) -> int:
    return sum(method == "GET" for method, _ in way.requests)


def until_written(objects: Counted, key: str, size: int) -> None:
    """Wait until every block of an object is on the disk, to which it is written behind the reads."""
    cache, blocks = objects._cache, -(-size // BLOCK)
    assert cache is not None
    until(lambda: len(cache.written(key, 0, blocks)) == blocks)


def test_reads_any_range_and_keeps_it(
    objects: Counted, way: FaultyProxy, bucket: str, tmp_path: Path, data: bytes
) -> None:
    some = random.Random(3)
    ranges = [(0, SIZE), (SIZE - 1, 1), (5, 0)]
    ranges += [
        (start, min(some.randrange(1, 3 * BLOCK), SIZE - start)) for start in range(0, SIZE, BLOCK // 3)
    ]
    some.shuffle(ranges)
    for offset, length in ranges:
        assert objects.read(KEY, offset, length) == data[offset : offset + length]
    # A hundred reads were some GETs, and none of them a second time.
    assert gets(way) < 25 and objects.got("bytes", "s3") == SIZE
    until_written(objects, KEY, SIZE)
    objects.close()
    way.requests.clear()

    again = opened(way, bucket, tmp_path / "cache")
    for offset, length in ranges:
        assert again.read(KEY, offset, length) == data[offset : offset + length]
    assert gets(way) == 0 and again.got("bytes", "disk") >= SIZE
    assert again.read_warm(KEY, 0, SIZE) == data
    again.close()


def test_says_what_is_missing_or_too_short(objects: Counted, s3_endpoint: S3, bucket: str) -> None:
    for offset, length in ((SIZE - 3, 4), (SIZE, 1)):
        with pytest.raises(StorageError, match=f"ends at byte {SIZE}"):
            objects.read(KEY, offset, length)
    with pytest.raises(StorageError, match="416"):
        objects.read(KEY, SIZE + 9 * BLOCK, 1)
    with pytest.raises(MissingObjectError, match="is not there"):
        objects.read("packs/ab/none.pack", 0, 1)


@pytest.mark.usefixtures("patient")
def test_what_many_want_at_once_is_fetched_once(objects: Counted, way: FaultyProxy, data: bytes) -> None:
    held = threading.Event()
    way.holds = [held]
    with ThreadPoolExecutor(40) as threads:
        reading = threads.map(lambda n: objects.read(KEY, 20 * BLOCK + n, 1000), range(100))
        try:
            until(lambda: objects.got("reads", "s3") + objects.got("reads", "joined") >= 40)
        finally:
            held.set()
        found = list(reading)
    assert found == [data[20 * BLOCK + n :][:1000] for n in range(100)]
    assert gets(way) == objects.got("reads", "s3") == 1


def test_reads_on_where_neighbours_are_read(objects: Counted, way: FaultyProxy, data: bytes) -> None:
    step = BLOCK // 2
    for start in range(0, 38 * BLOCK, step):
        assert objects.read(KEY, start, step) == data[start : start + step]
    assert gets(way) <= 6
    assert objects.got("reads", "s3") <= 3


def test_reads_on_over_the_borders_of_packs_that_follow_one_another(
    objects: Counted, way: FaultyProxy, data: bytes
) -> None:
    size = 3 * BLOCK + 99
    keys = [f"packs/ef/{number}.pack" for number in range(8)]
    contents = {key: data[number * size :][:size] for number, key in enumerate(keys)}
    for key in keys[:-1]:
        objects.put(key, contents[key])
    way.requests.clear()
    # The database may be wrong about them: one is shorter than it says, and the last one is not there.
    objects.follow([(key, size if key != keys[4] else 40 * BLOCK) for key in keys])
    for key in keys[:-1]:
        for start in range(0, size, BLOCK // 2):
            wanted = contents[key][start : start + BLOCK // 2]
            assert objects.read(key, start, len(wanted)) == wanted
    assert objects.got("reads", "s3") <= 2
    # How many blocks come at once goes by who is faster; one by one they would be four a pack.
    assert gets(way) < 4 * 7 and objects.got("bytes", "s3") == 7 * size
    with pytest.raises(MissingObjectError):
        objects.read(keys[-1], 0, 1)
    with pytest.raises(StorageError, match=f"ends at byte {size}"):
        objects.read(keys[4], size, 1)


def test_what_comes_ahead_and_is_cut_short_is_fetched_again(
    objects: Counted, way: FaultyProxy, data: bytes
) -> None:
    assert objects.read(KEY, 0, BLOCK) == data[:BLOCK]
    way.cut_after = 6 * BLOCK + 1000
    step = BLOCK // 3
    for start in range(BLOCK, SIZE, step):
        wanted = data[start : start + step]
        assert objects.read(KEY, start, len(wanted)) == wanted
    assert gets(way) < 20


def test_runs_on_the_loop_of_the_server(objects: Counted, way: FaultyProxy, data: bytes) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        objects.use_loop(loop)
        fetching = objects.fetch(KEY, 7, 3 * BLOCK)
        assert fetching is not None
        assert await fetching == data[7 : 7 + 3 * BLOCK]
        # A thread waits for the same event loop.
        read = await loop.run_in_executor(None, objects.read, KEY, 9 * BLOCK, 5)
        assert read == data[9 * BLOCK :][:5]

    asyncio.run(main())
    objects.close()

    async def elsewhere() -> None:
        assert objects.fetch(KEY, 7, 5) is None  # the reader has a thread of its own now

    assert objects.read(KEY, 7, 5) == data[7:12]
    asyncio.run(elsewhere())


# Reads a block once it is told to, says when it has found that another process fetches it, and has patience.
_OTHER_PROCESS = f"""
import sys, zlib
from pathlib import Path
from lightwell.stores.objects import block_reader
from lightwell.stores.objects.block_cache import BlockCache
from lightwell.stores.objects.open import CacheOptions, open_objects

claim, refused = BlockCache.claim, []

def claimed(*place):
    is_mine = claim(*place)
    if not is_mine and not refused:
        refused.append(place)
        print("waits", flush=True)
    return is_mine

BlockCache.claim = claimed
block_reader._CLAIM_SECONDS = 100
cache = CacheOptions(Path(sys.argv[3]), 1 << 30)
objects = open_objects(f"s3://{{sys.argv[2]}}/x", endpoint_url=sys.argv[1], cache=cache)
objects.read_warm(sys.argv[4], 0, 1)
print("ready", flush=True)
input()
print(zlib.crc32(objects.read(sys.argv[4], 30 * {BLOCK}, {BLOCK})), flush=True)
input()
"""


@pytest.mark.usefixtures("patient")
def test_two_processes_share_what_one_fetches(
    objects: Counted, way: FaultyProxy, bucket: str, s3_endpoint: S3, tmp_path: Path, data: bytes
) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", _OTHER_PROCESS, way.url, bucket, str(tmp_path / "cache"), KEY],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ},
    )  # fmt: skip
    assert other.stdin is not None and other.stdout is not None
    held = threading.Event()
    try:
        assert other.stdout.readline() == "ready\n"
        way.holds = [held]
        reading = threading.Thread(target=objects.read, args=(KEY, 30 * BLOCK, 10))
        reading.start()
        until(lambda: gets(way) > 0)
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "waits\n"
        held.set()
        assert int(other.stdout.readline()) == zlib.crc32(data[30 * BLOCK : 31 * BLOCK])
        reading.join()
        assert gets(way) == 1
    finally:
        held.set()
        other.kill()
        other.communicate()


def test_an_answer_that_is_cut_short_is_asked_for_again(
    objects: Counted, way: FaultyProxy, data: bytes
) -> None:
    way.cut_after = 4 * BLOCK + 5000
    # The second attempt goes on where the first one ended.
    assert objects.read(KEY, 10 * BLOCK, 8 * BLOCK) == data[10 * BLOCK : 18 * BLOCK]
    way.cut_after = 100
    with pytest.raises(StorageUnavailableError):
        objects.read(KEY, 30 * BLOCK, 2 * BLOCK)
    way.cut_after = None
    # What arrived whole before the cut was kept, and nothing else.
    assert objects.read(KEY, 0, SIZE) == data


def test_an_unusually_slow_answer_is_asked_for_a_second_time(
    objects: Counted, way: FaultyProxy, data: bytes
) -> None:
    for number in range(16):  # after so many it is known what is usual
        objects.read(KEY, number * BLOCK, 1)
        objects.read_again(KEY, 0, 1)
    before = objects.got("gets", "hedged")  # a busy machine is unusually slow by itself
    held = threading.Event()
    way.holds = [held]
    try:
        assert objects.read(KEY, 38 * BLOCK, 100) == data[38 * BLOCK :][:100]
        assert not way.holds and objects.got("gets", "hedged") > before
    finally:
        held.set()


def test_while_s3_is_away_reads_fail_at_once_and_later_succeed_again(
    objects: Counted, way: FaultyProxy, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(hedged_gets, "Circuit", lambda: Circuit(lambda: now))
    assert objects.read(KEY, 0, 10) == data[:10]
    way.close()
    for number in range(6):
        with pytest.raises(StorageUnavailableError):
            objects.read(KEY, (20 + number) * BLOCK, 10)
    with pytest.raises(StorageUnavailableError, match="asked again within"):
        objects.read(KEY, 30 * BLOCK, 10)
    assert objects.got("circuit", "opened") == 1
    assert objects.read(KEY, 0, 10) == data[:10]  # what is here needs no S3
    way.is_open = True

    def is_back() -> bool:
        nonlocal now
        now += 10
        try:
            return objects.read(KEY, 30 * BLOCK, 10) == data[30 * BLOCK :][:10]
        except StorageUnavailableError:
            return False

    until(is_back)
    assert objects.got("reads", "s3") and objects.got("gets", "refused")


def test_a_silent_s3_is_given_up(objects: Counted, way: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hedged_gets, "_STALL_SECONDS", 0.2)
    way.swallows = True
    with pytest.raises(StorageUnavailableError, match="has sent nothing"):
        objects.read(KEY, 20 * BLOCK, 10)


def test_what_was_deleted_leaves_the_cache(
    objects: Counted, way: FaultyProxy, bucket: str, s3_endpoint: S3, tmp_path: Path
) -> None:
    objects.put("packs/cd/1.pack", b"secret" * 1000)
    assert objects.read("packs/cd/1.pack", 0, 6) == b"secret"
    until_written(objects, "packs/cd/1.pack", 6000)
    objects.delete("packs/cd/1.pack")
    until(lambda: not list((tmp_path / "cache").rglob("1.pack")))
    with pytest.raises(MissingObjectError):
        objects.read("packs/cd/1.pack", 0, 6)

    # By another server: this one hears of it when it looks which packs there are.
    objects.put("packs/cd/2.pack", b"secret" * 1000)
    objects.read("packs/cd/2.pack", 0, 6)
    objects.read(KEY, 0, 6)
    until_written(objects, "packs/cd/2.pack", 6000)
    assert objects.sweep_cache(lambda keys: {KEY}.intersection(keys)) == 1
    until(lambda: not list((tmp_path / "cache").rglob("2.pack")))
    assert objects.read_warm("packs/cd/2.pack", 0, 6) is None
    assert objects.read_warm(KEY, 0, 6) is not None
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "cache").rglob("[0-9]"))


def test_reads_again_past_a_damaged_cache(objects: Counted, tmp_path: Path, data: bytes) -> None:
    objects.read(KEY, 0, BLOCK)
    path = tmp_path / "cache" / KEY / "0"
    while objects._cache is not None and not objects._cache.has(KEY, 0):
        time.sleep(0.01)
    with path.open("r+b") as file:
        file.write(b"damage")
    assert objects.read_again(KEY, 0, 10) == data[:10]
    assert objects.read(KEY, 0, 10) == data[:10]


def test_a_cache_in_memory_alone_reads_the_same(
    way: FaultyProxy, bucket: str, tmp_path: Path, data: bytes
) -> None:
    objects = opened(way, bucket, tmp_path / "cache", 0)
    for start in range(0, SIZE - 1000, BLOCK // 2):
        assert objects.read(KEY, start, 1000) == data[start : start + 1000]
    assert objects.read_warm(KEY, SIZE - 1000 - BLOCK, 5) is not None
    assert not (tmp_path / "cache").exists()
    objects.close()
