"""Frames cut after a resolution level: how much of a stored frame that is, and what a client must know.

A codestream in RPCL order with a tile-part for each resolution, cut after level k, is the same image, smaller
(15444-1 B.12.1.3, PS3.5 10.18); see docs/design/checksums.md. Its header still says the full size, so the
decoder has to be told how often to halve. All levels are of the bare codestream, without its boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightwell.domain.image_sets.frame_checks import Prefix
from lightwell.errors import ValidationError
from lightwell.operations.get_image_frame import FrameLocation

MOST_LEVELS = 32
"""15444-1 A.6.1: a codestream has at most so many decompositions."""

EOC = b"\xff\xd9"
"""What a cut codestream ends with (15444-1 A.4.4). It is added: only a whole stored frame ends with it."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is sent of one frame.

    ``level`` is the resolution level after which it is cut, None for the whole; ``reduce`` how often its
    width and height are halved, which a decoder has to be told. ``stored`` of its bytes are stored ones;
    ``ends`` says where in the whole codestream every level ends, the last being its length. ``check`` is what
    proves a cut, counted from the beginning of the stored frame.
    """

    level: int | None
    reduce: int
    width: int
    height: int
    stored: int
    ends: tuple[int, ...]
    check: Prefix | None

    @property
    def length(self) -> int:
        return self.stored + (0 if self.level is None else len(EOC))

    @property
    def can_be_cut(self) -> bool:
        return len(self.ends) > 1

    def headers(self) -> list[tuple[str, str]]:
        """The same for HTTP, names and values."""
        level = "full" if self.level is None else str(self.level)
        return [
            ("X-Lightwell-Level", f"{level}; reduce={self.reduce}; width={self.width}; height={self.height}"),
            levels_header(self.ends),
        ]


def levels_header(ends: tuple[int, ...]) -> tuple[str, str]:
    """The header that says where in the bytes of a frame each of its levels ends."""
    return "X-Lightwell-Levels", ", ".join(map(str, ends))


def cut(place: FrameLocation, level: int | None) -> Cut:
    """What is sent of a bare codestream for ``level``, None for all of it.

    A frame that has no such level below its full one, or cannot be cut at all, is sent whole.
    """
    page = place.page
    levels = place.levels()
    ends = (*(each.length - place.head for each in levels), place.length)
    if level is None or level >= len(levels):
        return Cut(None, 0, page.width, page.height, place.length, ends, None)
    reduce = len(levels) - level
    width, height = (-(-side >> reduce) for side in (page.width, page.height))
    return Cut(level, reduce, width, height, ends[level], ends, levels[level])


def level_number(text: str) -> int:
    """The resolution level that a query parameter names. Raises `ValidationError`."""
    if not (text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= MOST_LEVELS):
        raise ValidationError(
            f"{text[:40]!r} is not a resolution level: use a number from 0, the smallest, to {MOST_LEVELS}; "
            "frames with fewer levels are sent whole."
        )
    return int(text)
