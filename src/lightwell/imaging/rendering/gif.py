"""GIF images and animations (GIF89a), with the LZW codec of imagecodecs.

Greys are exact: a palette has 256 entries, as many as there are greys. Colours are exact if a picture has 256
at most; otherwise a palette is made for it by median cut.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from lightwell.imaging.rendering.scaling import Bytes

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

_COLOURS = 256
_TABLE = 3 * _COLOURS
# Of the file that imagecodecs makes of one picture: header, palette, image descriptor.
_HEAD, _DESCRIPTOR = 13, 10
_GREYS = np.repeat(np.arange(_COLOURS, dtype=np.uint8)[:, None], 3, 1)
# Beyond so many, those that agree in the first five bits of each channel count as one.
_MOST_COLOURS = 1 << 15
_LONGEST_SIDE = 0xFFFF


def encode_gif(pictures: Iterable[Bytes], delay: float) -> bytes:
    """A GIF of pictures of one size, which repeats for ever if there are several.

    ``delay`` is the time that each is shown, in milliseconds.
    """
    found = list(pictures)
    rows, columns = found[0].shape[:2]
    if max(rows, columns) > _LONGEST_SIDE:
        raise ValueError("a side of a GIF has at most 65535 pixels")
    pieces = [b"GIF89a", struct.pack("<HHBBB", columns, rows, 0x70, 0, 0)]
    if len(found) > 1:
        pieces.append(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")
    # Browsers take less than two hundredths for ten.
    hundredths = min(max(round(delay / 10), 2), 0xFFFF)
    for picture in found:
        indexes, palette = _GREY_OR_COLOUR[picture.ndim](picture)
        if len(found) > 1:
            pieces.append(struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 4, hundredths, 0, 0))
        pieces.append(struct.pack("<BHHHHB", 0x2C, 0, 0, columns, rows, 0x87))
        pieces.append(palette.tobytes())
        pieces.append(_codes(indexes))
    pieces.append(b"\x3b")
    return b"".join(pieces)


def _codes(indexes: Bytes) -> bytes:
    """The LZW codes of a picture, in blocks."""
    # LZW makes up to one and a half bytes of one, of which imagecodecs does not think.
    room = indexes.size * 2 + (4 << 10)
    data = bytes(imagecodecs.gif_encode(np.ascontiguousarray(indexes), colormap=_GREYS, out=room))
    start = _HEAD + _TABLE
    if data[:4] != b"GIF8" or data[10] & 0x87 != 0x87 or data[start] != 0x2C or data[start + 9] & 0xC0:
        raise RuntimeError("imagecodecs made a GIF of an unexpected form")
    return data[start + _DESCRIPTOR : -1]


def _grey(picture: Bytes) -> tuple[Bytes, Bytes]:
    return picture, _GREYS


def _colour(picture: Bytes) -> tuple[Bytes, Bytes]:
    """Indexes into a palette, and the palette."""
    wide = picture.astype(np.uint32)
    packed = (wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]).ravel()
    colours, places = np.unique(packed, return_inverse=True)
    palette = np.zeros((_COLOURS, 3), np.uint8)
    if len(colours) <= _COLOURS:
        palette[: len(colours)] = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1)
        return places.astype(np.uint8).reshape(picture.shape[:2]), palette
    counts = np.bincount(places).astype(np.float64)
    channels = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1).astype(np.float64)
    if len(colours) > _MOST_COLOURS:
        keys = (colours >> 19 << 10) | (colours >> 11 & 31) << 5 | (colours >> 3 & 31)
        _, groups = np.unique(keys, return_inverse=True)
        weights = np.bincount(groups, counts)
        channels = np.stack([np.bincount(groups, counts * values) / weights for values in channels.T], 1)
        counts, places = weights, groups[places]
    index_of = np.zeros(len(channels), np.uint8)
    for index, box in enumerate(_median_cut(channels, counts)):
        index_of[box] = index
        palette[index] = np.rint(np.average(channels[box], axis=0, weights=counts[box]))
    return index_of[places].reshape(picture.shape[:2]), palette


def _median_cut(channels: Floats, counts: Floats) -> list[Places]:
    """Places of colours in at most 256 boxes, which are cut where most pixels differ most."""
    boxes: list[Places] = [np.arange(len(channels))]
    errors = [_spread(channels, counts, boxes[0])]
    while len(boxes) < _COLOURS:
        widest = int(np.argmax([float(np.max(error)) for error in errors]))
        box, error = boxes[widest], errors[widest]
        if not float(np.max(error)):
            break
        axis = int(np.argmax(error))
        values = channels[box, axis]
        middle = np.average(values, weights=counts[box])
        low = values <= middle
        boxes[widest], new = box[low], box[~low]
        errors[widest] = _spread(channels, counts, boxes[widest])
        boxes.append(new)
        errors.append(_spread(channels, counts, new))
    return boxes


def _spread(channels: Floats, counts: Floats, box: Places) -> Floats:
    """The squared error of each channel if all colours of a box became one."""
    found, weights = channels[box], counts[box, None]
    mean = (found * weights).sum(0) / weights.sum()
    error: Floats = ((found - mean) ** 2 * weights).sum(0)
    return error


_GREY_OR_COLOUR = {2: _grey, 3: _colour}
