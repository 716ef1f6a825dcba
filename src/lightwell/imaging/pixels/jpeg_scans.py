"""Where a JPEG frame ends, and whether all of it comes before its end marker.

Some devices write more bytes behind the end marker than one to pad a fragment; decoders ignore them. But a
damaged byte may look like an end marker too, and decoders silently fill what is missing with grey. So bytes
behind the end marker are accepted only if it is proven that nothing was missing before it. Source: ITU-T T.81
Annex B.1 (markers), B.2 (segments), A.2 (order of the blocks of a scan), PS3.5 A.4 (padding).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightwell.imaging.errors import PixelFailure, cannot_transcode
from lightwell.imaging.pixels.codestream_header import (
    START_OF_FRAME,
    WITHOUT_SEGMENT,
    marker_at,
    segment_length,
)

_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_PADDING = b"\x00\xff\x20"
_END = b"\xff\xd9"
_ANOTHER = b"\xff\xd8\xff"
_DATA_UNITS = {0xC0: 8, 0xC1: 8, 0xC3: 1}
"""Start of frame of sequential DCT and of lossless frames: samples along a side of a data unit (A.1)."""
# Without markers, and with code words other than the zeros that decoders supply where data is missing.
_FILLER = bytes.fromhex("a55a33cc0ff06996c33c5aa59669f00f") * 4


@dataclass(frozen=True, slots=True)
class JpegScans:
    """``end`` is the offset after the end marker, ``followed`` whether more than padding comes after it.

    ``process`` is the start-of-frame marker, ``sampling`` the factors (horizontal, vertical) of each
    component by its identifier, ``interval`` the restart interval in units of the last scan (0 for none).
    ``coded`` are the identifiers of the components of all scans; ``last`` those of the last scan, and
    ``start`` the offset of its coded data.
    """

    end: int
    followed: bool
    process: int
    rows: int
    columns: int
    sampling: dict[int, tuple[int, int]]
    interval: int
    coded: bytes
    last: bytes
    start: int

    @property
    def has_every_component(self) -> bool:
        """Whether each component is in one scan, as in sequential and lossless frames (B.2.3)."""
        return bool(self.coded) and sorted(self.coded) == sorted(self.sampling)


def read_scans(data: bytes) -> JpegScans:
    """Refuse a JPEG frame without an end marker, or with another image behind it. Raises `PixelFailure`.

    One more byte, of any value, is padding to an even fragment length (PS3.5 A.4).
    """
    position, process, rows, columns, interval = 2, 0, 0, 0, 0
    sampling: dict[int, tuple[int, int]] = {}
    coded, last, start = bytearray(), b"", 0
    try:
        while True:
            marker, position = marker_at(data, position)
            if marker == 0xD9:
                break
            if marker in WITHOUT_SEGMENT:
                continue
            body = position + 2
            position += segment_length(data, position)
            if marker in START_OF_FRAME:
                process = marker
                _, rows, columns, count = struct.unpack_from(">BHHB", data, body)
                parts = [data[body + 6 + 3 * index : body + 9 + 3 * index] for index in range(count)]
                sampling = {part[0]: (part[1] >> 4, part[1] & 15) for part in parts}
            elif marker == 0xDD:
                (interval,) = struct.unpack_from(">H", data, body)
            elif marker == 0xDA:
                last, start = data[body + 1 : body + 1 + 2 * data[body] : 2], position
                coded += last
                next_marker = _NEXT_MARKER.search(data, position)
                if next_marker is None:
                    raise cannot_transcode("a JPEG frame has no end marker: it is cut off")
                position = next_marker.start()
    except (struct.error, IndexError) as error:
        raise cannot_transcode("a JPEG frame has no end marker: it is cut off") from error
    followed = len(data) > position + 1 and bool(data[position:].strip(_PADDING))
    if followed and data.find(_ANOTHER, position) >= 0:
        raise cannot_transcode("a JPEG frame has another image after its end marker")
    return JpegScans(
        position, followed, process, rows, columns, sampling, interval, bytes(coded), last, start
    )


def check_nothing_missing(
    data: bytes, found: JpegScans, samples: NDArray[Any], decode: Callable[[bytes], NDArray[Any]]
) -> None:
    """Refuse a frame that is followed by data unless it is complete at its end marker.

    ``data`` is the frame up to its end marker, which ``decode`` has decoded to ``samples``. If coded data
    were missing there, other bytes in its place would decode to other samples. Progressive frames and those
    of arithmetic coding are refused. Raises `PixelFailure`.
    """
    if found.process not in _DATA_UNITS or not found.last or not found.has_every_component:
        raise _unproven()
    # At a restart decoders do not look at the bytes, only at the marker, so these are counted.
    if found.interval:
        restarts = sum(1 for _ in _RESTART.finditer(data, found.start))
        if restarts != -(-_units(found) // found.interval) - 1:
            raise _unproven()
    marker = _NEXT_MARKER.search(data, found.start)
    if marker is None or data[marker.end() - 2 : marker.end()] != _END:
        raise _unproven()
    if not np.array_equal(decode(data[: marker.start()] + _FILLER + _END), samples):
        raise cannot_transcode("a JPEG frame has an end marker before its coded data ends: it is damaged")


def _units(found: JpegScans) -> int:
    """The minimum coded units of the last scan (A.2)."""
    side = _DATA_UNITS[found.process]
    across, down = (max(factors[axis] for factors in found.sampling.values()) for axis in (0, 1))
    if not (across and down):
        raise _unproven()
    if len(found.last) > 1:
        return -(-found.columns // (side * across)) * -(-found.rows // (side * down))
    horizontal, vertical = found.sampling[found.last[0]]
    columns, rows = -(-found.columns * horizontal // across), -(-found.rows * vertical // down)
    return -(-columns // side) * -(-rows // side)


def _unproven() -> PixelFailure:
    return cannot_transcode(
        "a JPEG frame has data after its end marker, and it cannot be proven that none of it is missing"
    )
