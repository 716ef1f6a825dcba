"""What of the audit trail is old enough to be removed, so that the rest stays provable.

Only whole segments go, the oldest first and never the last one of a chain. What is left begins behind the
seal of what has gone, so that seal has to be on record in another place before (`heads.removals`). Whatever
is damaged stays, and so does all that is behind it: it is evidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from lightwell.observe.audit.block import SegmentHead, before, decode_head
from lightwell.observe.audit.heads import Place
from lightwell.observe.audit.segments import Segment, segments, writers

_SEAL: Final = re.compile(rb'^\{"seal":\d{1,18},"at":(\d{1,18}),"mac":"([0-9a-f]{64})"\}$', re.MULTILINE)
_HEAD: Final = 4 << 10


class Expired(NamedTuple):
    """A segment that may go, and where the chain begins then."""

    segment: Segment
    begins: Place


def expired(root: Path, before_ms: int, limit: int) -> list[Expired]:
    """At most ``limit`` segments below ``DATA/audit`` whose blocks are all older. Raises `OSError`."""
    found: list[Expired] = []
    for folder in writers(root):
        for each in _of_chain(folder, before_ms):
            if len(found) >= limit:
                return found
            found.append(each)
    return found


def begins(root: Path) -> list[Place]:
    """Where each chain begins of which something was removed, as its first segment says. Raises `OSError`."""
    found = []
    for folder in writers(root):
        for segment in segments(folder)[:1]:
            head = _head(segment)
            if head is not None and head.before:
                found.append(_begin(folder.name, head))
    return found


def _of_chain(folder: Path, before_ms: int) -> Iterator[Expired]:
    present = segments(folder)
    for segment, following in pairwise(present):
        if following.number != segment.number + 1:
            return
        try:
            data = segment.read()
        except ValueError:
            return
        head, behind = decode_head(data), _head(following)
        seals = {bytes.fromhex(mac.decode()): int(at) for at, mac in _SEAL.findall(data)}
        if head is None or behind is None or not seals or max(seals.values()) >= before_ms:
            return
        # What was written again after a fault may continue an earlier seal, but none of another chain.
        if before(behind) not in seals and before(behind) != before(head):
            return
        yield Expired(segment, _begin(folder.name, behind))


def _begin(writer: str, head: SegmentHead) -> Place:
    return Place(writer, head.first - 1, before(head))


def _head(segment: Segment) -> SegmentHead | None:
    """The head of a segment, of which no more is read; None if it has none."""
    return decode_head(segment.start(_HEAD))
