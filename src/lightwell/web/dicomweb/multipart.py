"""``multipart/related`` as DICOMweb's clients read it (RFC 2046 §5.1, RFC 2387, PS3.18 §8.6.1).

What they need of it: no quotes around a transfer syntax, ``Content-Type`` with these capitals, lines that end
in CRLF, and the type of the parts in the type of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Multipart:
    """One body. ``boundary`` must be in none of the parts: a random one is not."""

    boundary: str

    def content_type(self, part_type: str) -> bytes:
        """The header of the whole."""
        return f'multipart/related; type="{part_type}"; boundary={self.boundary}'.encode()

    def opening(
        self, content_type: str, location: str, more: Sequence[str] = (), *, first: bool = False
    ) -> bytes:
        """What stands before a part; ``content_type`` with its parameters."""
        lines = [
            f"{'' if first else chr(13) + chr(10)}--{self.boundary}",
            f"Content-Type: {content_type}",
            f"Content-Location: {location}",
            *more,
            "",
            "",
        ]
        return "\r\n".join(lines).encode("utf-8", "replace")

    @property
    def closing(self) -> bytes:
        """What stands behind the last part."""
        return f"\r\n--{self.boundary}--\r\n".encode()
