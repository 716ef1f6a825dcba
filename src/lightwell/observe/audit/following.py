"""The records of a chain in their order, from where one has read up to, while others go on writing it.

Only what is sealed and on the disk is read, so a crash takes back nothing that was passed on. Whether the
seals are right is not asked: `verification` says so.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from msgspec import Struct

from lightwell.observe.audit.block import LONGEST, PART, Block, decode_head, stated
from lightwell.observe.audit.record import BEGINS, AuditRecord, decode_line
from lightwell.observe.audit.segments import Segment, open_regular, segments

log = logging.getLogger(__name__)

_SEAL_END: Final = 64 + 3  # a MAC and '"}\n'


class Cursor(Struct, frozen=True, omit_defaults=True):
    """How far a chain was read: behind the seal with this MAC, which ends at ``offset`` of a segment.

    ``number`` is that of the last record read. ``offset`` counts bytes of the segment as it was written.
    """

    segment: int = 0
    offset: int = 0
    number: int = 0
    mac: str = ""


BEGINNING: Final = Cursor()


@dataclass(slots=True)
class Records:
    """What was read. ``missed`` records were removed, or could not be read, before it came to them.

    ``repeats``: the chain is not what it was, so some were read before.
    """

    records: list[AuditRecord] = field(default_factory=list)
    missed: int = 0
    repeats: bool = False


class Follower:
    """Reads one chain, the folder of a writer, from a cursor on."""

    def __init__(self, folder: Path, cursor: Cursor = BEGINNING) -> None:
        self.folder = folder
        self.cursor = cursor

    def read(self) -> Records:
        """The next records, none if there are no more now. Moves the cursor. Raises `OSError`."""
        found = Records()
        # Listed before it is read: of a segment that has another behind it, nothing is written any more.
        present = segments(self.folder)
        while (index := self._place(present, found)) is not None:
            segment, is_last = present[index], index == len(present) - 1
            try:
                self._read(segment, found)
            except FileNotFoundError:
                break  # It was removed since it was listed: the next time, what is behind it comes first.
            except ValueError as error:
                log.error("%s of the audit trail cannot be read: %s", segment.path, error)
            if found.records or is_last:
                break
            self.cursor = Cursor(present[index + 1].number, 0, self.cursor.number)
        return found

    def _place(self, present: Sequence[Segment], found: Records) -> int | None:
        """Which segment to read on in: that of the cursor, or the first that is left behind it."""
        if not present:
            return None
        if present[-1].number < self.cursor.segment:
            # Another trail lies where the old one was, such as one from a backup.
            found.repeats, self.cursor = True, BEGINNING
        for index, segment in enumerate(present):
            if segment.number == self.cursor.segment:
                return index
            if segment.number > self.cursor.segment:
                self.cursor = Cursor(segment.number, 0, self.cursor.number)
                return index
        return None

    def _read(self, segment: Segment, found: Records) -> None:
        """Read on in a segment, up to the last seal of about `PART`."""
        cursor = self.cursor
        size = PART
        while True:
            data = _part(segment, max(0, cursor.offset - _SEAL_END), size)
            start = min(cursor.offset, _SEAL_END)
            if data[:start] != f'{cursor.mac}"}}\n'.encode()[:start]:
                # The file is shorter than it was, or another one.
                found.repeats = True
                self.cursor = cursor = Cursor(segment.number, 0, 0)
                continue
            ends = list(_blocks(data, start))
            if ends or len(data) < size or size >= LONGEST:
                break
            size *= 4
        if not cursor.offset and ends:
            self._begin(data, found)
        number = self.cursor.number
        for block in ends:
            number = _decode(data[block.start : block.end], number, found)
        if ends:
            last = ends[-1]
            offset = cursor.offset - start + last.end
            self.cursor = Cursor(segment.number, offset, number, last.mac.hex())

    def _begin(self, data: bytes, found: Records) -> None:
        """See by a segment's head whether records are missing before it, or come again."""
        head, number = decode_head(data), self.cursor.number
        if head is None:
            return
        if number and head.first > number + 1:
            found.missed += head.first - number - 1
        if head.first > number + 1 or (head.first <= number and (head.left is None or not head.left.again)):
            # Behind a gap; or a chain that began anew, with another key, or is read again.
            self.cursor = Cursor(self.cursor.segment, 0, head.first - 1)


def _blocks(data: bytes, start: int) -> list[Block]:
    found = []
    while (block := stated(data, start)) is not None:
        found.append(block)
        start = block.end
    return found


def _decode(block: bytes, number: int, found: Records) -> int:
    """Add the records of a block whose numbers are higher; returns the highest."""
    for line in block.split(b"\n"):
        if not line.startswith(BEGINS):
            continue
        try:
            record = decode_line(line)
        except ValueError:
            found.missed += 1
            continue
        if record.number > number:
            number = record.number
            found.records.append(record)
    return number


def _part(segment: Segment, start: int, size: int) -> bytes:
    """Bytes of a segment as it was written, once they are on the disk."""
    if segment.is_compressed:
        with segment.opened(start) as file:
            return file.read(size)
    with open_regular(segment.path) as file:
        file.seek(start)
        data = file.read(size)
        # Whoever wrote it may not have done so yet.
        os.fdatasync(file.fileno())
    return data
