"""Sealed packs: what is read is what was written, wherever it is read, or it is refused."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightwell.sealing.errors import SealError
from lightwell.sealing.segments import (
    FIRST,
    HEAD,
    STEP,
    TAG,
    WHOLE,
    PackCipher,
    Sealer,
    grant_of,
    seal_of,
)

GRANT = grant_of(b"k" * 32, 7)
BORDERS = [FIRST, WHOLE, STEP, 2 * STEP, 3 * STEP]
# Lengths about the borders, where mistakes would be.
LENGTHS = st.one_of(
    st.integers(0, 40_000), st.sampled_from([b + d for b in BORDERS for d in (-1, 0, 1)]), st.just(0)
)


def sealed(items: list[bytes], piece: int = 1 << 30, grant: bytes = GRANT) -> tuple[bytes, bytes]:
    """The file and the seal of a pack; each item is written in pieces."""
    parts: list[bytes] = []
    sealer = Sealer(grant, parts.append)
    for item in items:
        sealer.begin()
        for start in range(0, len(item), piece):
            sealer.write(memoryview(item)[start : start + piece])
    return (seal := sealer.finish()) and b"".join(parts), seal


def read(file: bytes, cipher: PackCipher, offset: int, length: int) -> bytes:
    start, count = cipher.range_of(offset, length)
    assert start + count <= len(file)
    return cipher.open(file[start : start + count], offset, length)


@given(
    lengths=st.lists(LENGTHS, min_size=1, max_size=6),
    piece=st.sampled_from([1 << 30, 1 << 16, 8191, 5000]),
    data=st.data(),
)
def test_any_range_of_any_items_is_read_back(lengths: list[int], piece: int, data: st.DataObject) -> None:
    items = [os.urandom(length) for length in lengths]
    plain = b"".join(items)
    file, seal = sealed(items, piece)
    cipher = PackCipher(GRANT, seal)
    assert cipher.size == len(plain)
    offset = 0
    for item in items:
        if item:
            assert read(file, cipher, offset, len(item)) == item
        offset += len(item)
    for _ in range(8 if plain else 0):
        start = data.draw(st.integers(0, len(plain) - 1))
        length = data.draw(st.integers(1, len(plain) - start))
        assert read(file, cipher, start, length) == plain[start : start + length]


def test_a_level_at_the_beginning_of_a_frame_is_read_without_the_rest() -> None:
    _, seal = sealed([os.urandom(2 << 20)] * 2)
    cipher = PackCipher(GRANT, seal)
    _, count = cipher.range_of(2 << 20, 5_000)
    assert count == FIRST + TAG


def test_every_flipped_bit_of_the_file_is_refused() -> None:
    item = os.urandom(300)
    file, seal = sealed([item])
    cipher = PackCipher(GRANT, seal)
    for bit in range(8 * HEAD, 8 * (HEAD + len(item) + TAG)):
        changed = bytearray(file)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealError):
            read(bytes(changed), cipher, 0, len(item))


def test_every_flipped_bit_of_the_seal_is_refused() -> None:
    items = [os.urandom(300), os.urandom(9000)]
    _, seal = sealed(items)
    for bit in range(8 * len(seal)):
        changed = bytearray(seal)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealError):
            PackCipher(GRANT, bytes(changed))


def test_a_segment_fits_nowhere_but_where_it_stands() -> None:
    size = 8 << 10
    items = [os.urandom(size) for _ in range(3)]
    file, seal = sealed(items)
    other, _ = sealed(items)
    cipher = PackCipher(GRANT, seal)
    step = size + TAG
    places = [HEAD + n * step for n in range(3)]
    for here, there in pairwise(places):
        swapped = file[:here] + file[there : there + step] + file[here + step :]
        with pytest.raises(SealError):
            read(swapped, cipher, (here - HEAD) // step * size, size)
    # The same items in the same pack, written again: another key.
    with pytest.raises(SealError):
        read(file[:HEAD] + other[HEAD:], cipher, 0, size)


def test_another_pack_or_another_data_key_does_not_open_it() -> None:
    file, seal = sealed([b"pixels" * 100])
    assert read(file, PackCipher(GRANT, seal), 0, 600) == b"pixels" * 100
    for grant in (grant_of(b"k" * 32, 8), grant_of(b"K" * 32, 7)):
        with pytest.raises(SealError):
            PackCipher(grant, seal)


def test_bytes_that_a_pack_does_not_have_are_refused() -> None:
    file, seal = sealed([b"pixels" * 100])
    cipher = PackCipher(GRANT, seal)
    for offset, length in ((-1, 2), (0, 601), (600, 1), (0, 0), (5, -1)):
        with pytest.raises(SealError):
            cipher.range_of(offset, length)
    with pytest.raises(SealError):
        cipher.open(file[HEAD : HEAD + 300], 0, 600)


def test_the_seal_stands_in_the_file_too() -> None:
    file, seal = sealed([os.urandom(70_000), os.urandom(3)])
    assert seal_of(lambda offset, length: file[offset : offset + length], len(file)) == seal
    for wrong in (b"", b"LWS1", file[:-1], file[:HEAD], b"x" * 200):
        with pytest.raises(SealError):
            seal_of(lambda offset, length, wrong=wrong: wrong[offset : offset + length], len(wrong))  # type: ignore[misc]
