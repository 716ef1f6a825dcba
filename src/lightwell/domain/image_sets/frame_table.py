"""Frame ids and the frame table: where in a pack each frame of some pixels is stored.

A frame id is 32 hex digits: pixels key (16), frame number from 0 (8), eight zeros. It survives every edit and
copy. A row of the frame table has `PAGE` entries, so that a slide of 100,000 frames takes 400 rows.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

PAGE = 256
_ENTRY = struct.Struct("<QQIIBqq")
_PLACE = struct.Struct("<QQII")  # how an entry begins
ENTRY_SIZE = _ENTRY.size
_ID = re.compile(r"[0-9a-f]{24}0{8}")


@dataclass(frozen=True, slots=True)
class Frame:
    """One stored frame.

    ``offset`` and ``length`` are bytes in the pack, boxes included; ``head`` is the number of bytes before
    the bare codestream (0 without boxes). ``checksum`` is the CRC-32 of the decoded full-resolution frame, or
    of the stored bytes where the frame was not transcoded. ``low`` and ``high`` are the least and greatest
    stored pixel values, both None where not known.
    """

    offset: int
    length: int
    head: int
    checksum: int
    low: int | None
    high: int | None


def frame_id(pixels: int, number: int) -> str:
    """The 32 hex digits of frame ``number`` (from 0) of ``pixels``."""
    return f"{pixels:016x}{number:08x}00000000"


def parse_frame_id(text: str) -> tuple[int, int] | None:
    """``(pixels key, frame number)``, or None if no frame can have this id."""
    if not _ID.fullmatch(text):
        return None
    return int(text[:16], 16), int(text[16:24], 16)


def pack_entries(frames: list[Frame]) -> bytes:
    """One frame-table row of at most `PAGE` entries."""
    if len(frames) > PAGE:
        raise ValueError(f"{len(frames)} frames in one row, at most {PAGE} fit")
    return b"".join(
        _ENTRY.pack(f.offset, f.length, f.head, f.checksum, f.low is not None, f.low or 0, f.high or 0)
        for f in frames
    )


def unpack_entry(entries: bytes, index: int) -> Frame | None:
    """Entry ``index`` (from 0) of a row; None if the row is shorter."""
    if index < 0 or (index + 1) * ENTRY_SIZE > len(entries):
        return None
    offset, length, head, checksum, known, low, high = _ENTRY.unpack_from(entries, index * ENTRY_SIZE)
    return Frame(offset, length, head, checksum, low if known else None, high if known else None)


def read_place(entries: bytes, index: int) -> tuple[int, int, int, int] | None:
    """Offset, length, head and checksum of entry ``index`` of a row; None if the row is shorter.

    For who reads thousands of frames a second: a third of what `unpack_entry` costs.
    """
    if index < 0 or (index + 1) * ENTRY_SIZE > len(entries):
        return None
    place: tuple[int, int, int, int] = _PLACE.unpack_from(entries, index * ENTRY_SIZE)
    return place


def entry_lengths(entries: bytes) -> list[int]:
    """The length in bytes of every frame of a row."""
    return [entry[1] for entry in _ENTRY.iter_unpack(entries)]


def row_end(entries: bytes) -> int:
    """Where in the pack the last byte of a row's frames has been passed."""
    end: int = max(entry[0] + entry[1] for entry in _ENTRY.iter_unpack(entries))
    return end


read_entry = _ENTRY.unpack
"""The fields of a row of one entry: offset, length, head, checksum, whether low and high are known, low,
high.
"""


def unpack_entries(entries: bytes) -> list[Frame]:
    """All entries of a row, in frame order."""
    return [
        Frame(offset, length, head, checksum, low if known else None, high if known else None)
        for offset, length, head, checksum, known, low, high in _ENTRY.iter_unpack(entries)
    ]
