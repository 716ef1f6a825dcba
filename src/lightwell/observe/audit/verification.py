"""Whether the audit trail is what was written: every block of every chain against its seal.

What one chain cannot tell is how far it went: whoever cuts off its last blocks, or has the key, leaves a
chain that verifies. Seals that were noted elsewhere say so (`Expected`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from lightwell.observe.audit.block import START, Block, SegmentHead, before, blocks, decode_head, stated
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.record import decode_line
from lightwell.observe.audit.segments import Segment, segments, writers

_RECORD = b'\n{"n":'
_NUMBER = re.compile(rb"(?<=:)\d+")
_SEAL = b'{"seal":0,"at":0,"mac":"'
_MAC = re.compile(rb'[0-9a-f]{0,64}("\}?)?')
# A crash leaves what was not synced yet, which is done within a second, unless the disk is stuck: then
# nothing is appended either.
_MOST_UNSYNCED_MS = 60_000


class Finding(NamedTuple):
    """Something about a chain, or about one of its segments if that is not 0."""

    writer: str
    segment: int
    text: str


class Known(NamedTuple):
    """A seal that was noted outside of the chain: behind the record with this number, with this MAC."""

    number: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a chain besides its files.

    ``seals`` must be in it. ``removed`` are MACs of the last seals of what retention has removed.
    """

    seals: Sequence[Known] = ()
    removed: frozenset[bytes] = frozenset()


@dataclass(slots=True)
class ChainReport:
    """What was found out about the chain of a writer; times are milliseconds, sizes bytes.

    ``findings`` are not explained by anything but damage or forgery; ``remarks`` are what a crash or a fault
    has left, as the chain itself tells.
    """

    writer: str
    segments: int = 0
    records: int = 0
    size: int = 0
    first_at: int = 0
    last_at: int = 0
    number: int = 0
    mac: bytes = START
    findings: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)


NOTHING: Final = Expected()


def verify(
    root: Path, keys: AuditKeys, expected: Mapping[str, Expected], *, is_part: bool = False
) -> Iterator[ChainReport]:
    """Verify each chain below ``DATA/audit``, and each that is expected to be there. Raises `OSError`.

    ``is_part``: of a copy of complete segments, which nobody misses the end of.
    """
    folders = {folder.name for folder in writers(root)}
    for writer in sorted(folders if is_part else folders | set(expected)):
        yield _Walk(root / writer, keys, expected.get(writer, NOTHING), is_part=is_part).run()


def verify_chain(folder: Path, keys: AuditKeys, expected: Expected) -> ChainReport:
    """Verify one chain, by its folder. Raises `OSError`."""
    return _Walk(folder, keys, expected).run()


@dataclass(slots=True)
class _Place:
    """How far a chain has come: the MAC of a seal, None where it is not known, and the number of a record."""

    mac: bytes | None
    number: int


class _Walk:
    """From segment to segment of one chain."""

    def __init__(self, folder: Path, keys: AuditKeys, known: Expected, *, is_part: bool = False) -> None:
        self._folder = folder
        self._is_part = is_part
        self._keys = keys
        self._removed = known.removed
        self._awaited = {seal.mac: seal for seal in known.seals}
        self._report = ChainReport(folder.name)
        # Up to where the chain is proved, and all seals that a segment may continue, with their numbers.
        self._proved = _Place(START, 0)
        self._seals: dict[bytes, int] = {START: 0}
        # Behind that: how many bytes, in which segment they begin, what is wrong with them unless a later
        # segment explains them, and where the chain is if it goes on all the same.
        self._rest, self._digest, self._rest_in = 0, sha256(), 0
        self._tail = b""
        self._doubts: list[Finding] = []
        self._stated: _Place | None = None
        # Of seals in there: those that were noted elsewhere, and the times of the first and of the last one.
        self._noted_in_rest: list[Known] = []
        self._rest_times: tuple[int, int] | None = None

    def run(self) -> ChainReport:
        report, last = self._report, 0
        for segment in segments(self._folder):
            if segment.number != last + 1 and last:
                self._find(last + 1, _missing(last + 1, segment.number - 1))
                self._forget()
            last = segment.number
            report.segments += 1
            self._segment(segment)
        self._end()
        report.number, report.mac = self._proved.number, self._proved.mac or START
        for seal in sorted(self._awaited.values()):
            if self._is_part and seal.number > self._proved.number:
                continue
            self._find(0, _unmet(seal, self._proved.number))
        return report

    def _segment(self, segment: Segment) -> None:
        try:
            data = segment.read()
        except ValueError as error:
            self._find(segment.number, str(error))
            self._forget()
            return
        self._report.size += len(data)
        head = decode_head(data)
        if head is None:
            self._leave(segment.number, data)
            return
        if (head.writer, head.segment) != (self._folder.name, segment.number):
            self._find(segment.number, f"it is segment {head.segment} of the writer {head.writer}")
        key = self._keys.seal_key(head.key, head.node, self._folder.name)
        if key is None:
            self._find(
                segment.number, f"nothing of it is proved: the key {head.key}, which sealed it, is not here"
            )
            self._forget()
            return
        end, mac = 0, before(head)
        while True:
            for block in blocks(data, key, mac, end):
                if block.start == 0:
                    self._link(segment.number, head)
                self._block(segment.number, data, block)
                end, mac = block.end, block.mac
            damaged = stated(data, end)
            if damaged is None:
                break
            self._damaged(segment.number, data[end : damaged.end], damaged, end)
            end, mac = damaged.end, damaged.mac
        self._leave(segment.number, data[end:])

    def _block(self, segment: int, data: bytes, block: Block) -> None:
        """A block that follows the one before it."""
        report, count = self._report, data.count(_RECORD, max(0, block.start - 1), block.end)
        report.records += count
        report.first_at = report.first_at or block.at
        report.last_at = max(report.last_at, block.at)
        noted = self._awaited.pop(block.mac, None)
        place = self._stated or self._proved
        if block.number - place.number != count:
            self._find(segment, f"records before number {block.number} are missing")
        if self._rest:
            if noted is not None:
                self._noted_in_rest.append(noted)
            self._leave_block(segment, data[block.start : block.end], block)
            self._stated = _Place(block.mac, block.number)
        else:
            self._proved = _Place(block.mac, block.number)
            self._seals[block.mac] = block.number

    def _damaged(self, segment: int, data: bytes, block: Block, start: int) -> None:
        """A block that is not what was sealed."""
        place = self._stated or self._proved
        self._doubts.append(
            Finding(
                self._folder.name,
                segment,
                f"the block behind record {place.number}, at byte {start}, is not what was sealed; its seal "
                f"says that it ends with record {block.number}, of {_time(block.at)}",
            )
        )
        self._leave_block(segment, data, block)
        self._stated = _Place(block.mac, block.number)

    def _leave_block(self, segment: int, data: bytes, block: Block) -> None:
        first = self._rest_times[0] if self._rest_times else block.at
        self._rest_times = first, block.at
        self._leave(segment, data)

    def _leave(self, segment: int, data: bytes) -> None:
        """Bytes that nothing proves so far."""
        if not data:
            return
        if not self._rest:
            self._rest_in = segment
        self._rest += len(data)
        self._digest.update(data)
        self._tail = data

    def _link(self, segment: int, head: SegmentHead) -> None:
        """From what is behind the chain so far to a segment whose first block follows from its head."""
        start, left, proved = before(head), head.left, self._proved
        if self._report.segments == 1:
            self._begin(segment, head, start)
        elif left is not None and left.again and start in self._seals:
            self._remark(segment, f"records from number {left.again} on were written again after a fault")
            self._doubts.clear()
        elif (
            left is not None
            and start == proved.mac
            and (left.size, left.digest) == (self._rest, self._digest.hexdigest())
        ):
            self._explain(proved.number)
        else:
            if self._rest and not self._doubts:
                self._find(self._rest_in, f"{self._rest} bytes behind record {proved.number} are not proved")
            place = self._stated or proved
            if place.mac is not None and start != place.mac:
                self._find(
                    segment,
                    f"it does not continue record {place.number}: what was behind that is missing, or this "
                    "segment was put in the place of another",
                )
            elif place.mac is not None and left is not None and not self._rest:
                self._find(
                    segment - 1, f"{left.size} bytes that a crash had left behind its last seal are missing"
                )
        if not (left is not None and left.again):
            self._seals = {start: head.first - 1}
        self._proved = _Place(start, head.first - 1)
        self._settle()

    def _explain(self, number: int) -> None:
        """Take what is behind a record for what a crash has left, as the next segment says, if it can be.

        Whoever opened the chain next could not tell what a crash leaves from what was changed.
        """
        first, last = self._rest_times or (0, 0)
        if self._noted_in_rest:
            why = f"record {max(self._noted_in_rest).number} among them was noted elsewhere"
        elif last - first > _MOST_UNSYNCED_MS:
            why = f"they were written until {_time(last)}, for more than a minute"
        else:
            self._remark(self._rest_in, f"{self._rest} bytes behind record {number} were left by a crash")
            self._doubts.clear()
            return
        if not self._doubts:
            self._find(self._rest_in, f"{self._rest} bytes behind record {number} are not proved")
        self._find(
            self._rest_in,
            f"a process that started later took {self._rest} bytes behind record {number} for what a crash "
            f"had left, but {why}: they were changed before it started",
        )

    def _begin(self, segment: int, head: SegmentHead, start: bytes) -> None:
        """The first segment that is there."""
        if head.before and start not in self._removed:
            self._find(segment, "the segments before it are missing")
        elif head.before:
            self._remark(segment, f"records up to {head.first - 1} were removed, since they were old enough")
        elif not head.before and segment != 1:
            self._find(segment, "the chain begins anew with it: what was before is missing")
        first = head.first
        self._awaited = {mac: seal for mac, seal in self._awaited.items() if seal.number >= first}

    def _end(self) -> None:
        if self._rest and not self._doubts:
            text = f"{self._rest} bytes behind record {self._proved.number} have no seal"
            if _is_part_of_block(self._tail):
                self._remark(self._rest_in, f"{text}: they are being written, or a crash has left them")
            else:
                self._find(self._rest_in, f"{text}, and are not what a crash leaves")
        self._settle()

    def _settle(self) -> None:
        self._report.findings += self._doubts
        self._doubts = []
        self._stated = self._rest_times = None
        self._noted_in_rest = []
        self._rest, self._digest = 0, sha256()

    def _forget(self) -> None:
        """What follows may continue anything."""
        self._settle()
        self._proved = _Place(None, self._proved.number)
        self._seals.clear()

    def _find(self, segment: int, text: str) -> None:
        self._report.findings.append(Finding(self._folder.name, segment, text))

    def _remark(self, segment: int, text: str) -> None:
        self._report.remarks.append(Finding(self._folder.name, segment, text))


def _is_part_of_block(data: bytes) -> bool:
    """Whether these may be the first bytes of a block: whole records, and part of one or of a seal.

    A file system may have made the file longer, with zeros, before it had what belongs there.
    """
    *lines, last = data.rstrip(b"\0").split(b"\n")
    if lines and decode_head(data) is not None:
        del lines[0]
    for line in lines:
        try:
            if not decode_line(line).number:
                return False
        except ValueError:
            return False
    return (
        last.startswith((b'{"n":', b'{"audit":'))
        or b'{"n":'.startswith(last)
        or b'{"audit":'.startswith(last)
        or _is_part_of_seal(last)
    )


def _is_part_of_seal(line: bytes) -> bool:
    line = _NUMBER.sub(b"0", line)
    return _SEAL.startswith(line) or (
        line.startswith(_SEAL) and _MAC.fullmatch(line[len(_SEAL) :]) is not None
    )


def _missing(first: int, last: int) -> str:
    return f"segment {first} is missing" if first == last else f"segments {first} to {last} are missing"


def _unmet(seal: Known, number: int) -> str:
    if seal.number > number:
        return f"its end is missing: record {seal.number} was noted elsewhere, and {number} is the last"
    return (
        f"record {seal.number} is not sealed as was noted elsewhere: "
        "the chain was cut off before it and went on, or was written anew"
    )


def _time(at: int) -> str:
    try:
        return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return "no time"
