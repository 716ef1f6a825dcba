"""Which transfer syntax a retrieve request gets, and under which media type.

Source: AWS's dicomweb-retrieve-instance and -instance-frames pages (the stored syntax, Explicit VR Little
Endian, or JPEG 2000 Lossless made of losslessly stored frames; nothing else), PS3.18 §8.7.3 (media types).
"""

from __future__ import annotations

from lightwell.imaging.dataset.transfer_syntaxes import (
    DEFLATED,
    EXPLICIT_LITTLE,
    HTJ2K_RPCL,
    JPEG2000_LOSSLESS,
    SYNTAXES,
)

ANY_SYNTAX = "*"
OCTET_STREAM = "application/octet-stream"

VERIFIED_SYNTAXES = frozenset({HTJ2K_RPCL, JPEG2000_LOSSLESS, EXPLICIT_LITTLE})
"""The syntaxes of losslessly stored frames, which the import decoded and compared."""

_CODEC_TYPES = {"jpeg": "image/jpeg", "jpegxl": "image/jxl", "mpeg2": "video/mpeg", "h264": "video/mp4"}
_TYPES = {
    "image/jph": "image/jphc",
    "image/jhc": "image/jphc",
    "image/j2c": "image/jp2",
    "image/j2k": "image/jp2",
    "video/mpeg2": "video/mpeg",
}
"""Other names that clients use for a type, among them those of the native API and of dicomweb-client."""


def syntax_for(stored_syntax: str, wanted: str | None, *, decodes: bool = False) -> str | None:
    """The transfer syntax in which pixels stored under ``stored_syntax`` are sent; None where they cannot be.

    ``wanted`` is the syntax of the Accept header, None for no preference. ``decodes``: frames that are stored
    as imported can be decoded, too.
    """
    if wanted in (ANY_SYNTAX, stored_syntax):
        return stored_syntax
    if wanted is None:
        # Lossy frames are sent as they are: PS3.18 §8.7.3 permits it where the server has nothing better.
        return EXPLICIT_LITTLE if stored_syntax in VERIFIED_SYNTAXES else stored_syntax
    if wanted == EXPLICIT_LITTLE and (
        stored_syntax in VERIFIED_SYNTAXES or (decodes and is_decodable(stored_syntax))
    ):
        return EXPLICIT_LITTLE
    if wanted == JPEG2000_LOSSLESS and stored_syntax == HTJ2K_RPCL:
        return JPEG2000_LOSSLESS
    return None


def unsplit_syntax(stored_syntax: str) -> str:
    """The transfer syntax of a file with pixels that were imported in ``stored_syntax`` and could not be
    split.

    It is the same one, except for a deflated data set, which is inflated at import.
    """
    return EXPLICIT_LITTLE if stored_syntax == DEFLATED else stored_syntax


def is_decodable(stored_syntax: str) -> bool:
    """Whether there is a codec for frames that are stored as they were imported."""
    syntax = SYNTAXES.get(stored_syntax)
    return syntax is not None and syntax.codec in ("jpeg", "jpeg2000")


def media_type(syntax: str) -> str:
    """The DICOMweb media type of a frame in ``syntax``; the native API uses other names."""
    found = SYNTAXES.get(syntax)
    if found is None or found.codec in ("native", "deflate"):
        return OCTET_STREAM
    if found.codec == "jpeg2000":
        return "image/jphc" if syntax.rpartition(".")[2] in ("201", "202", "203") else "image/jp2"
    if found.codec == "h265":
        return "video/H265"
    return _CODEC_TYPES.get(found.codec, OCTET_STREAM)


def fits(syntax: str, range: str) -> bool:
    """Whether a client that takes media ``range`` (in lower case) takes a frame in ``syntax``."""
    if range in (OCTET_STREAM, "*/*", "*", "application/*"):
        return True
    kind = media_type(syntax).lower()
    return kind == _TYPES.get(range, range) or range == kind.partition("/")[0] + "/*"
