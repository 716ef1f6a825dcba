"""Which transfer syntax a retrieve request gets, and under which media type.

Source: AWS's dicomweb-retrieve-instance and -instance-frames pages (what is stored, Explicit VR Little
Endian, or JPEG 2000 Lossless made of what is stored lossless; nothing else), PS3.18 §8.7.3 (media types).
"""

from __future__ import annotations

from lightwell.imaging.dataset.transfer_syntaxes import (
    DEFLATED,
    EXPLICIT_LITTLE,
    HTJ2K_RPCL,
    JPEG2000_LOSSLESS,
    SYNTAXES,
)

ANY = "*"
OCTETS = "application/octet-stream"

PROVED = frozenset({HTJ2K_RPCL, JPEG2000_LOSSLESS, EXPLICIT_LITTLE})
"""In which frames are stored that are lossless, and that the import decoded and compared."""

_CODEC_TYPES = {"jpeg": "image/jpeg", "jpegxl": "image/jxl", "mpeg2": "video/mpeg", "h264": "video/mp4"}
_TYPES = {
    "image/jph": "image/jphc",
    "image/jhc": "image/jphc",
    "image/j2c": "image/jp2",
    "image/j2k": "image/jp2",
    "video/mpeg2": "video/mpeg",
}
"""Other names that clients have for a type, the native API's own and those of dicomweb-client among them."""


def syntax_for(stored_syntax: str, wanted: str | None, *, decodes: bool = False) -> str | None:
    """The transfer syntax in which pixels stored under ``stored_syntax`` are sent; None where they cannot be.

    ``wanted`` is that of the Accept header, None for no wish. ``decodes`` tells that frames kept as they came
    can be decoded, too.
    """
    if wanted in (ANY, stored_syntax):
        return stored_syntax
    if wanted is None:
        # What is lossy stays as it is: PS3.18 §8.7.3 permits it where the server has nothing better.
        return EXPLICIT_LITTLE if stored_syntax in PROVED else stored_syntax
    if wanted == EXPLICIT_LITTLE and (stored_syntax in PROVED or (decodes and is_decodable(stored_syntax))):
        return EXPLICIT_LITTLE
    if wanted == JPEG2000_LOSSLESS and stored_syntax == HTJ2K_RPCL:
        return JPEG2000_LOSSLESS
    return None


def unsplit_syntax(stored_syntax: str) -> str:
    """The transfer syntax of a file with pixels that came in ``stored_syntax`` and could not be split.

    It is the same, but for a deflated data set, which was inflated at import.
    """
    return EXPLICIT_LITTLE if stored_syntax == DEFLATED else stored_syntax


def is_decodable(stored_syntax: str) -> bool:
    """Whether there is a codec for frames that were kept as they came."""
    syntax = SYNTAXES.get(stored_syntax)
    return syntax is not None and syntax.codec in ("jpeg", "jpeg2000")


def media_type(syntax: str) -> str:
    """What a frame in ``syntax`` is, as DICOMweb names it; the native API has other names."""
    found = SYNTAXES.get(syntax)
    if found is None or found.codec in ("native", "deflate"):
        return OCTETS
    if found.codec == "jpeg2000":
        return "image/jphc" if syntax.rpartition(".")[2] in ("201", "202", "203") else "image/jp2"
    if found.codec == "h265":
        return "video/H265"
    return _CODEC_TYPES.get(found.codec, OCTETS)


def fits(syntax: str, range: str) -> bool:
    """Whether a client that takes media ``range`` (in lower case) takes a frame in ``syntax``."""
    if range in (OCTETS, "*/*", "*", "application/*"):
        return True
    kind = media_type(syntax).lower()
    return kind == _TYPES.get(range, range) or range == kind.partition("/")[0] + "/*"
