"""Whether the coded data of a lossless JPEG frame is exactly what its decoded samples need.

A damaged frame decodes without an error: libjpeg goes on with zeros where data is missing and skips what is
left over. What is decoded is to be stored as the lossless truth and the frame itself is not kept, so its
entropy-coded data is measured here: the differences that the samples give have code words and further bits
of known lengths, whose sum must be what the scan holds. Source: ITU-T T.81 Annex H (process 14), Annex B.2
(segments), F.1.2.3 (stuffing).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightwell.imaging.errors import cannot_transcode
from lightwell.imaging.pixels.codestream_header import marker_at, segment_length

# Some encoders end an interval with a byte of ones more than the last code word needs.
_SPARE = 3
_BLOCK = 1 << 20
"""Samples that are measured at once."""
_RESTARTS = frozenset(range(0xD0, 0xD8))
_CATEGORIES = np.array([0, *(min(abs(d), 65536 - d).bit_length() for d in range(1, 65536))], np.intp)
_CATEGORIES[32768] = 16


@dataclass(slots=True)
class _Scan:
    """Components with their tables, predictor, point transform, and the bytes of coded data."""

    components: list[tuple[int, dict[int, int]]]
    predictor: int
    shift: int
    size: int
    intervals: int


def check_coded_length(data: bytes, samples: NDArray[Any]) -> None:
    """Refuse a frame of process 14 (SOF3) that has fewer or more coded bytes than ``samples`` need.

    ``samples`` are what it decodes to, (rows, columns) or (rows, columns, components). Frames with subsampled
    components are not measured. Raises `PixelFailure`.
    """
    try:
        precision, rows_apart, scans = _scans(data)
    except (LookupError, ValueError, struct.error) as error:
        raise cannot_transcode("the segments of a JPEG frame are damaged") from error
    for scan in scans:
        bits = 0
        for index, lengths in scan.components:
            plane = samples if samples.ndim == 2 else samples[:, :, index]
            bits += _bits(plane, lengths, scan, precision, rows_apart or len(plane))
        spare = scan.size - bits / 8
        if not 0 <= spare < _SPARE * scan.intervals:
            raise cannot_transcode(
                f"the coded data of a JPEG frame has {scan.size} bytes, and what it decodes to needs"
                f" {-(-bits // 8)}: it is damaged"
            )


def _bits(plane: NDArray[Any], lengths: dict[int, int], scan: _Scan, precision: int, rows_apart: int) -> int:
    """Bits of the code words of one component."""
    found = np.zeros(65536, np.intp)
    step = max(_BLOCK // plane.shape[1], 1)
    for first in range(0, len(plane), step):
        rows = plane[max(first - 1, 0) : first + step]
        # Rows that begin an interval are predicted as the first one is.
        begins = range(-first % rows_apart, len(rows) - min(first, 1), rows_apart)
        differences = _differences(rows, scan, precision, begins, own=min(first, 1))
        found += np.bincount(differences.reshape(-1), minlength=65536)
    counts = np.bincount(_CATEGORIES, found, 17)
    bits = 0
    for category, count in enumerate(counts.astype(np.int64).tolist()):
        if count and category not in lengths:
            raise cannot_transcode(
                "a JPEG frame decodes to what its Huffman tables cannot code: it is damaged"
            )
        if count:
            bits += count * (lengths[category] + category % 16)
    return bits


def _differences(
    plane: NDArray[Any], scan: _Scan, precision: int, begins: range, own: int
) -> NDArray[np.uint16]:
    """What is left of each sample after its prediction (H.1.2.1), modulo 2¹⁶.

    ``own`` is the first row that counts: one before it is there to predict from. ``begins`` are the rows,
    counted from ``own``, before which the prediction starts again.
    """
    values = (plane >> scan.shift).astype(np.int32)
    left, above, corner = values[1:, :-1], values[:-1, 1:], values[:-1, :-1]
    if scan.predictor == 1:
        predicted = left
    elif scan.predictor == 2:
        predicted = above
    elif scan.predictor == 3:
        predicted = corner
    elif scan.predictor == 4:
        predicted = left + above - corner
    elif scan.predictor == 5:
        predicted = left + ((above - corner) >> 1)
    elif scan.predictor == 6:
        predicted = above + ((left - corner) >> 1)
    else:
        predicted = (left + above) >> 1
    result = np.empty(values.shape, np.int32)
    np.subtract(values[1:, 1:], predicted, out=result[1:, 1:])
    np.subtract(values[1:, 0], values[:-1, 0], out=result[1:, 0])
    for row in begins:
        line = values[own + row]
        result[own + row, 0] = line[0] - (1 << (precision - scan.shift - 1))
        np.subtract(line[1:], line[:-1], out=result[own + row, 1:])
    return result[own:].astype(np.uint16)


def _scans(data: bytes) -> tuple[int, int, list[_Scan]]:
    """Precision, rows between restarts (0 for none) and the scans; no scans where they are not measured."""
    tables: dict[int, dict[int, int]] = {}
    numbers: list[int] = []
    precision = columns = interval = 0
    scans: list[_Scan] = []
    place = 2
    while True:
        marker, place = marker_at(data, place)
        if marker == 0xD9:
            break
        length = segment_length(data, place)
        segment = data[place + 2 : place + length]
        place += length
        if marker == 0xC4:
            tables |= _tables(segment)
        elif marker == 0xDD:
            (interval,) = struct.unpack_from(">H", segment)
        elif marker == 0xC3:
            precision, _, columns, count = struct.unpack_from(">BHHB", segment)
            numbers = [segment[6 + 3 * index] for index in range(count)]
            if any(segment[7 + 3 * index] != segment[7] for index in range(count)):
                return precision, 0, []
        elif marker == 0xDA:
            size, restarts, place = _measured(data, place)
            count, rest = segment[0], segment[1 + 2 * segment[0] :]
            chosen = [
                (numbers.index(segment[1 + 2 * index]), tables[segment[2 + 2 * index] >> 4])
                for index in range(count)
            ]
            scans.append(_Scan(chosen, rest[0], rest[2] & 15, size, restarts + 1))
    if interval % max(columns, 1) or any(scan.predictor not in range(1, 8) for scan in scans):
        return precision, 0, []
    return precision, interval // columns, scans


def _tables(segment: bytes) -> dict[int, dict[int, int]]:
    """Number of each Huffman table of a DHT segment → category → bits of its code word."""
    tables: dict[int, dict[int, int]] = {}
    place = 0
    while place + 17 <= len(segment):
        counts = segment[place + 1 : place + 17]
        symbols = iter(segment[place + 17 : place + 17 + sum(counts)])
        lengths = [length for length, count in enumerate(counts, 1) for _ in range(count)]
        tables[segment[place] & 15] = dict(zip(symbols, lengths, strict=False))
        place += 17 + sum(counts)
    return tables


def _measured(data: bytes, start: int) -> tuple[int, int, int]:
    """Coded bytes of a scan without stuffing and restart markers, how many of these, and where it ends."""
    stuffed = restarts = fill = 0
    place = start
    while True:
        place = data.index(b"\xff", place)
        following = data[place + 1]
        if following == 0:
            stuffed += 1
        elif following in _RESTARTS:
            restarts += 1
        elif following == 0xFF:
            fill += 1
            place += 1
            continue
        else:
            return place - start - stuffed - 2 * restarts - fill, restarts, place
        place += 2
