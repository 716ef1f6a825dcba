"""Frames as they leave the storage: read, and compared with the CRC-32 that was made when they were stored.

The one way from a pack to whoever is given a stored frame: native frames, DICOMweb frames, instances,
exports, bulk data, rendered images. The bytes may come from a disk, from S3, or from a cache before either;
what is compared is what the caller gets. A frame whose bytes differ is read once more past every cache; if it
is still not the one that was stored, it is not returned.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from cachetools import LRUCache
from isal import isal_zlib

from lightwell.domain.image_sets.frame_checks import BLOCK, Prefix, block_count
from lightwell.errors import DamagedError
from lightwell.observe import metrics
from lightwell.observe.logs import event
from lightwell.stores.objects.interface import Objects

WHOLE = 4 << 20
"""Of frames up to this length all bytes are read even where only some of them are wanted."""

# Of long frames without checks of their blocks: what these would be, found out when a part was wanted.
_found_blocks: LRUCache[tuple[str, int, int, int], tuple[int, ...]] = LRUCache(256)
_found_lock = threading.Lock()
_listeners: list[Callable[[str, int, int], None]] = []
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


def range_of(span: CheckedSpan, start: int, length: int) -> CheckedRange | None:
    """What has to be read for ``length`` bytes of a frame from byte ``start`` on.

    It begins and ends where the frame has a checksum: at the end of a resolution level, of a block of a long
    frame, or of the whole. None if that would be too much for a frame longer than `WHOLE` that has no checks
    of its blocks yet: `read_part` finds them out.
    """
    if span.checksum is None or length <= 0:
        return CheckedRange(span.offset + start, length, 0, None, 0, length)
    if not _has_blocks(span):
        with _found_lock:
            span = replace(span, blocks=_found_blocks.get(_frame(span), ()))
    has_blocks = _has_blocks(span)
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
        return None
    return CheckedRange(span.offset + begin, end - begin, before, checksum, start - begin, length)


def read_part(objects: Objects, span: CheckedSpan, start: int, length: int) -> bytes:
    """``length`` bytes of a frame from byte ``start`` on, as `range_of` has them checked.

    Raises `DamagedError` where they are not the ones that were stored.
    """
    wanted = range_of(span, start, length)
    if wanted is None:
        span = replace(span, blocks=_find_blocks(objects, span))
        wanted = range_of(span, start, length)
        assert wanted is not None, "it has checks of its blocks"
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
    # All of it is compared on its way, so that it is read once only.
    is_rolling = not start and span.checksum is not None and range_of(span, 0, 1) is None
    rolling = 0
    while start < span.length:
        end = min((start // BLOCK + 1) * BLOCK, span.length)
        if is_rolling:
            piece = objects.read(span.object, span.offset + start, end - start)
            rolling = _crc32(piece, rolling)
            if end == span.length and rolling != span.checksum:
                raise damaged(span.object, span.offset, span.length)
        else:
            piece = read_part(objects, span, start, end - start)
        yield piece
        start = end


def matches(data: bytes | memoryview, checksum: int | None) -> bool:
    """Whether these may be the bytes of a frame with this checksum, which is None while there is none."""
    return checksum is None or _crc32(data) == checksum


def _has_blocks(span: CheckedSpan) -> bool:
    return len(span.blocks) >= block_count(span.length)


def _frame(span: CheckedSpan) -> tuple[str, int, int, int]:
    assert span.checksum is not None
    return span.object, span.offset, span.length, span.checksum


def _find_blocks(objects: Objects, span: CheckedSpan) -> tuple[int, ...]:
    """The checksums of the blocks of a frame that is read and compared as a whole for them.

    Raises `DamagedError` where it is not the one that was stored: none of its parts can be proved then.
    """
    blocks = _blocks(objects.read, span) or _blocks(objects.read_again, span)
    if blocks is None:
        raise damaged(span.object, span.offset, span.length)
    with _found_lock:
        _found_blocks[_frame(span)] = blocks
    return blocks


def _blocks(read: Callable[[str, int, int], bytes], span: CheckedSpan) -> tuple[int, ...] | None:
    """The checksums of the blocks as they are read; None where the whole is not what was stored."""
    rolling, found = 0, []
    for start in range(0, span.length, BLOCK):
        rolling = _crc32(read(span.object, span.offset + start, min(BLOCK, span.length - start)), rolling)
        found.append(rolling)
    return tuple(found[:-1]) if found[-1] == span.checksum else None


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


def tell(listener: Callable[[str, int, int], None] | None) -> None:
    """Have ``listener`` told of all damage that this process meets: object, offset and length.

    It must neither wait nor raise; it may be called on an event loop.
    """
    _listeners[:] = [] if listener is None else [listener]


def damaged(key: str, offset: int, length: int) -> DamagedError:
    """What to raise for stored bytes that differ; says so in the log and the metrics, too."""
    metrics.count("lightwell_damaged_reads_total", "frame")
    for listener in _listeners:
        listener(key, offset, length)
    event(_log, logging.ERROR, "damaged_bytes", object=key, offset=offset, length=length)
    return DamagedError(
        "The stored bytes of a frame are damaged: their checksum differs from that of what was stored "
        f"({key}, {length} bytes at {offset}); run `lightwell data verify`."
    )
