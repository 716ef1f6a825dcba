"""Errors of pixel data and of rendering."""

from __future__ import annotations

from lightwell.domain.imports.warnings import Warning
from lightwell.errors import InputError


class PixelFailure(InputError):
    """The pixel element has to be stored as one blob, without frames; ``warning`` says why.

    The instance itself is imported nevertheless (AWS: "Warning codes", 0xB100 to 0xB120).
    """

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.warning = Warning(type, message)


def cannot_transcode(message: str) -> PixelFailure:
    """0xB100: the pixel data cannot be transcoded to the storage format."""
    return PixelFailure("TranscodingException", message)


def cannot_extract(message: str) -> PixelFailure:
    """0xB110: the frames cannot be extracted by the attributes of the file."""
    return PixelFailure("FramesExtractionFailure", message)


def wrong_number(message: str) -> PixelFailure:
    """0xB111: NumberOfFrames differs from what the pixel element holds."""
    return PixelFailure("FrameNumberMismatch", message)


def wrong_offsets(message: str) -> PixelFailure:
    """0xB112: the offset table disagrees with the fragments."""
    return PixelFailure("InvalidOffsetTable", message)


class RenderFailure(InputError):
    """An instance cannot be rendered; ``bad`` if the request is the cause."""

    def __init__(self, message: str, *, bad: bool = False) -> None:
        super().__init__(message)
        self.bad = bad
