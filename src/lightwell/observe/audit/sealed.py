"""Records that their seals prove. Whatever relies on what the trail says of itself asks for these.

A line that has no seal, or whose seal is not right, was written by anybody who may write the file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from lightwell.observe.audit.block import Block, before, blocks, decode_head, stated
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.record import BEGINS, AuditRecord, decode_line
from lightwell.observe.audit.segments import Segment, segments

_ID: Final = re.compile(rb'"id":"([0-9A-Za-z-]{1,64})"')


def sealed_blocks(writer: str, segment: Segment, data: bytes, keys: AuditKeys) -> Iterator[Block]:
    """The blocks of a segment of this writer that are proved, also those behind a damaged one."""
    head = decode_head(data)
    if head is None or (head.writer, head.segment) != (writer, segment.number):
        return
    key = keys.seal_key(head.key, head.node, writer)
    if key is None:
        return
    mac, end = before(head), 0
    while True:
        for block in blocks(data, key, mac, end):
            yield block
            mac, end = block.mac, block.end
        damaged = stated(data, end)
        if damaged is None:
            return
        mac, end = damaged.mac, damaged.end


def newest_sealed(folder: Path, keys: AuditKeys, operation: str) -> Iterator[AuditRecord]:
    """The proved records of an operation in the chain of a writer, the newest first. Raises `OSError`.

    None that came from the database (``recovered``): nothing that the trail says of itself does.
    """
    named = f'"{operation}"'.encode()
    for segment in reversed(segments(folder)):
        try:
            data = segment.read()
        except ValueError:
            continue
        if named not in data:
            continue
        for block in reversed(list(sealed_blocks(folder.name, segment, data, keys))):
            for line in reversed(data[block.start : block.end].splitlines()):
                if named in line and line.startswith(BEGINS):
                    with suppress(ValueError):
                        record = decode_line(line)
                        if record.operation == operation and not record.recovered:
                            yield record


def sealed_with_ids(folder: Path, keys: AuditKeys, ids: Collection[str], since: int) -> Iterator[AuditRecord]:
    """The proved records of a writer with one of these ids that were written since a time in milliseconds.

    All segments since then are read, one after the other. Raises `OSError`.
    """
    wanted = {id.encode() for id in ids}
    for segment in reversed(segments(folder)):
        try:
            data = segment.read()
        except ValueError:
            continue
        is_there = any(found[1] in wanted for found in _ID.finditer(data))
        for block in sealed_blocks(folder.name, segment, data, keys) if is_there else ():
            for line in data[block.start : block.end].splitlines():
                if line.startswith(BEGINS) and any(found[1] in wanted for found in _ID.finditer(line)):
                    with suppress(ValueError):
                        record = decode_line(line)
                        if record.id in ids:
                            yield record
        first = stated(data, 0)
        if first is not None and first.at < since:
            return
