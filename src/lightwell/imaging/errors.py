"""Why the pixels of one instance cannot be kept as frames."""

from __future__ import annotations

from lightwell.domain.imports.warnings import Warning
from lightwell.errors import InputError


class PixelFailure(InputError):
    """The pixel element has to be kept as one blob, without frames, and ``warning`` says why.

    The instance itself is imported all the same (AWS: "Warning codes", 0xB100 to 0xB120).
    """

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.warning = Warning(type, message)


def cannot_transcode(message: str) -> PixelFailure:
    """0xB100: the pixel data cannot be brought into the storage format."""
    return PixelFailure("TranscodingException", message)


def cannot_extract(message: str) -> PixelFailure:
    """0xB110: the frames cannot be split by the attributes of the file."""
    return PixelFailure("FramesExtractionFailure", message)


def wrong_number(message: str) -> PixelFailure:
    """0xB111: NumberOfFrames differs from what the pixel element holds."""
    return PixelFailure("FrameNumberMismatch", message)


def wrong_offsets(message: str) -> PixelFailure:
    """0xB112: the offset table disagrees with the fragments."""
    return PixelFailure("InvalidOffsetTable", message)


class RenderFailure(InputError):
    """No picture can be made of an instance, and why; ``bad`` where what was asked for is at fault."""

    def __init__(self, message: str, *, bad: bool = False) -> None:
        super().__init__(message)
        self.bad = bad
