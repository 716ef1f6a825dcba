"""Frames as they leave the storage: read, and compared with the CRC-32 that was made when they were stored.

The one way from a pack to whoever is given a stored frame: native frames, DICOMweb frames, instances,
exports, bulk data, rendered images. The bytes may come from a disk, from S3, or from a cache before either;
what is compared is what the caller gets. A frame whose bytes differ is read once more past every cache; if it
is still not the one that was stored, it is not returned.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from isal import isal_zlib

from lightwell.domain.image_sets.frame_checks import BLOCK, Prefix, block_count
from lightwell.errors import DamagedError
from lightwell.observe import metrics
from lightwell.observe.logs import event
from lightwell.stores.objects.interface import Objects

WHOLE = 4 << 20
"""Of frames up to this length all bytes are read even where only some of them are wanted."""

_log = logging.getLogger(__name__)
_crc32 = isal_zlib.crc32


@dataclass(frozen=True, slots=True)
class CheckedSpan:
    """A frame of a pack. ``checksum`` is the CRC-32 of its bytes, None while it has none.

    ``levels`` and ``blocks`` as `domain.image_sets.frame_checks.FrameChecks` has them.
    """

    object: str
    offset: int
    length: int
    checksum: int | None
    levels: tuple[Prefix, ...] = ()
    blocks: tuple[int, ...] = ()


def read_warm(objects: Objects, key: str, offset: int, length: int, checksum: int | None) -> bytes | None:
    """A whole frame, None if that would block. Raises what `Objects.read_warm` raises.

    Bytes that are not the stored ones count as absent: `read_part` then says so, or finds better ones.
    """
    data = objects.read_warm(key, offset, length)
    if data is None or checksum is None or _crc32(data) == checksum:
        return data
    return None


@dataclass(frozen=True, slots=True)
class CheckedRange:
    """What to read of a pack for a part of a frame: ``length`` bytes at ``offset``.

    Their CRC-32, continued from ``before``, has to be ``checksum``, if that is known; the part are the
    ``wanted`` bytes from byte ``start`` on.
    """

    offset: int
    length: int
    before: int
    checksum: int | None
    start: int
    wanted: int

    def part(self, data: bytes) -> bytes | None:
        """The part, from all that was read; None if that is not what was stored."""
        if self.checksum is not None and _crc32(data, self.before) != self.checksum:
            return None
        return data if len(data) == self.wanted else data[self.start : self.start + self.wanted]


def range_of(span: CheckedSpan, start: int, length: int) -> CheckedRange:
    """What has to be read for ``length`` bytes of a frame from byte ``start`` on.

    It begins and ends where the frame has a checksum: at the end of a resolution level, of a block of a long
    frame, or of the whole. Frames longer than `WHOLE` that have no checks of their blocks yet are not checked
    in parts.
    """
    if span.checksum is None or length <= 0:
        return CheckedRange(span.offset + start, length, 0, None, 0, length)
    has_blocks = len(span.blocks) >= block_count(span.length)
    # Between the last checksum before the part and the first one after it.
    begin, before, end, checksum = 0, 0, span.length, span.checksum
    if has_blocks and span.blocks:
        first, last = start // BLOCK, (start + length - 1) // BLOCK
        if first:
            begin, before = first * BLOCK, span.blocks[first - 1]
        if last < len(span.blocks):
            end, checksum = (last + 1) * BLOCK, span.blocks[last]
    for level in span.levels:
        if begin < level.length <= start:
            begin, before = level.length, level.checksum
        if start + length <= level.length < end:
            end, checksum = level.length, level.checksum
    if not has_blocks and WHOLE < end - begin != length:
        return CheckedRange(span.offset + start, length, 0, None, 0, length)
    return CheckedRange(span.offset + begin, end - begin, before, checksum, start - begin, length)


def read_part(objects: Objects, span: CheckedSpan, start: int, length: int) -> bytes:
    """``length`` bytes of a frame from byte ``start`` on, as `range_of` has them checked.

    Raises `DamagedError` where they are not the ones that were stored.
    """
    wanted = range_of(span, start, length)
    place = wanted.offset, wanted.length
    part = wanted.part(objects.read(span.object, *place))
    if part is None:
        part = wanted.part(_read_again(objects, span.object, place, wanted.before, wanted.checksum))
        assert part is not None, "compared"
    return part


def pieces(objects: Objects, span: CheckedSpan, start: int = 0) -> Iterator[bytes]:
    """A frame from byte ``start`` on, a long one in pieces of at most `BLOCK` bytes.

    Raises `DamagedError` instead of yielding bytes that are not the stored ones; of a long frame without
    checks of its blocks instead of the last piece.
    """
    if span.length <= WHOLE:
        if start < span.length:
            yield read_part(objects, span, start, span.length - start)
        return
    # Without checks of blocks there is only that of the whole; it cannot be known of a part.
    rolling = 0 if not start and not span.blocks and span.checksum is not None else None
    while start < span.length:
        end = min((start // BLOCK + 1) * BLOCK, span.length)
        piece = read_part(objects, span, start, end - start)
        if rolling is not None:
            rolling = _crc32(piece, rolling)
            if end == span.length and rolling != span.checksum:
                raise damaged(span.object, span.offset, span.length)
        yield piece
        start = end


def matches(data: bytes | memoryview, checksum: int | None) -> bool:
    """Whether these may be the bytes of a frame with this checksum, which is None while there is none."""
    return checksum is None or _crc32(data) == checksum


def _read_again(
    objects: Objects, key: str, place: tuple[int, int], before: int, checksum: int | None
) -> bytes:
    """The same range past every cache. ``before`` is the CRC-32 of what stands before it."""
    offset, length = place
    data = objects.read_again(key, offset, length)
    if _crc32(data, before) != checksum:
        raise damaged(key, offset, length)
    event(_log, logging.WARNING, "wrong_bytes_in_memory", object=key, offset=offset, length=length)
    return data


def damaged(key: str, offset: int, length: int) -> DamagedError:
    """What to raise for stored bytes that differ; says so in the log and the metrics, too."""
    metrics.count("lightwell_damaged_reads_total", "frame")
    event(_log, logging.ERROR, "damaged_bytes", object=key, offset=offset, length=length)
    return DamagedError(
        "The stored bytes of a frame are damaged: their checksum differs from that of what was stored "
        f"({key}, {length} bytes at {offset}); run `lightwell data verify`."
    )
