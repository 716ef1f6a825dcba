"""``multipart/related`` as DICOMweb clients expect it (RFC 2046 §5.1, RFC 2387, PS3.18 §8.6.1).

They need a transfer syntax without quotes, ``Content-Type`` capitalised like this, lines that end in CRLF,
and the type of the parts in the type of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Multipart:
    """One body. ``boundary`` must not occur in any part; a random one does not."""

    boundary: str

    def content_type(self, part_type: str) -> bytes:
        """The Content-Type of the whole body."""
        return f'multipart/related; type="{part_type}"; boundary={self.boundary}'.encode()

    def opening(
        self, content_type: str, location: str, more: Sequence[str] = (), *, first: bool = False
    ) -> bytes:
        """What precedes a part; ``content_type`` includes its parameters.

        Raises ValueError rather than let a value end its header: what is behind it could be taken for another
        part.
        """
        lines = [
            *(() if first else ("",)),
            f"--{self.boundary}",
            f"Content-Type: {content_type}",
            f"Content-Location: {location}",
            *more,
            "",
            "",
        ]
        text = "\r\n".join(lines)
        if not text.count("\r") == text.count("\n") == len(lines) - 1:
            raise ValueError("a header of a part has a line break in it")
        return text.encode("utf-8", "replace")

    @property
    def closing(self) -> bytes:
        """What follows the last part."""
        return f"\r\n--{self.boundary}--\r\n".encode()
