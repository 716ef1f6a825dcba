"""The parts of a request that hold bulk data, found by the URI that metadata name.

Source: PS3.18 §8.6.1.2 and §10.5.1.4, Table 8.7.3-5 for media types and transfer syntaxes. The frames of
compressed multi-frame pixel data are parts of their own, with ``URI/frames/N`` as Content-Location (PS3.18
2018e §6.5.3.2.2). Nothing is ever fetched: a URI that no part bears is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lightwell.errors import InputError
from lightwell.imaging.dataset.transfer_syntaxes import EXPLICIT_LITTLE, SYNTAXES

OCTETS = "application/octet-stream"

_ROOT = "1.2.840.10008.1.2."
# Media type → transfer syntaxes that it may have, the default first; () where it says nothing about that.
_SYNTAXES: dict[str, tuple[str, ...]] = {
    "image/jpeg": ("4.70", "4.50", "4.51", "4.57"),
    "image/dicom-rle": ("5",),
    "image/jls": ("4.80", "4.81"),
    "image/jp2": ("4.90", "4.91"),
    "image/j2c": ("4.90", "4.91"),
    "image/jpx": ("4.92", "4.93"),
    "image/jphc": ("4.201", "4.202", "4.203"),
    "image/jph": ("4.201", "4.202", "4.203"),
    "image/jxl": ("4.110", "4.111", "4.112"),
    "image/dicom-deflated-frame": ("8.1",),
    "video/mpeg": ("4.100", "4.100.1", "4.101", "4.101.1"),
    "video/mpeg2": ("4.100", "4.100.1", "4.101", "4.101.1"),
    "video/mp4": (
        *(f"4.{number}{suffix}" for number in (102, 103, 104, 105, 106) for suffix in ("", ".1")),
        "4.107",
        "4.108",
    ),
    "video/h265": ("4.107", "4.108"),
    "video/h256": ("4.107", "4.108"),
}
# Native pixel data have these bytes in both syntaxes.
_NATIVE = (None, EXPLICIT_LITTLE, "1.2.840.10008.1.2", "*")


@dataclass(frozen=True, slots=True)
class BulkPart:
    """One part: its place in the file of the upload, and its media type in lower case.

    ``syntax`` is the transfer-syntax parameter, None without it.
    """

    location: str
    media_type: str
    syntax: str | None
    offset: int
    length: int

    def transfer_syntax(self, stated: str | None) -> str | None:
        """The transfer syntax of pixel data in this part, None for native ones.

        ``stated`` is that which the metadata name, if they do; the part's own parameter counts before it.
        Raises `InputError` for one that does not fit the media type.
        """
        if self.media_type == OCTETS:
            if self.syntax not in _NATIVE:
                raise InputError(
                    f"Pixel data in transfer syntax {self.syntax} cannot be {OCTETS}: use its own media type"
                )
            return None
        known = _SYNTAXES.get(self.media_type)
        if known is None:
            raise InputError(f"Pixel data cannot be {self.media_type[:80]}")
        fitting = [_ROOT + each for each in known]
        wanted = (
            self.syntax if self.syntax not in (None, "*") else stated if stated in fitting else fitting[0]
        )
        if wanted not in fitting:
            raise InputError(f"The transfer syntax {str(wanted)[:80]} does not fit {self.media_type}")
        assert wanted is not None and wanted in SYNTAXES
        return wanted


class BulkParts:
    """All parts of one request that are not metadata, by Content-Location."""

    def __init__(self, parts: Iterable[BulkPart]) -> None:
        self._by_location: dict[str, BulkPart] = {}
        for part in parts:
            if not part.location:
                raise InputError(
                    "A part with bulk data needs a Content-Location that a BulkDataURI of the metadata names"
                )
            if part.location in self._by_location:
                raise InputError(f"Two parts have the Content-Location {part.location[:200]!r}")
            self._by_location[part.location] = part

    def find(self, uri: str) -> list[BulkPart]:
        """The part that ``uri`` names, or the parts of its frames in their order.

        Raises `InputError` where there is none.
        """
        found = self._by_location.get(uri)
        if found is not None:
            return [found]
        frames: list[BulkPart] = []
        for prefix in (f"{uri}/frames/", f"{uri}/"):
            while (frame := self._by_location.get(f"{prefix}{len(frames) + 1}")) is not None:
                frames.append(frame)
            if frames:
                return frames
        raise InputError(
            f"No part of the request has the Content-Location {uri[:200]!r}, and the server fetches nothing"
        )

    def check_all_used(self, used: Sequence[BulkPart]) -> None:
        """Raise `InputError` for a part that is not used once."""
        seen: set[str] = set()
        for part in used:
            if part.location in seen:
                raise InputError(
                    f"The part {part.location[:200]!r} is named by two elements: send it once for each"
                )
            seen.add(part.location)
        unused = [location for location in self._by_location if location not in seen]
        if unused:
            raise InputError(f"No BulkDataURI of the metadata names the part {unused[0][:200]!r}")


def pack_parts(parts: Iterable[BulkPart]) -> bytes:
    """The parts as bytes for `unpack_parts`."""
    rows = [[each.location, each.media_type, each.syntax, each.offset, each.length] for each in parts]
    return json.dumps(rows).encode()


def unpack_parts(data: bytes) -> BulkParts:
    """Raises `InputError` where two parts have one location."""
    return BulkParts(BulkPart(*row) for row in json.loads(data))
