"""How far chains have come, and the records that say so in other chains: the heads of all, anchored together.

The process that works in the background notes the head of every chain of its data folder as a record of its
own chain. So the end of one chain cannot be cut off unless that of the other is, too. A process that opens a
chain goes on behind whatever is there; so what it had come to before is looked for at each start, and before
anything else is noted of it, and what is missing goes on record: later notes would no longer tell.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from lightwell.observe.audit.block import before, decode_head, read_blocks
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.record import AuditRecord, Change
from lightwell.observe.audit.sealed import newest_sealed
from lightwell.observe.audit.segments import Segment, open_regular, segments, writers
from lightwell.observe.audit.verification import Expected, Known

ANCHOR: Final = "AuditAnchor"
REMOVED: Final = "AuditRemoved"
ENDED: Final = "AuditChainEnded"
MISSING: Final = "AuditPartMissing"
END_MISSING: Final = "AuditEndMissing"
_SEAL = re.compile(rb'^\{"seal":(\d{1,18}),"at":\d{1,18},"mac":"([0-9a-f]{64})"\}\n', re.MULTILINE)
# More than the longest block, of which a crash may have left a part behind the last seal.
_TAIL = 4 << 20
# More than most.
_SHORT_TAIL = 64 << 10
_HEAD = 4 << 10
# Of the anchors of so many milliseconds, the newest is kept to compare with.
_APART_MS = 600_000


class Head(NamedTuple):
    """The last seal of a chain: of which data folder and writer, with which key, behind which record.

    ``segment`` and ``end`` are where the next block begins, as bytes of that segment as it was written; 0 if
    that is not known.
    """

    node: str
    writer: str
    key_id: str
    number: int
    mac: bytes
    segment: int = 0
    end: int = 0


def durable_heads(root: Path, failed: list[OSError] | None = None) -> Iterator[Head]:
    """The head of each chain below ``DATA/audit``, once it is on the disk.

    Raises `OSError`; that of one chain is added to ``failed``, where that is given, and the others go on.
    """
    for folder in writers(root):
        try:
            for segment in reversed(segments(folder)):
                if (head := _head_of(folder.name, segment)) is not None:
                    yield head
                    break
        except PermissionError:
            pass  # Commands that root runs leave files that nobody else may read.
        except OSError as error:
            if failed is None:
                raise
            failed.append(error)


def _head_of(writer: str, segment: Segment) -> Head | None:
    head = decode_head(segment.start(_HEAD))
    last = None if head is None else (_in_lines if segment.is_compressed else _in_tail)(segment)
    if head is None or last is None:
        return None
    seal, end = last
    return Head(
        head.node, writer, head.key, int(seal[1]), bytes.fromhex(seal[2].decode()), segment.number, end
    )


def _in_lines(segment: Segment) -> tuple[re.Match[bytes], int] | None:
    """The last seal of a segment that is compressed, and where its line ends."""
    last, end = None, 0
    with suppress(ValueError):
        for line in segment.lines():
            end += len(line) + 1
            if match := _SEAL.match(line + b"\n"):
                last = match, end
    return last


def _in_tail(segment: Segment) -> tuple[re.Match[bytes], int] | None:
    """The last seal of a segment that is being written, and where its line ends, once it is on the disk."""
    last = None
    with open_regular(segment.path) as file:
        # What was read is on the disk afterwards, whoever wrote it.
        size = file.seek(0, os.SEEK_END)
        for length in (_SHORT_TAIL, _TAIL):
            start = file.seek(max(0, size - length))
            for match in _SEAL.finditer(file.read(size - start)):
                last = match, start + match.end()
            if last is not None:
                os.fdatasync(file.fileno())
                break
    return last


def anchor(heads: Iterable[Head], now: int) -> AuditRecord:
    """The record that notes these heads: of each writer the number of its last record, and the MAC behind."""
    return _record(ANCHOR, ((head.writer, head.number, head.mac) for head in heads), now)


class Place(NamedTuple):
    """Behind which record of a chain it begins, since it was removed up to that one; and the seal's MAC."""

    writer: str
    number: int
    mac: bytes


def removals(places: Iterable[Place], now: int, keep_days: int, newest: int) -> AuditRecord:
    """The record that says up to where chains have been removed, since they were old enough.

    It has to name each chain of which anything was ever removed, since the record that did so before may be
    removed itself. ``newest`` is when the newest that goes now was written, ``keep_days`` the setting by
    which it goes: `overdone` compares them.
    """
    record = _record(REMOVED, places, now)
    record.query = {"keep": keep_days, "newest": newest}
    return record


def ended(now: int) -> AuditRecord:
    """The record behind a chain whose process is gone, so that what is before it may be removed."""
    return _record(ENDED, (), now)


def parts_missing(places: Iterable[Place], now: int) -> AuditRecord:
    """The record that says where chains begin of which nothing was removed up to there on record."""
    return _record(MISSING, places, now, "security")


def ends_missing(places: Iterable[Place], now: int) -> AuditRecord:
    """The record that says which seals, noted elsewhere, chains have no more, though they go on."""
    return _record(END_MISSING, places, now, "security")


def goes_on(root: Path, keys: AuditKeys, since: Head, to: Head) -> bool:
    """Whether a chain goes on from one head to a later one, as what is between them proves.

    False if that does not tell: then ask `goes_through`, which reads more. Raises `OSError`.
    """
    if not since.end:
        return False
    mac = since.mac
    for segment in segments(root / to.writer):
        if not since.segment <= segment.number <= to.segment:
            continue
        head, start = decode_head(segment.start(_HEAD)), 0
        key = None if head is None else keys.seal_key(head.key, head.node, to.writer)
        if segment.number == since.segment:
            start = since.end
        elif head is not None and before(head) != mac:
            return False
        if key is None:
            return False
        with suppress(ValueError), segment.opened(start) as file:
            for block in read_blocks(file, key, mac):
                mac = block.mac
                if mac == to.mac:
                    return True
    return False


def goes_through(folder: Path, keys: AuditKeys, place: Place, key_id: str | None = None) -> bool:
    """Whether the chain of a writer has the seal that was noted of it, and what proves it. Raises `OSError`.

    So it counts as long as nobody can tell: where the chain begins behind it, since that was removed, or
    where it is said to be by what was sealed with a key that is not here. ``key_id`` is the key of the seal,
    None if that is not known: what names another key cannot have it.
    """
    for segment in reversed(segments(folder)):
        head = decode_head(segment.start(_HEAD))
        if head is None:
            continue
        key = keys.seal_key(head.key, head.node, folder.name)
        if key is None:
            if key_id in (None, head.key) and _is_stated(segment, place.mac):
                return True
            continue
        first = None
        try:
            with segment.opened() as file:
                for block in read_blocks(file, key, before(head)):
                    if block.mac == place.mac:
                        return True
                    first = first or block
        except ValueError:
            continue
        again = head.left.again if head.left is not None else 0
        # What the disk may not have kept of the segment before is there once more, in one block.
        if again and first is not None and again <= place.number <= first.number:
            return True
        # One behind no other is the first, or was begun anew since a key was missing.
        if head.first <= place.number and head.before and not again:
            return False
    return bool(segments(folder)) and place.number < _first(folder)


def _is_stated(segment: Segment, mac: bytes) -> bool:
    """Whether a segment has a seal with this MAC, proved or not."""
    end = b'"mac":"%s"}' % mac.hex().encode()
    with suppress(ValueError):
        return any(line.endswith(end) for line in segment.lines())
    return False


def _first(folder: Path) -> int:
    """The number of the record with which a chain begins that is still there; 0 if no head says so."""
    for segment in segments(folder)[:1]:
        head = decode_head(segment.start(_HEAD))
        return 0 if head is None else head.first
    return 0


def last_anchored(root: Path, keys: AuditKeys, writer: str) -> list[Place]:
    """What the newest proved anchor in the chain of a writer names. Raises `OSError`."""
    return [
        place for record in islice(newest_sealed(root / writer, keys, ANCHOR), 1) for place in places(record)
    ]


def _record(
    operation: str, places: Iterable[tuple[str, int, bytes]], now: int, kind: str = "system"
) -> AuditRecord:
    changes = tuple(Change(writer, str(number), mac.hex()) for writer, number, mac in places)
    return AuditRecord(at=now, via="engine", operation=operation, kind=kind, change=changes)


def expectations(root: Path, keys: AuditKeys, noted: Iterable[Head]) -> dict[str, Expected]:
    """What must be found in each chain: heads that were noted elsewhere, and those in the chains of others.

    Of these the newest, one for each ten minutes before, and what was found missing: a chain that was cut off
    and written on goes through the newest alone. Of the chains only what a seal proves is believed. Raises
    `OSError`.
    """
    seals: dict[str, set[Known]] = {}
    removed: dict[str, set[bytes]] = {}
    for head in noted:
        seals.setdefault(head.writer, set()).add(Known(head.number, head.mac))
    for folder in writers(root):
        if folder.name.startswith("http"):
            continue  # Only others note heads, or remove anything.
        for record in (
            *_apart(newest_sealed(folder, keys, ANCHOR)),
            *newest_sealed(folder, keys, END_MISSING),
        ):
            for place in places(record):
                seals.setdefault(place.writer, set()).add(Known(place.number, place.mac))
        for record in newest_sealed(folder, keys, REMOVED):
            for place in places(record):
                removed.setdefault(place.writer, set()).add(place.mac)
    return {
        writer: Expected(sorted(seals.get(writer, ())), frozenset(removed.get(writer, ())))
        for writer in seals | removed
    }


def _apart(newest: Iterable[AuditRecord]) -> Iterator[AuditRecord]:
    """Of records, the newest first, one for each `_APART_MS`: years of anchors do not fit into memory."""
    last: int | None = None
    for record in newest:
        period = record.at // _APART_MS
        if period != last:
            last = period
            yield record


def places(record: AuditRecord) -> Iterator[Place]:
    """What an anchor or a removal names."""
    for change in record.change:
        with suppress(ValueError):
            yield Place(change.what, int(change.before or ""), bytes.fromhex(change.after or ""))
