"""Reading packed frames as docs/howto/levels.md describes them, without a line of the server's own code."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    described: dict[str, Any]
    body: bytes


def records(data: bytes) -> list[Record]:
    """All records of an answer, which has to be complete."""
    assert data[:8] == b"LWFRAMES"
    at, found = 8, []
    while at < len(data):
        size, length = struct.unpack_from("<IQ", data, at)
        start = at + 12 + size
        found.append(Record(json.loads(data[at + 12 : start]), data[start : start + length]))
        assert len(found[-1].body) == length
        at = start + length
    kinds = [each.described["kind"] for each in found]
    assert kinds[0] == "head" and kinds[-1] == "end" and "end" not in kinds[:-1]
    assert found[0].described["frames"] == found[-1].described["frames"] == len(found) - 2
    return found


def bare(found: list[Record]) -> list[tuple[object, ...]]:
    """What of them does not depend on the data store."""
    names = ("position", "instance", "frame", "syntax", "level", "width", "height", "reduce", "levels")
    return [(*(each.described.get(name) for name in names), each.body) for each in found]


def frames(data: bytes) -> list[Record]:
    return records(data)[1:-1]
