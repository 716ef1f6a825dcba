"""Which transfer syntax a retrieve request gets, and under which media type.

Source: AWS's dicomweb-retrieve-instance and -instance-frames pages (the stored syntax, Explicit VR Little
Endian, or JPEG 2000 Lossless made of losslessly stored frames), PS3.18 §8.7.3 (media types). The other
lossless syntaxes are extensions.
"""

from __future__ import annotations

from functools import lru_cache

from lightwell.imaging.dataset.image_description import ImageDescription, described_image
from lightwell.imaging.dataset.transfer_syntaxes import (
    DEFLATED,
    EXPLICIT_LITTLE,
    HTJ2K_LOSSLESS,
    HTJ2K_RPCL,
    JPEG2000_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE,
    SYNTAXES,
    is_same_codestream,
    retrievable,
)

__all__ = [
    "ANY_SYNTAX",
    "EXPLICIT_LITTLE",
    "OCTET_STREAM",
    "VERIFIED_SYNTAXES",
    "ImageDescription",
    "available_syntaxes",
    "fits",
    "implied_syntax",
    "is_same_codestream",
    "media_type",
    "needs_description",
    "syntax_for",
    "unsplit_syntax",
]

ANY_SYNTAX = "*"
OCTET_STREAM = "application/octet-stream"

VERIFIED_SYNTAXES = frozenset({HTJ2K_RPCL, JPEG2000_LOSSLESS, EXPLICIT_LITTLE})
"""The syntaxes of losslessly stored frames, which the import decoded and compared."""

_DEFAULTS = (JPEG2000_LOSSLESS, JPEG_LOSSLESS_SV1, JPEG_LS_LOSSLESS, RLE, HTJ2K_LOSSLESS)
_CODEC_TYPES = {
    "jpeg": "image/jpeg",
    "jpegls": "image/jls",
    "rle": "image/dicom-rle",
    "jpegxl": "image/jxl",
    "mpeg2": "video/mpeg",
    "h264": "video/mp4",
}
_TYPES = {
    "image/jph": "image/jphc",
    "image/jhc": "image/jphc",
    "image/j2c": "image/jp2",
    "image/j2k": "image/jp2",
    "image/x-jls": "image/jls",
    "image/x-dicom-rle": "image/dicom-rle",
    "video/mpeg2": "video/mpeg",
}
"""Other names that clients use for a type, among them those of the native API and of dicomweb-client."""


def syntax_for(stored_syntax: str, wanted: str | None, image: ImageDescription | None = None) -> str | None:
    """The transfer syntax in which frames stored under ``stored_syntax`` are sent; None where they cannot be.

    ``wanted`` is the syntax of the Accept header, None for no preference. ``image`` describes the frames;
    without it, the answer is right for what `needs_description` does not name, and possible otherwise.
    """
    if wanted in (ANY_SYNTAX, stored_syntax):
        return stored_syntax
    if wanted is None:
        # Lossy frames are sent as they are: PS3.18 §8.7.3 permits it where the server has nothing better.
        return EXPLICIT_LITTLE if stored_syntax in VERIFIED_SYNTAXES else stored_syntax
    return wanted if wanted in retrievable(stored_syntax, image) else None


def implied_syntax(stored_syntax: str, kind: str, image: ImageDescription | None = None) -> str | None:
    """The transfer syntax that a media type without one implies: the stored one or the type's own.

    The latter are the defaults of PS3.18 Table 8.7.3-5. None where neither is available.
    """
    if fits(stored_syntax, kind):
        return stored_syntax
    for syntax in _DEFAULTS:
        if fits(syntax, kind):
            return syntax_for(stored_syntax, syntax, image)
    return None


def needs_description(stored_syntax: str, syntax: str) -> bool:
    """Whether the description of the frames decides if they are available in ``syntax``."""
    return syntax not in (stored_syntax, EXPLICIT_LITTLE)


@lru_cache(256)
def available_syntaxes(stored_syntax: str | None, image: bytes | None = None) -> tuple[str, ...]:
    """Every transfer syntax in which an instance can be retrieved, the one that it is stored in first.

    ``stored_syntax`` is None for an instance without pixels. ``image`` is the JSON that the import has stored
    to describe its frames, None for pixels that could not be split into frames.
    """
    if stored_syntax is None:
        return (EXPLICIT_LITTLE,)
    if image is None:
        return (unsplit_syntax(stored_syntax),)
    return retrievable(stored_syntax, described_image(image)[0])


def unsplit_syntax(stored_syntax: str) -> str:
    """The transfer syntax of a file with pixels that were imported in ``stored_syntax`` and could not be
    split.

    It is the same one, except for a deflated data set, which is inflated at import.
    """
    return EXPLICIT_LITTLE if stored_syntax == DEFLATED else stored_syntax


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
