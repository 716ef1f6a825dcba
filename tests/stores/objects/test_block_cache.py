"""The cache of blocks on local disk: what it returns, and what becomes of damage, crashes and a full disk."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from lightwell.stores.objects.block_cache import BLOCK, BLOCKS, BlockCache, cut

KEY = "packs/ab/00000000000000ab.pack"
SIZE = BLOCKS * BLOCK + 3 * BLOCK + 12345


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(1).randbytes(SIZE)


def blocks_of(data: bytes) -> dict[int, bytes]:
    return {at // BLOCK: data[at : at + BLOCK] for at in range(0, len(data), BLOCK)}


def filled(root: Path, data: bytes, limit: int = 1 << 30) -> BlockCache:
    cache = BlockCache(root, limit)
    for number, block in blocks_of(data).items():
        assert cache.store(KEY, number, block)
    return cache


def test_returns_any_range_across_blocks_and_files(tmp_path: Path, data: bytes) -> None:
    cache = filled(tmp_path / "cache", data)
    edge = BLOCKS * BLOCK
    ranges = [(0, 1), (BLOCK - 1, 2), (edge - 5, 10), (SIZE - 1, 1), (0, SIZE), (edge - BLOCK, 3 * BLOCK)]
    for offset, length in ranges:
        assert cache.read_warm(KEY, offset, length) == data[offset : offset + length]
    for offset, length in ((SIZE - 1, 2), (SIZE, 1), (SIZE + BLOCK, 1)):
        assert cache.read_warm(KEY, offset, length) is None  # the object ends before
    assert cache.read_warm("packs/ab/other.pack", 0, 1) is None
    for one in (cache, BlockCache(cache.root, 1 << 30)):
        assert one.written(KEY, 30, 40) == set(range(30, 36)) and not one.written(KEY, 36, 70)
        assert one.written(KEY, 3, 3) == one.written("packs/ab/other.pack", 0, 5) == set()
    assert cache.keys() == {KEY}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "cache").rglob("[0-9]")} == {0o600}


def test_another_process_compares_each_block_once_and_then_reads_it(tmp_path: Path, data: bytes) -> None:
    filled(tmp_path, data).close()
    other = BlockCache(tmp_path, 1 << 30)
    compared: list[int] = []
    other.on_load = compared.append
    assert other.read_warm(KEY, 0, 10) is None  # the file is not open yet
    assert other.load(KEY, [0, 34, 35, 36]) == {n: b for n, b in blocks_of(data).items() if n in (0, 34, 35)}
    assert other.read_warm(KEY, 0, 10) == data[:10]
    assert len(compared) == 3
    # Of an open file also what another process has written since, if it is in memory.
    for _ in range(2):
        assert other.read_warm(KEY, BLOCK - 5, BLOCK + 10) == data[BLOCK - 5 :][: BLOCK + 10]
    assert len(compared) == 5


def test_damage_of_any_byte_is_as_if_the_block_were_not_there(tmp_path: Path, data: bytes) -> None:
    filled(tmp_path, data).close()
    path = tmp_path / KEY / "0"
    for at in (17, BLOCK - 1, 5 * BLOCK, BLOCKS * BLOCK + 3, BLOCKS * BLOCK + 16 * 9 + 8):
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 0x10]))
    # Blocks 0 and 5; the table's entries of 0 and 9.
    warm = BlockCache(tmp_path, 1 << 30)
    warm.load(KEY, [1])
    found = [number for number in range(BLOCKS) if warm.read_warm(KEY, number * BLOCK + 9, 1) is not None]
    assert found == sorted(set(range(BLOCKS)) - {0, 5, 9})
    assert set(BlockCache(tmp_path, 1 << 30).load(KEY, range(BLOCKS))) == set(range(BLOCKS)) - {0, 5, 9}
    os.truncate(path, 2 * BLOCK)
    assert BlockCache(tmp_path, 1 << 30).load(KEY, range(BLOCKS)) == {}
    # A block under another name, or at another place, is not that block.
    (tmp_path / KEY / "1").replace(path)
    assert BlockCache(tmp_path, 1 << 30).load(KEY, range(BLOCKS)) == {}


def test_a_killed_writer_leaves_no_half_block(tmp_path: Path, data: bytes) -> None:
    program = (
        "import os, sys; from pathlib import Path\n"
        "from lightwell.stores.objects import block_cache\n"
        "cache = block_cache.BlockCache(Path(sys.argv[1]), 1 << 30)\n"
        f"cache.store({KEY!r}, 0, b'a' * block_cache.BLOCK)\n"
        "write = os.pwrite\n"
        "os.pwrite = lambda fd, data, at: os._exit(write(fd, data[:1000], at) and 9)\n"
        f"cache.store({KEY!r}, 1, b'b' * block_cache.BLOCK)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)]).returncode == 9
    found = BlockCache(tmp_path, 1 << 30).load(KEY, [0, 1])
    assert found == {0: b"a" * BLOCK}


def test_drops_an_object_and_notices_that_another_process_did(tmp_path: Path, data: bytes) -> None:
    one = filled(tmp_path, data)
    one.memory.keep(KEY, 0, data[:BLOCK])
    other = BlockCache(tmp_path, 1 << 30)
    other.load(KEY, range(36))
    one.drop(KEY)
    one.drop(KEY)
    assert one.read_warm(KEY, 0, 10) is None and other.read_warm(KEY, 0, 10) is None
    assert not (tmp_path / KEY).exists()
    other.forget_removed()
    assert other.keys() == set()
    assert not any(str(tmp_path / KEY) in name for name in open_files())


def open_files() -> list[str]:
    """What this process has open; a removed file has a name, too."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(link.readlink()))
    return found


def test_comes_down_to_its_limit_by_what_was_read_least_recently(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, 8 * BLOCK)
    for number in range(12):
        assert cache.store(f"packs/{number:02d}", 0, os.urandom(BLOCK))
        os.utime(tmp_path / f"packs/{number:02d}" / "0", (number, number))
    os.utime(tmp_path / "packs/05" / "0", (99, 99))
    cache.evict()
    assert cache.size() <= 8 * BLOCK
    left = {path.parent.name for path in tmp_path.rglob("0")}
    assert "05" in left and "11" in left and "04" not in left


@pytest.mark.parametrize("reason", ["no limit", "no folder", "full"])
def test_without_a_usable_disk_blocks_stay_in_a_bounded_memory(
    tmp_path: Path, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "cache"
    if reason == "no folder":
        root.write_text("a file")
    if reason == "full":

        def no_space(*arguments: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "pwrite", no_space)
    cache = BlockCache(root, 0 if reason == "no limit" else 1 << 30, memory=4 * BLOCK)
    for number in range(6):
        block = bytes([number]) * BLOCK
        assert not cache.store(KEY, number, block)
        cache.memory.keep(KEY, number, block)
    assert not cache.writes
    assert cache.claim(KEY, 0, 1)
    assert cache.read_warm(KEY, 0, 1) is None
    assert cache.read_warm(KEY, 3 * BLOCK - 1, 2) == b"\2\3"
    assert cache.load(KEY, [0]) == {}
    assert cache.keys() == {KEY}
    cache.drop(KEY)
    assert cache.read_warm(KEY, 5 * BLOCK, 1) is None


def test_a_nearly_full_disk_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = BlockCache(tmp_path, 1 << 30)
    assert cache.store(KEY, 0, os.urandom(BLOCK))
    real = os.statvfs(tmp_path)
    values = list(real)
    values[4] = 0  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(values))
    cache.evict()
    assert not cache.writes and cache.size() == 0


def test_only_one_process_may_claim_a_block(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, 1 << 30)
    assert cache.claim(KEY, 3, 4)
    program = (
        "import sys; from pathlib import Path\n"
        "from lightwell.stores.objects.block_cache import BlockCache\n"
        "cache = BlockCache(Path(sys.argv[1]), 1 << 30)\n"
        f"print(*[cache.claim({KEY!r}, n, 1) for n in (2, 3, 6, 7)], cache.claim('packs/other', 3, 1))\n"
    )

    def claims() -> str:
        run = [sys.executable, "-c", program, str(tmp_path)]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout

    assert claims() == "True False False True True\n"
    cache.release(KEY, 3, 4)
    assert claims() == "True True True True True\n"


def test_calls_back_where_a_mark_is_first_passed(tmp_path: Path, data: bytes) -> None:
    cache = filled(tmp_path, data)
    passed: list[tuple[str, int]] = []
    cache.on_mark = lambda key, block: passed.append((key, block))
    cache.mark(KEY, 2 * BLOCK)
    cache.read_warm(KEY, 0, 2 * BLOCK)
    assert passed == []
    cache.read_warm(KEY, BLOCK, BLOCK + 1)
    cache.read_warm(KEY, BLOCK, BLOCK + 1)
    assert passed == [(KEY, 2)]


def test_cuts_out_of_blocks_that_follow_one_another() -> None:
    blocks = [b"a" * BLOCK, b"b" * BLOCK, b"c" * 10]
    whole = b"".join(blocks)
    for start, length in ((0, 5), (BLOCK - 1, BLOCK + 2), (5, 2 * BLOCK), (BLOCK - 1, BLOCK + 11)):
        touched = blocks[: 1 + (start + length - 1) // BLOCK]
        assert cut(touched, start, length) == whole[start : start + length]
    assert cut(blocks, BLOCK - 1, BLOCK + 99) == whole[BLOCK - 1 :]
