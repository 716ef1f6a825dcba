"""Part 10 files built byte by byte, so that they can be invalid in any way."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Literal

from lightwell.imaging.dataset.part10 import BytesSource, Part10, open_part10
from lightwell.imaging.instances.parse import ParsedInstance, SeriesCache, parse_instance

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"

LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
UNDEFINED = 0xFFFFFFFF


def even(value: bytes | str, pad: bytes = b" ") -> bytes:
    data = value.encode("latin-1") if isinstance(value, str) else value
    return data + pad if len(data) % 2 else data


def element(
    tag: int, vr: str, value: bytes | str = b"", *, length: int | None = None, form: str = "explicit"
) -> bytes:
    """One element; ``length`` overrides the true one. ``form`` is explicit, implicit or big."""
    pad = b"\0" if vr in ("UI", "OB", "UN") else b" "
    data = even(value, pad)
    size = len(data) if length is None else length
    order = ">" if form == "big" else "<"
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if form == "implicit":
        return head + struct.pack("<I", size) + data
    if vr in LONG:
        return head + vr.encode() + b"\0\0" + struct.pack(order + "I", size) + data
    return head + vr.encode() + struct.pack(order + "H", size & 0xFFFF) + data


def item(*elements: bytes, undefined: bool = False, order: str = "<") -> bytes:
    content = b"".join(elements)
    if undefined:
        return (
            struct.pack(order + "HHI", 0xFFFE, 0xE000, UNDEFINED)
            + content
            + struct.pack(order + "HHI", 0xFFFE, 0xE00D, 0)
        )
    return struct.pack(order + "HHI", 0xFFFE, 0xE000, len(content)) + content


def sequence(
    tag: int, *items: bytes, undefined: bool = False, form: str = "explicit", vr: str = "SQ"
) -> bytes:
    content = b"".join(items)
    if not undefined:
        return element(tag, vr, content, form=form)
    order = ">" if form == "big" else "<"
    end = struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0)
    return element(tag, vr, b"", length=UNDEFINED, form=form) + content + end


def meta(syntax: str | None = EXPLICIT, *more: bytes) -> bytes:
    content = element(0x00020001, "OB", b"\0\1")
    if syntax is not None:
        content += element(0x00020010, "UI", syntax)
    content += b"".join(more)
    return element(0x00020000, "UL", struct.pack("<I", len(content))) + content


def part10(*elements: bytes, syntax: str | None = EXPLICIT) -> bytes:
    return bytes(128) + b"DICM" + meta(syntax) + b"".join(elements)


def uids(form: str = "explicit") -> tuple[bytes, bytes, bytes, bytes]:
    """SOP class, SOP instance, study and series UID."""
    return (
        element(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.7", form=form),
        element(0x00080018, "UI", "1.2.3.4", form=form),
        element(0x0020000D, "UI", "1.2.3", form=form),
        element(0x0020000E, "UI", "1.2.3.1", form=form),
    )


def image(
    *elements: bytes, syntax: str = EXPLICIT, form: str = "explicit", without: tuple[int, ...] = ()
) -> bytes:
    """A file with the four UIDs and ``elements``, in tag order."""
    order: Literal["big", "little"] = "big" if form == "big" else "little"

    def tag_of(data: bytes) -> int:
        return int.from_bytes(data[:2], order) << 16 | int.from_bytes(data[2:4], order)

    mine = {tag_of(e) for e in elements}
    parts = [e for e in uids(form) if tag_of(e) not in mine and tag_of(e) not in without]
    return part10(*sorted([*parts, *elements], key=tag_of), syntax=syntax)


def opened(data: bytes, inflate_limit: int = 1 << 30) -> Part10:
    return open_part10(BytesSource(data), spool_dir=Path(tempfile.gettempdir()), inflate_limit=inflate_limit)


def read(data: bytes, cache: SeriesCache | None = None, **more: object) -> ParsedInstance:
    return parse_instance(opened(data), cache or SeriesCache(), **more)  # type: ignore[arg-type]
