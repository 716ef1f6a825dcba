"""Records of the trail that match, oldest first; whether they are what was written, `verification` says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from typing import NamedTuple

import msgspec

from lightwell.observe.audit.block import decode_head
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.record import BEGINS, AuditRecord, decode_line
from lightwell.observe.audit.segments import segments, writers
from lightwell.observe.audit.sidecar import DENIED, hint, keys_of, term


class Found(NamedTuple):
    """A record, its line, and who wrote it."""

    writer: str
    record: AuditRecord
    line: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a record must say; None and False ask for nothing. Times are milliseconds, ``until`` excluded.

    ``principal`` is an ARN, the last part of one, or whose token it was; ``key`` one of `keys_of`.
    """

    patient: str | None = None
    study: str | None = None
    image_set: str | None = None
    store: str | None = None
    key: str | None = None
    principal: str | None = None
    request: str | None = None
    since: int | None = None
    until: int | None = None
    is_denied: bool = False
    is_emergency: bool = False

    def matches(self, record: AuditRecord) -> bool:
        if self.since is not None and max(record.at, record.until) < self.since:
            return False
        if self.until is not None and record.at >= self.until:
            return False
        if self.is_denied and record.status not in DENIED:
            return False
        if self.is_emergency and not record.emergency:
            return False
        return (
            _is_one(self.patient, record.patient, record.patients)
            and _is_one(self.study, record.study, record.studies)
            and _is_one(self.image_set, record.image_set, record.image_sets)
            and _is_one(self.store, record.store, ())
            and (self.key is None or self.key in keys_of(record))
            and _is_one(self.request, record.id, ())
            and (self.principal is None or _is_by(self.principal, record))
        )

    def terms(self) -> list[bytes]:
        """What a segment must have in its index, if a record in it matches."""
        named = (
            ("patient", self.patient),
            ("study", self.study),
            ("set", self.image_set),
            ("store", self.store),
            ("key", self.key),
            ("by", self.principal),
            ("is", "denied" if self.is_denied else None),
            ("is", "emergency" if self.is_emergency else None),
        )
        return [term(kind, value) for kind, value in named if value is not None]

    def needle(self) -> bytes | None:
        """What the line of every record that matches contains; None if that cannot be told."""
        for value in (self.patient, self.request, self.image_set, self.study):
            if value is not None:
                return msgspec.json.encode(value)
        if self.is_emergency:
            return b'"emergency":true'
        for value in (self.key, self.principal, self.store):
            if value is not None:
                return msgspec.json.encode(value)[1:-1]
        return None


def search(
    root: Path, wanted: Wanted, damaged: Callable[[str, int, str], None], keys: AuditKeys | None = None
) -> Iterator[Found]:
    """The records below ``DATA/audit`` that match, by their times.

    ``damaged`` is told of segments that cannot be read: the writer, the number, why. With ``keys``, segments
    are left out whose indexes say that they have nothing of it. Raises `OSError`.
    """
    each = [_of_writer(folder, wanted, damaged, keys) for folder in writers(root)]
    return merge(*each, key=lambda found: found.record.at)


def _of_writer(
    folder: Path, wanted: Wanted, damaged: Callable[[str, int, str], None], keys: AuditKeys | None
) -> Iterator[Found]:
    """Those of one writer, each once: after a fault, a segment has some records of the one before again."""
    needle, terms, newest = wanted.needle(), wanted.terms(), 0
    for segment in segments(folder):
        said = hint(segment, keys) if keys is not None and segment.is_compressed else None
        if said is not None and not said.may_have(wanted.since, wanted.until, terms):
            continue
        try:
            data = segment.read()
        except ValueError as error:
            damaged(folder.name, segment.number, str(error))
            continue
        head = decode_head(data)
        if head is None or head.left is None or not head.left.again:
            newest = 0
        for line in _lines(data, needle):
            try:
                record = decode_line(line)
            except ValueError:
                continue
            if record.number > newest and wanted.matches(record):
                newest = record.number
                yield Found(folder.name, record, line)


def _lines(data: bytes, needle: bytes | None) -> Iterator[bytes]:
    """The lines of records, of those only that contain the needle."""
    start = 0
    while (start := data.find(needle or BEGINS, start)) >= 0:
        begin = data.rfind(b"\n", 0, start) + 1
        end = data.find(b"\n", start)
        if end < 0:
            return
        if data.startswith(BEGINS, begin):
            yield data[begin:end]
        start = end


def _is_one(wanted: str | None, one: str | None, several: tuple[str, ...]) -> bool:
    return wanted is None or wanted == one or wanted in several


def _is_by(principal: str, record: AuditRecord) -> bool:
    if principal in (record.who, record.subject, record.taken_by):
        return True
    return any((each or "").endswith(f"/{principal}") for each in (record.who, record.taken_by))
