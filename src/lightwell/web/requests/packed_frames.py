"""Many frames as one body of type `MEDIA_TYPE`; docs/howto/levels.md gives its format to the byte.

Every frame comes with what a viewer needs to show it before the next one has arrived.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from lightwell.operations.frame_lists.frame_list import FrameList, ListedFrame
from lightwell.operations.frame_lists.reading import SentFrame

MEDIA_TYPE = "application/vnd.lightwell.frames"
MAGIC = b"LWFRAMES"
_FORMAT = 1
_LENGTHS = struct.Struct("<IQ")


def packed(found: FrameList, level: int | None, count: int, frames: Iterator[SentFrame]) -> Iterator[bytes]:
    """The body; ``count`` is how many ``frames`` there are."""
    head: dict[str, Any] = {
        "kind": "head",
        "format": _FORMAT,
        "imageSetId": found.image_set_id,
        "versionId": str(found.version),
        "level": level,
        "frames": count,
    }
    if found.unsplit:
        head["unsplitInstances"] = found.unsplit
    yield MAGIC + _record(head)
    for each in frames:
        described: dict[str, Any] = _named(each.frame)
        if each.error is not None:
            described |= {"type": each.error.code, "message": each.error.message}
            yield _record({"kind": "error", **described})
            continue
        described["syntax"] = each.frame.pixels.stored_syntax
        if each.cut is None:
            yield _record({"kind": "frame", **described, "level": None, "omitted": True})
            continue
        cut = each.cut
        described |= {
            "level": "full" if cut.level is None else cut.level,
            "width": cut.width,
            "height": cut.height,
            "reduce": cut.reduce,
            "levels": cut.ends,
        }
        yield _record({"kind": "frame", **described}, cut.length)
        yield from each.pieces
    yield _record({"kind": "end", "frames": count})


def _named(frame: ListedFrame) -> dict[str, Any]:
    return {
        "position": frame.position,
        "id": frame.id,
        "instance": frame.sop_instance_uid,
        "frame": frame.number,
    }


def _record(described: dict[str, Any], length: int = 0) -> bytes:
    text = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), length) + text
