"""Lossless JPEG frames: encoding them, and whether the coded data of one is as long as its samples need.

A damaged frame decodes without an error: libjpeg continues with zeros where data is missing and skips what is
left over. The decoded samples replace the frame in the data store, so its entropy-coded data is measured: the
differences of the samples have code words and additional bits of known lengths, whose sum has to be the
length of the scan. Source: ITU-T T.81 Annex H (process 14), Annex B.2 (segments), F.1.2.3 (stuffing).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from lightwell.imaging.errors import cannot_transcode
from lightwell.imaging.pixels.codestream_header import marker_at, segment_length
from lightwell.imaging.pixels.samples import Samples, as_unsigned

# Some encoders end an interval with one more byte of ones than the last code word needs.
_MAXIMUM_SURPLUS = 3
_BLOCK = 1 << 20
"""Samples that are measured at a time."""
_RESTART_MARKERS = frozenset(range(0xD0, 0xD8))
_CATEGORIES = np.array([0, *(min(abs(d), 65536 - d).bit_length() for d in range(1, 65536))], np.intp)
_CATEGORIES[32768] = 16


@dataclass(slots=True)
class _Scan:
    """Components with their code lengths, predictor, point transform, and the bytes of coded data."""

    components: list[tuple[int, dict[int, int]]]
    predictor: int
    shift: int
    size: int
    intervals: int


def encode(samples: Samples, photometric: str) -> bytes:
    """One frame of 8 or 16 bits, (rows, columns) or (rows, columns, 3), by process 14 with selection value 1.

    JPEG has no signed samples: those of ``samples`` are coded as their two's complement, in all their 8 or 16
    bits, so that every reader gets their sign back (PS3.5 8.2.1). Colours are not converted; the codestream
    names them as ``photometric`` does, RGB by its letters and an Adobe marker, YBR by the numbers 1 to 3.
    Raises `PixelFailure` if the frame cannot be encoded or does not decode to the same samples.
    """
    plain = as_unsigned(samples)
    space = "rgb" if plain.ndim == 3 else None
    try:
        stream = bytes(
            imagecodecs.jpeg8_encode(
                plain,
                lossless=True,
                predictor=1,
                bitspersample=8 * plain.itemsize,
                colorspace=space,
                outcolorspace=space,
            )
        )
        if plain.ndim == 3 and photometric.startswith("YBR"):
            # libjpeg-turbo 3 codes three components that it takes for YCBCR wrongly.
            stream, space = _renamed_to_ybr(stream), "ycbcr"
        if not _coded_bits_of(stream, plain) % 8:
            # The decoder of Cornerstone and dwv (jpeg-lossless-decoder-js 2.1.2) loses the last sample where
            # no bit of padding follows it; other encoders add such a byte of padding, too.
            stream = stream[:-2] + b"\xff\x00" + stream[-2:]
        again: Samples = imagecodecs.jpeg8_decode(stream, colorspace=space, outcolorspace=space)
    except (imagecodecs.Jpeg8Error, ValueError) as error:
        raise cannot_transcode(f"a frame could not be encoded as lossless JPEG: {error}") from error
    if again.dtype != plain.dtype or not np.array_equal(again, plain):
        raise cannot_transcode("a frame encoded as lossless JPEG did not decode to the same pixels")
    return stream


def _coded_bits_of(stream: bytes, samples: Samples) -> int:
    """The bits of the code words and additional bits of a stream that `encode` makes of ``samples``."""
    precision, _, (scan,) = _read_scans(stream)
    bits = 0
    for index, code_lengths in scan.components:
        plane = samples if samples.ndim == 2 else samples[:, :, index]
        differences = plane.astype(np.uint16)
        np.subtract(plane[:, 1:], plane[:, :-1], out=differences[:, 1:], dtype=np.uint16)
        np.subtract(plane[1:, 0], plane[:-1, 0], out=differences[1:, 0], dtype=np.uint16)
        differences[0, 0] = (int(plane[0, 0]) - (1 << (precision - 1))) & 0xFFFF
        lengths = np.zeros(17, np.uint8)
        for category, length in code_lengths.items():
            lengths[category] = length + category % 16
        bits += int(lengths[_CATEGORIES].take(differences).sum(dtype=np.int64))
    return bits


def _renamed_to_ybr(stream: bytes) -> bytes:
    """A codestream of libjpeg with components 1 to 3 instead of R, G and B, and without its Adobe marker."""
    coded, position = bytearray(stream), 2
    while True:
        marker, start = marker_at(stream, position)
        length = segment_length(stream, start)
        if marker == 0xEE:
            adobe = slice(position, start + length)
        elif marker == 0xC3:
            coded[start + 8 : start + 17 : 3] = b"\1\2\3"
        elif marker == 0xDA:
            coded[start + 3 : start + 9 : 2] = b"\1\2\3"
            del coded[adobe]
            return bytes(coded)
        position = start + length


def check_coded_length(data: bytes, samples: NDArray[Any]) -> None:
    """Refuse a frame of process 14 (SOF3) that has fewer or more coded bytes than ``samples`` need.

    ``samples`` are its decoded samples, (rows, columns) or (rows, columns, components). Frames with
    subsampled components are not measured. Raises `PixelFailure`.
    """
    try:
        _check_coded_length(data, samples)
    except (LookupError, ValueError, ArithmeticError, struct.error) as error:
        raise cannot_transcode("the segments of a JPEG frame are damaged") from error


def _check_coded_length(data: bytes, samples: NDArray[Any]) -> None:
    precision, rows_per_interval, scans = _read_scans(data)
    for scan in scans:
        bits = 0
        for index, code_lengths in scan.components:
            plane = samples if samples.ndim == 2 else samples[:, :, index]
            bits += _coded_bits(plane, code_lengths, scan, precision, rows_per_interval or len(plane))
        surplus = scan.size - bits / 8
        if not 0 <= surplus < _MAXIMUM_SURPLUS * scan.intervals:
            raise cannot_transcode(
                f"the coded data of a JPEG frame has {scan.size} bytes, but its decoded samples need"
                f" {-(-bits // 8)}: it is damaged"
            )


def _coded_bits(
    plane: NDArray[Any], code_lengths: dict[int, int], scan: _Scan, precision: int, rows_per_interval: int
) -> int:
    """The coded bits of one component."""
    counts_by_difference = np.zeros(65536, np.intp)
    step = max(_BLOCK // plane.shape[1], 1)
    for first in range(0, len(plane), step):
        rows = plane[max(first - 1, 0) : first + step]
        # The first row of each restart interval is predicted as that of the scan.
        restart_rows = range(-first % rows_per_interval, len(rows) - min(first, 1), rows_per_interval)
        differences = _differences(rows, scan, precision, restart_rows, first_row=min(first, 1))
        counts_by_difference += np.bincount(differences.reshape(-1), minlength=65536)
    counts = np.bincount(_CATEGORIES, counts_by_difference, 17)
    bits = 0
    for category, count in enumerate(counts.astype(np.int64).tolist()):
        if count and category not in code_lengths:
            raise cannot_transcode(
                "a JPEG frame decodes to samples that its Huffman tables cannot code: it is damaged"
            )
        if count:
            bits += count * (code_lengths[category] + category % 16)
    return bits


def _differences(
    plane: NDArray[Any], scan: _Scan, precision: int, restart_rows: range, first_row: int
) -> NDArray[np.uint16]:
    """The difference of each sample from its prediction (H.1.2.1), modulo 2¹⁶.

    ``first_row`` is the first row to measure; the row before it is for prediction only. ``restart_rows``
    are the rows, counted from ``first_row``, at which the prediction starts again.
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
    for row in restart_rows:
        line = values[first_row + row]
        result[first_row + row, 0] = line[0] - (1 << (precision - scan.shift - 1))
        np.subtract(line[1:], line[:-1], out=result[first_row + row, 1:])
    return result[first_row:].astype(np.uint16)


def _read_scans(data: bytes) -> tuple[int, int, list[_Scan]]:
    """Precision, rows per restart interval (0 for none) and the scans; none if they cannot be measured."""
    tables: dict[int, dict[int, int]] = {}
    numbers: list[int] = []
    precision = columns = interval = 0
    scans: list[_Scan] = []
    position = 2
    while True:
        marker, position = marker_at(data, position)
        if marker == 0xD9:
            break
        length = segment_length(data, position)
        segment = data[position + 2 : position + length]
        position += length
        if marker == 0xC4:
            tables |= _code_lengths(segment)
        elif marker == 0xDD:
            (interval,) = struct.unpack_from(">H", segment)
        elif marker == 0xC3:
            precision, _, columns, count = struct.unpack_from(">BHHB", segment)
            numbers = [segment[6 + 3 * index] for index in range(count)]
            if any(segment[7 + 3 * index] != segment[7] for index in range(count)):
                return precision, 0, []
        elif marker == 0xDA:
            size, restarts, position = _measure_scan(data, position)
            count, parameters = segment[0], segment[1 + 2 * segment[0] :]
            components = [
                (numbers.index(segment[1 + 2 * index]), tables[segment[2 + 2 * index] >> 4])
                for index in range(count)
            ]
            scans.append(_Scan(components, parameters[0], parameters[2] & 15, size, restarts + 1))
    if interval % max(columns, 1) or any(scan.predictor not in range(1, 8) for scan in scans):
        return precision, 0, []
    return precision, interval // columns, scans


def _code_lengths(segment: bytes) -> dict[int, dict[int, int]]:
    """Number of each Huffman table of a DHT segment → category → length of its code word in bits."""
    tables: dict[int, dict[int, int]] = {}
    position = 0
    while position + 17 <= len(segment):
        counts = segment[position + 1 : position + 17]
        symbols = iter(segment[position + 17 : position + 17 + sum(counts)])
        code_lengths = [length for length, count in enumerate(counts, 1) for _ in range(count)]
        tables[segment[position] & 15] = dict(zip(symbols, code_lengths, strict=False))
        position += 17 + sum(counts)
    return tables


def _measure_scan(data: bytes, start: int) -> tuple[int, int, int]:
    """Bytes of a scan without stuffing and restart markers, the number of these, and the end of the scan."""
    stuffed = restarts = fill = 0
    position = start
    while True:
        position = data.index(b"\xff", position)
        marker = data[position + 1]
        if marker == 0:
            stuffed += 1
        elif marker in _RESTART_MARKERS:
            restarts += 1
        elif marker == 0xFF:
            fill += 1
            position += 1
            continue
        else:
            return position - start - stuffed - 2 * restarts - fill, restarts, position
        position += 2
