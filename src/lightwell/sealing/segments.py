"""A sealed pack: AES-256-GCM in segments, so that a frame, or the first levels of one, can be read alone.

What is appended between two calls of `Sealer.begin` is an *item*: a frame, an original. One of at most
`WHOLE` bytes is a segment; a longer one is cut at fixed borders, counted from its own beginning. Each segment
is encrypted alone, with its number in the pack as the nonce, and followed by its tag. Offsets in a sealed
pack are those of what was appended (*plain*): whoever reads a pack does not see that it is sealed.

A pack has a key of its own: HKDF-SHA-256 (RFC 5869) of the key of its data store, its number and 32 random
bytes that the writer draws. So no key meets the same nonce twice, whatever is written again after a crash,
and a segment fits nowhere but where it stands. The construction is that of Tink's AES-GCM-HKDF streaming AEAD
with other borders.

File: ``LWS1`` and the random bytes; the segments; the lengths of the items (zstd of u64, little-endian,
encrypted as the segment 2⁹⁶ - 1), the length of that (u32), ``LWS1``. Head and lengths stand in the row of
the pack, too, as its *seal*.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lightwell.sealing.errors import SealError

MAGIC = b"LWS1"
SALT = 32
HEAD = len(MAGIC) + SALT
TAG = 16
KEY = 32
"""Bytes of a key."""
WHOLE = 256 << 10
"""An item of so many bytes is decrypted as a whole, which takes no longer than finding a part of it."""
FIRST = 64 << 10
"""The length of the first segment of a longer item: there are its first resolution levels."""
STEP = 512 << 10
"""Where the next ones end: at multiples of this."""
_MOST_ITEMS = 1 << 20
"""What is appended to a pack of so many belongs to its last one."""
_LAST = b"\xff" * 12
"""The nonce of the lengths of the items."""
_LENGTH = struct.Struct("<I")
_compressor = zstandard.ZstdCompressor(level=3)


def grant_of(data_key: bytes, pack: int) -> bytes:
    """What is needed to write, and to read, one pack of a data store; tells nothing about others."""
    return _derive(data_key, None, b"lightwell pack 1" + pack.to_bytes(8, "big"))


def grant_of_file(data_key: bytes, name: str) -> bytes:
    """What is needed to write, and to read, the files of a data store that have this name."""
    return _derive(data_key, None, b"lightwell file 1" + name.encode("utf-8", "surrogateescape"))


def new_grant() -> bytes:
    """As `grant_of`, for a file that belongs to no data store's key, and is lost with this one."""
    return os.urandom(KEY)


def _derive(key: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(SHA256(), length=KEY, salt=salt, info=info).derive(key)


def _segments_of(length: int) -> int:
    """How many segments an item of this length has."""
    return 1 - (-length // STEP) if length > WHOLE else min(length, 1)


def _begin_of(number: int, length: int) -> int:
    """Where a segment of an item of this length begins; where the item ends, after its last one."""
    if length <= WHOLE:
        return length if number else 0
    return min((0, FIRST)[number] if number < 2 else (number - 1) * STEP, length)


def _number_at(position: int, length: int) -> int:
    """The segment of an item of this length that has this byte."""
    return 0 if length <= WHOLE or position < FIRST else 1 + position // STEP


class Sealer:
    """Encrypts a pack while it is written; ``out`` gets the bytes of the file."""

    def __init__(self, grant: bytes, out: Callable[[bytes], None]) -> None:
        self._head = MAGIC + os.urandom(SALT)
        self._cipher = AESGCM(_derive(grant, self._head, b"lightwell segments 1"))
        self._out = out
        self._number = 0  # of the next segment in the pack
        self._lengths = array("Q")
        self._item = 0  # bytes of this item that are encrypted
        self._pending = bytearray()
        out(self._head)

    def begin(self) -> None:
        """An item ends here, if it has any bytes, and the next begins."""
        if len(self._lengths) < _MOST_ITEMS - 1:
            self._end()

    def _end(self) -> None:
        if self._pending:
            self._encrypt(len(self._pending))
        if self._item:
            self._lengths.append(self._item)
        self._item = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append to the item."""
        view = memoryview(data)
        while view:
            # How the beginning of an item is cut is known when there is more of it than fits into one.
            end = STEP if not self._item else (self._item // STEP + 1) * STEP
            room = end - self._item - len(self._pending)
            self._pending += view[:room]
            view = view[room:]
            if not self._item and len(self._pending) > WHOLE:
                self._encrypt(FIRST)
            if self._item + len(self._pending) == end:
                self._encrypt(len(self._pending))

    def finish(self) -> bytes:
        """End the pack; returns its seal. Nothing can be written afterwards."""
        self._end()
        lengths = _compressor.compress(_little(self._lengths).tobytes())
        lengths = self._cipher.encrypt(_LAST, lengths, None)
        self._out(lengths + _LENGTH.pack(len(lengths)) + MAGIC)
        return self._head + lengths

    def _encrypt(self, length: int) -> None:
        """So many bytes of what is pending are a segment."""
        if length == len(self._pending):
            data, self._pending = self._pending, bytearray()
        else:
            data = self._pending[:length]
            del self._pending[:length]
        self._out(self._cipher.encrypt(_nonce(self._number), data, None))
        self._number += 1
        self._item += length


class PackCipher:
    """Reads a sealed pack. Raises `SealError` for a ``seal`` that `Sealer.finish` did not return."""

    __slots__ = ("_begins", "_cipher", "_firsts", "file_size", "size", "weight")

    def __init__(self, grant: bytes, seal: bytes) -> None:
        head = seal[:HEAD]
        self._cipher = AESGCM(_derive(grant, head, b"lightwell segments 1"))
        try:
            if not head.startswith(MAGIC):
                raise ValueError("another format")
            packed = self._cipher.decrypt(_LAST, seal[HEAD:], None)
            lengths = _lengths_of(packed)
        except (InvalidTag, ValueError, zstandard.ZstdError):
            raise SealError(
                "The seal of a pack is damaged, or the pack was sealed under another key."
            ) from None
        self._begins = array("Q", accumulate(lengths, initial=0))
        """Where each item begins; at last, where the pack ends."""
        self._firsts = array("Q", accumulate(map(_segments_of, lengths), initial=0))
        """The number of its first segment; at last, how many there are."""
        self.size = self._begins[-1]
        """The plain bytes of the pack."""
        tags = TAG * self._firsts[-1]
        self.file_size = HEAD + self.size + tags + len(seal) - HEAD + _LENGTH.size + len(MAGIC)
        """The bytes of its file."""
        self.weight = 16 * len(self._begins) + 512
        """About how many bytes of memory this takes."""

    def range_of(self, offset: int, length: int) -> tuple[int, int]:
        """``(offset, length)`` in the file of the segments with these plain bytes.

        Raises `SealError` if the pack does not have them.
        """
        if offset < 0 or length <= 0 or offset + length > self.size:
            raise SealError(f"A pack has no {length} bytes at {offset}: it ends at {self.size}.")
        begins = self._begins
        item = bisect_right(begins, offset) - 1
        begin = begins[item]
        end = offset + length
        if begin == offset and begins[item + 1] == end:  # a whole frame
            first, after = self._firsts[item], self._firsts[item + 1]
        else:
            number = _number_at(offset - begin, begins[item + 1] - begin)
            first = self._firsts[item] + number
            begin += _begin_of(number, begins[item + 1] - begin)
            if end > begins[item + 1]:
                item = bisect_right(begins, end - 1) - 1
            last = begins[item]
            number = _number_at(end - 1 - last, begins[item + 1] - last) + 1
            after = self._firsts[item] + number
            end = last + _begin_of(number, begins[item + 1] - last)
        return HEAD + begin + first * TAG, end - begin + (after - first) * TAG

    def open(self, data: bytes | memoryview, offset: int, length: int) -> bytes:
        """The plain bytes, from those of the file at `range_of`. Raises `SealError` if they are not."""
        begins = self._begins
        item = bisect_right(begins, offset) - 1
        start, size = begins[item], begins[item + 1] - begins[item]
        number = _number_at(offset - start, size)
        begin = start + _begin_of(number, size)
        skip = offset - begin
        decrypt = self._cipher.decrypt
        view = memoryview(data)
        parts: list[bytes] = []
        at = 0
        try:
            while at < len(view):
                end = start + _begin_of(number + 1, size)
                step = end - begin + TAG
                parts.append(decrypt(_nonce(self._firsts[item] + number), view[at : at + step], None))
                at += step
                begin = end
                number += 1
                if end == start + size:
                    item, number = item + 1, 0
                    start = end
                    size = begins[item + 1] - start if item + 1 < len(begins) else 0
        except InvalidTag:
            raise SealError(
                f"The bytes of a sealed pack at {offset} are damaged, or were sealed under another key."
            ) from None
        plain = parts[0] if len(parts) == 1 else b"".join(parts)
        return plain if len(plain) == length else plain[skip : skip + length]


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _lengths_of(packed: bytes) -> array[int]:
    data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=8 * _MOST_ITEMS)
    return _little(array("Q", data))


def _little(numbers: array[int]) -> array[int]:
    """The same numbers in the other order of bytes, on a machine that has that one."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers


def seal_of(read: Callable[[int, int], bytes], size: int) -> bytes:
    """The seal at the ends of a file of ``size`` bytes, for rescue where the row is lost.

    ``read(offset, length)`` reads the file. Raises `SealError` if it has none.
    """
    end = _LENGTH.size + len(MAGIC)
    if size < HEAD + end:
        raise SealError("This is not a sealed pack: it is too short.")
    last = read(size - end, end)
    (length,) = _LENGTH.unpack_from(last)
    if last[_LENGTH.size :] != MAGIC or length > size - HEAD - end:
        raise SealError("This is not a sealed pack: it has no seal at its end.")
    return read(0, HEAD) + read(size - end - length, length)
