"""What of the audit trail is old enough to be removed, so that the rest stays provable.

Only whole segments go, the oldest first and never the last one of a chain: behind that of a process that is
gone, the chain is ended in a new one first (`may_be_gone`). What is left begins behind the
seal of what has gone, so that seal has to be on record in another place before (`heads.removals`). Whatever
is not what was sealed stays, and so does all that is behind it: it is evidence. So does a chain of which
somebody else has removed something: whoever may write the files must not have that certified.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from lightwell.observe.audit.block import SegmentHead, before, decode_head
from lightwell.observe.audit.heads import ENDED, REMOVED, Place, places
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.record import BEGINS
from lightwell.observe.audit.sealed import newest_sealed, sealed_blocks
from lightwell.observe.audit.segments import Segment, segments, writers

_SEAL: Final = re.compile(rb'^\{"seal":\d{1,18},"at":(\d{1,18}),"mac":"[0-9a-f]{64}"\}$', re.MULTILINE)
_HEAD: Final = 4 << 10


class Expired(NamedTuple):
    """A segment that may go, where the chain begins then, and when its newest block was written."""

    segment: Segment
    begins: Place
    newest: int


class Announced(NamedTuple):
    """What a removal has to name again, and where chains begin that no proved record of a removal names."""

    again: list[Place]
    unknown: list[Place]


def expired(
    root: Path, keys: AuditKeys, before_ms: int, limit: int, apart: Collection[str] = ()
) -> list[Expired]:
    """At most ``limit`` segments below ``DATA/audit`` whose blocks are all older. Raises `OSError`.

    None of the chains ``apart``.
    """
    found: list[Expired] = []
    for folder in writers(root):
        if folder.name in apart:
            continue
        for each in _of_chain(folder, keys, before_ms):
            if len(found) >= limit:
                return found
            found.append(each)
    return found


def announced(root: Path, keys: AuditKeys, own: str) -> Announced:
    """Where the chains begin of which something was removed, by what is on record of that.

    ``own`` is the chain that most likely has the newest record of a removal, which names all of them: no more
    is read than that takes. Raises `OSError`.
    """
    present = {place.writer: place for place in _begins(root)}
    unknown = dict(present)
    newest: dict[str, dict[Place, None]] = {}
    for folder in sorted(writers(root), key=lambda folder: folder.name != own):
        if not unknown:
            break
        if folder.name.startswith("http"):
            continue  # They remove nothing.
        with suppress(PermissionError):
            for count, record in enumerate(newest_sealed(folder, keys, REMOVED)):
                for place in places(record):
                    if count == 0:
                        newest.setdefault(place.writer, {})[place] = None
                    if unknown.get(place.writer) == place:
                        del unknown[place.writer]
                if not unknown:
                    break
    again = [place for writer, place in present.items() if writer not in unknown]
    for writer, named in newest.items():
        if writer not in present or writer in unknown:
            again += named  # What is missing may be put back.
    return Announced(again, list(unknown.values()))


def may_be_gone(root: Path, before_ms: int, is_apart: Callable[[Path], bool]) -> Iterator[Path]:
    """The folders of the chains in which nothing was written since, though more than their end is in their
    last segment. Raises `OSError`.

    What is there keeps that segment from being removed for ever, unless somebody goes on behind it. Of those
    that ``is_apart`` says nothing is read.
    """
    for folder in writers(root):
        if is_apart(folder):
            continue
        for segment in segments(folder)[-1:]:
            with suppress(PermissionError, ValueError):
                data = segment.read()
                times = [int(at) for at in _SEAL.findall(data)]
                if times and max(times) < before_ms and not _is_end_only(data):
                    yield folder


def _is_end_only(data: bytes) -> bool:
    records = [line for line in data.splitlines() if line.startswith(BEGINS)]
    return len(records) == 1 and f'"do":"{ENDED}"'.encode() in records[0]


def _begins(root: Path) -> Iterator[Place]:
    """Where each chain begins whose first segment is not the first of all, as that says. Raises `OSError`."""
    for folder in writers(root):
        for segment in segments(folder)[:1]:
            head = _head(segment)
            if head is not None and (head.before or segment.number != 1):
                yield _begin(folder.name, head)


def _of_chain(folder: Path, keys: AuditKeys, before_ms: int) -> Iterator[Expired]:
    present = segments(folder)
    for segment, following in pairwise(present):
        if following.number != segment.number + 1:
            return
        try:
            data = segment.read()
        except ValueError:
            return
        head, behind = decode_head(data), _head(following)
        times = [int(at) for at in _SEAL.findall(data)]
        if head is None or behind is None or not times or max(times) >= before_ms:
            return
        seals, end = set(), 0
        for block in sealed_blocks(folder.name, segment, data, keys):
            if block.start != end:
                break
            seals.add(block.mac)
            end = block.end
        if not seals or not _is_explained(data, end, behind):
            return
        # What was written again after a fault may continue an earlier seal, but none of another chain.
        if before(behind) not in seals and before(behind) != before(head):
            return
        yield Expired(segment, _begin(folder.name, behind), max(times))


def _is_explained(data: bytes, end: int, behind: SegmentHead) -> bool:
    """Whether what is behind the last proved block, if anything, was left by a crash or a fault."""
    left, rest = behind.left, data[end:]
    if not rest:
        return True
    return left is not None and (
        left.again > 0 or (left.size, left.digest) == (len(rest), sha256(rest).hexdigest())
    )


def _begin(writer: str, head: SegmentHead) -> Place:
    return Place(writer, head.first - 1, before(head))


def _head(segment: Segment) -> SegmentHead | None:
    """The head of a segment, of which no more is read; None if it has none."""
    return decode_head(segment.start(_HEAD))
