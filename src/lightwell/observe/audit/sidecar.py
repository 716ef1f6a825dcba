"""The index beside a complete segment: what a query need not read, since the segment has nothing of it.

It is a hint, made anew where it is missing, and proves nothing. It holds the times of the first and the last
record and 32 bits of a keyed digest for each patient, study, image set, data store, key and principal: nobody
without the key of the trail can tell from it whether somebody is in there. A MAC keeps others from hiding
records by it. Those of the first format have only the keys that signed, or were claimed: what asks for a key
reads their segments.
"""

from __future__ import annotations

import hmac
import os
import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Final

import msgspec
from msgspec import Struct

from lightwell.observe.audit.block import decode_head
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.record import BEGINS, AuditRecord, decode_line
from lightwell.observe.audit.segments import Segment, give_away, index_path, make_anew, sync_folder

FORMAT: Final = 2
_WITHOUT_NAMED_KEYS: Final = 1
_MAC: Final = 32
_HEAD: Final = 4 << 10
# Several times what a segment may hold: more is not one of ours.
_MOST_BYTES: Final = 1 << 26
DENIED: Final = (401, 403)
# As ids of access keys may be: that of the root key is chosen in the settings. Other words are taken for one,
# too, which nobody looks for.
_KEY_ID: Final = re.compile(r"\b\w{16,128}\b", re.ASCII)


class _Head(Struct, frozen=True):
    """The first line. ``of`` is the SHA-256 of the segment's head, which no other segment has; times are
    milliseconds, 0 if it has no records; ``key`` is the id of the key."""

    index: int
    of: str
    key: str
    first: int
    last: int


_DECODER: Final = msgspec.json.Decoder(_Head)


@dataclass(frozen=True, slots=True)
class Hint:
    """What an index says of its segment. ``digests`` are sorted; ``has_named_keys``: all of `keys_of`."""

    first: int
    last: int
    digests: array[int]
    key: bytes
    has_named_keys: bool = True

    def may_have(self, since: int | None, until: int | None, terms: list[bytes]) -> bool:
        """Whether records between these times, ``until`` excluded, may have all of the terms."""
        if (since is not None and self.last < since) or (until is not None and self.first >= until):
            return False
        known = terms if self.has_named_keys else [each for each in terms if not each.startswith(_KEY)]
        return all(self._has(_digest(self.key, term)) for term in known)

    def _has(self, digest: int) -> bool:
        at = bisect_left(self.digests, digest)
        return at < len(self.digests) and self.digests[at] == digest


def term(kind: str, value: str) -> bytes:
    """What is looked for, such as a patient: of which kind it is, and which."""
    return f"{kind}\0{value}".encode("utf-8", "surrogatepass")


_KEY: Final = term("key", "")


def keys_of(record: AuditRecord) -> Iterator[str]:
    """The access keys that a record is by, or about: also those of which it says that they were changed.

    A rotation names the old key and the new one so, whoever has asked for it.
    """
    for key in (record.key, record.claimed):
        if key:
            yield key
    if record.kind == "access":
        for each in record.change:
            yield from _KEY_ID.findall(f"{each.what} {each.before} {each.after}")
        for item in record.items:
            yield from _KEY_ID.findall(item)


def terms_of(record: AuditRecord) -> Iterator[bytes]:
    """All that a record can be found by."""
    for kind, one, several in (
        ("patient", record.patient, record.patients),
        ("study", record.study, record.studies),
        ("set", record.image_set, record.image_sets),
        ("store", record.store, ()),
        ("key", None, tuple(keys_of(record))),
    ):
        for value in (one, *several):
            if value:
                yield term(kind, value)
    for name in (record.who, record.subject, record.taken_by):
        if name:
            yield term("by", name)
    # By the last parts of an ARN, too.
    for name in (record.who, record.taken_by):
        rest = name or ""
        while "/" in rest:
            rest = rest.partition("/")[2]
            yield term("by", rest)
    if record.status in DENIED:
        yield term("is", "denied")
    if record.emergency:
        yield term("is", "emergency")


def build(segment: Segment, keys: AuditKeys) -> None:
    """Write the index of a complete segment. Raises `OSError`, `ValueError` if it cannot be decompressed."""
    key = keys.index_key(keys.newest)
    assert key is not None, "the newest key is there"
    found: set[bytes] = set()
    seen: set[tuple[object, ...]] = set()
    first = last = 0
    # Line by line: a segment may be larger than all that a server holds otherwise.
    for record in _records(segment):
        first = min(first or record.at, record.at)
        last = max(last, record.at, record.until)
        # Thousands of frames have all of these in common.
        common = (
            *(record.patient, record.study, record.image_set, record.store, record.key, record.claimed),
            *(record.who, record.subject, record.taken_by, record.status, record.emergency),
        )
        has_more = record.patients or record.studies or record.image_sets or record.kind == "access"
        if common not in seen or has_more:
            seen.add(common)
            found.update(terms_of(record))
    digests = array("I", sorted({_digest(key, each) for each in found}))
    if sys.byteorder == "big":
        digests.byteswap()
    head = _Head(FORMAT, _identity(segment.start(_HEAD)), keys.newest, first, last)
    body = msgspec.json.encode(head) + b"\n" + digests.tobytes()
    path = index_path(segment.path)
    temporary = path.with_name(f".{path.name}.tmp")
    descriptor = make_anew(temporary)
    with os.fdopen(descriptor, "wb") as file:
        give_away(descriptor, path.parent)
        file.write(body + hmac.digest(key, body, sha256))
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    sync_folder(path.parent)


def hint(segment: Segment, keys: AuditKeys) -> Hint | None:
    """What the index of a segment says; None if it has none, or one that is damaged, forged or of another."""
    try:
        with index_path(segment.path).open("rb") as file:
            data = file.read(_MOST_BYTES)
        body, mac = data[:-_MAC], data[-_MAC:]
        line, _, digests = body.partition(b"\n")
        head = _DECODER.decode(line)
        key = keys.index_key(head.key)
        if (
            head.index not in (FORMAT, _WITHOUT_NAMED_KEYS)
            or key is None
            or not hmac.compare_digest(hmac.digest(key, body, sha256), mac)
        ):
            return None
        if head.of != _identity(segment.start(_HEAD)):
            return None
        found = array("I")
        found.frombytes(digests)
    except (OSError, ValueError):
        return None
    if sys.byteorder == "big":
        found.byteswap()
    return Hint(head.first, head.last, found, key, head.index == FORMAT)


def _records(segment: Segment) -> Iterator[AuditRecord]:
    for line in segment.lines():
        if line.startswith(BEGINS):
            with suppress(ValueError):
                yield decode_line(line)


def _identity(data: bytes) -> str:
    return sha256(data.partition(b"\n")[0]).hexdigest() if decode_head(data) is not None else ""


def _digest(key: bytes, term: bytes) -> int:
    return int.from_bytes(blake2b(term, key=key, digest_size=4).digest(), "little")
