"""Blocks in memory that several processes write and read without a lock."""

from __future__ import annotations

import os
import random
import time

from lightwell.stores.objects import shared_blocks
from lightwell.stores.objects.shared_blocks import BLOCK, SharedBlocks, checksum

KEY = "packs/ab/00000000000000ab.pack"


def put(shared: SharedBlocks, key: str, block: int, data: bytes) -> None:
    shared.put(key, block, data, checksum(key, block, data))


def test_keeps_the_newest_blocks_and_only_those_that_are_whole() -> None:
    shared = SharedBlocks(16 * BLOCK)
    contents = {number: random.Random(number).randbytes(BLOCK - number) for number in range(40)}
    for number, data in contents.items():
        put(shared, KEY, number, data)
    found = {number: shared.get(KEY, number) for number in contents}
    assert [number for number, data in found.items() if data is not None] == list(range(24, 40))
    assert all(found[number] == contents[number] for number in range(24, 40))
    assert shared.has(KEY, 39) and not shared.has(KEY, 3) and shared.get("packs/other", 39) is None
    assert shared.keys() == {KEY}

    # Neither a wrong checksum nor damage of any byte of a head or a block goes unnoticed.
    shared.put("packs/wrong", 0, b"abc", 5)
    assert shared.get("packs/wrong", 0) is None
    for at in range(shared_blocks._HEAD):
        put(shared, "packs/cd", 7, b"some bytes")
        (index,) = (index for _, index in shared._found("packs/cd", 7))
        place = index * shared_blocks._HEAD + at
        shared._map[place] ^= 4
        assert shared.get("packs/cd", 7) == (None if at < 92 else b"some bytes")
        shared._map[place] ^= 4
    shared._map[shared._data + index * BLOCK + 3] ^= 1
    assert shared.get("packs/cd", 7) is None

    shared.drop(KEY)
    assert shared.keys() <= {"packs/wrong", "packs/cd"}
    assert contents[39][:100] not in bytes(shared._map)
    put(shared, "packs/" + "x" * 99, 0, b"abc")
    assert shared.get("packs/" + "x" * 99, 0) is None


def test_never_gives_out_what_several_processes_write_at_once() -> None:
    shared = SharedBlocks(4 * BLOCK)  # one set, so that all of them want the same places
    contents = {number: bytes([number]) * (BLOCK - number) for number in range(8)}
    children = []
    for child in range(3):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                some = random.Random(child)
                end = time.monotonic() + 0.5
                while time.monotonic() < end:
                    number = some.randrange(8)
                    found = shared.get(KEY, number)
                    if found is None:
                        put(shared, KEY, number, contents[number])
                    elif found != contents[number]:
                        break
                else:
                    status = 0
            finally:
                os._exit(status)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert any(shared.get(KEY, number) is not None for number in range(8))
