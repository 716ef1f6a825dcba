"""Chains to write and damage."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from lightwell.observe.audit.chain import Chain, ChainPlace
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.record import AuditRecord, decode_line
from lightwell.observe.audit.segments import segments
from lightwell.observe.audit.verification import NOTHING, ChainReport, Expected, verify

KEYS = AuditKeys((bytes(range(32)),))
NODE = "a" * 32
_times = count(1_796_000_000_000)


def place(
    root: Path, writer: str = "http-0", *, keys: AuditKeys = KEYS, rotate_bytes: int = 1 << 20
) -> ChainPlace:
    return ChainPlace(root, NODE, writer, keys, lambda: next(_times), rotate_bytes)


def write(place: ChainPlace, blocks: Sequence[int]) -> None:
    """Open the chain, append a block for each number of records, and close it."""
    chain = Chain(place)
    for size in blocks:
        chain.append(records(size))
    chain.sync()
    chain.close()


def records(size: int) -> list[AuditRecord]:
    return [AuditRecord(at=next(_times), id=f"r{number}", patient="P") for number in range(size)]


def report(place: ChainPlace, expected: Expected = NOTHING) -> ChainReport:
    return next(
        found
        for found in verify(place.root, place.keys, {place.writer: expected})
        if found.writer == place.writer
    )


def texts(place: ChainPlace, expected: Expected = NOTHING) -> list[str]:
    return [finding.text for finding in report(place, expected).findings]


def numbers(place: ChainPlace) -> list[int]:
    """The numbers of all records that the files hold, in their order; of what is torn, what can be read."""
    found = []
    for segment in segments(place.folder):
        for line in segment.read().splitlines():
            if line.startswith(b'{"n":'):
                with suppress(ValueError):
                    found.append(decode_line(line).number)
    return found
