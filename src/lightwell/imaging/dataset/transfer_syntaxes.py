"""Transfer syntaxes: how each encodes pixel data, and how lightwell stores the frames.

Source: devguide/supported-transfer-syntaxes, the content types of GetImageFrame in the service model, PS3.6
A.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lightwell.imaging.dataset.image_description import ImageDescription

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
JPEG2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K_RPCL = "1.2.840.10008.1.2.4.202"
HTJ2K = "1.2.840.10008.1.2.4.203"
RLE = "1.2.840.10008.1.2.5"

LONG_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
"""VRs with a four-byte length in explicit VR (PS3.5 table 7.1-1)."""

Codec = Literal["native", "deflate", "rle", "jpeg", "jpegls", "jpeg2000", "jpegxl", "mpeg2", "h264", "h265"]
"""How a transfer syntax codes a frame."""

STORED = {"HTJ2K": HTJ2K_RPCL, "JPEG_2000_LOSSLESS": JPEG2000_LOSSLESS}
"""Lossless storage format of a data store → transfer syntax of its transcoded frames."""

LOSSLESS_SYNTAXES = (
    JPEG2000_LOSSLESS,
    HTJ2K_RPCL,
    HTJ2K_LOSSLESS,
    HTJ2K,
    JPEG_LOSSLESS_SV1,
    JPEG_LOSSLESS,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    RLE,
)
"""What decoded frames are encoded in when a client asks for it, always without loss: HTJ2K and near-lossless
JPEG-LS (PS3.5 A.4.3) may be lossless, too."""

_HTJ2K_SYNTAXES = (HTJ2K_RPCL, HTJ2K_LOSSLESS, HTJ2K)


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """One transfer syntax.

    ``verbatim``: frames are stored byte for byte. ``content_type`` is that of GetImageFrame for a frame
    stored in this syntax. ``video``: the pixel element is one stream of all frames.
    """

    uid: str
    name: str
    codec: Codec
    verbatim: bool = False
    content_type: str = "application/octet-stream"
    big_endian: bool = False
    encapsulated: bool = True
    lossy: bool = False

    @property
    def video(self) -> bool:
        return self.codec in ("mpeg2", "h264", "h265")


_ROOT = "1.2.840.10008."
_OCTETS = "application/octet-stream"


def _native(suffix: str, name: str, *, big_endian: bool = False) -> TransferSyntax:
    return TransferSyntax(_ROOT + suffix, name, "native", big_endian=big_endian, encapsulated=False)


def _coded(
    suffix: str, name: str, codec: Codec, *, lossy: bool = False, content_type: str = _OCTETS
) -> TransferSyntax:
    return TransferSyntax(_ROOT + suffix, name, codec, lossy=lossy, content_type=content_type)


def _verbatim(suffix: str, name: str, codec: Codec, content_type: str) -> TransferSyntax:
    uid = _ROOT + suffix
    return TransferSyntax(uid, name, codec, verbatim=True, lossy=True, content_type=content_type)


_ALL = (
    _native("1.2", "Implicit VR Little Endian"),
    _native("1.2.1", "Explicit VR Little Endian"),
    _coded("1.2.1.98", "Encapsulated Uncompressed Explicit VR Little Endian", "native"),
    _native("1.2.1.99", "Deflated Explicit VR Little Endian"),
    _native("1.2.2", "Explicit VR Big Endian", big_endian=True),
    _verbatim("1.2.4.50", "JPEG Baseline", "jpeg", "image/jpeg"),
    _coded("1.2.4.51", "JPEG Extended", "jpeg", lossy=True),
    _coded("1.2.4.57", "JPEG Lossless, Process 14", "jpeg"),
    _coded("1.2.4.70", "JPEG Lossless, Process 14, Selection Value 1", "jpeg"),
    _coded("1.2.4.80", "JPEG-LS Lossless", "jpegls"),
    _coded("1.2.4.81", "JPEG-LS Near-lossless", "jpegls", lossy=True),
    _coded("1.2.4.90", "JPEG 2000 Lossless", "jpeg2000", content_type="image/j2c"),
    _verbatim("1.2.4.91", "JPEG 2000", "jpeg2000", "image/j2c"),
    _coded("1.2.4.92", "JPEG 2000 Part 2 Lossless", "jpeg2000"),
    _coded("1.2.4.93", "JPEG 2000 Part 2", "jpeg2000", lossy=True),
    _verbatim("1.2.4.100", "MPEG2 Main Profile, Main Level", "mpeg2", "video/mpeg"),
    _verbatim("1.2.4.100.1", "MPEG2 Main Profile, Main Level, fragmentable", "mpeg2", "video/mpeg"),
    _verbatim("1.2.4.101", "MPEG2 Main Profile, High Level", "mpeg2", "video/mpeg"),
    _verbatim("1.2.4.101.1", "MPEG2 Main Profile, High Level, fragmentable", "mpeg2", "video/mpeg"),
    *(
        _verbatim(f"1.2.4.{number}{suffix}", f"MPEG-4 AVC/H.264 {name}{words}", "h264", "video/mp4")
        for number, name in (
            (102, "High Profile, Level 4.1"),
            (103, "BD-compatible High Profile, Level 4.1"),
            (104, "High Profile, Level 4.2, 2D"),
            (105, "High Profile, Level 4.2, 3D"),
            (106, "Stereo High Profile, Level 4.2"),
        )
        for suffix, words in (("", ""), (".1", ", fragmentable"))
    ),
    _verbatim(
        "1.2.4.107", "HEVC/H.265 Main Profile, Level 5.1", "h265", "video/H256"
    ),  # as the service spells it
    _verbatim("1.2.4.108", "HEVC/H.265 Main 10 Profile, Level 5.1", "h265", "video/H256"),
    _verbatim("1.2.4.110", "JPEG XL Lossless", "jpegxl", "image/jxl"),
    _verbatim("1.2.4.111", "JPEG XL JPEG Recompression", "jpegxl", "image/jxl"),
    _verbatim("1.2.4.112", "JPEG XL", "jpegxl", "image/jxl"),
    _coded("1.2.4.201", "HTJ2K Lossless", "jpeg2000"),
    _coded("1.2.4.202", "HTJ2K Lossless RPCL", "jpeg2000", content_type="image/jph"),
    _verbatim("1.2.4.203", "HTJ2K", "jpeg2000", "image/jphc"),
    _coded("1.2.5", "RLE Lossless", "rle"),
    _coded("1.2.8.1", "Deflated Image Frame", "deflate"),
)

SYNTAXES: dict[str, TransferSyntax] = {syntax.uid: syntax for syntax in _ALL}


def content_type(stored_syntax: str | None) -> str:
    """Content type of a frame stored in ``stored_syntax``; HTJ2K's without one, as in the service model.

    For a blob and an unknown syntax it is ``application/octet-stream``.
    """
    if stored_syntax is None:
        return SYNTAXES[HTJ2K_RPCL].content_type
    syntax = SYNTAXES.get(stored_syntax)
    return syntax.content_type if syntax else _OCTETS


def is_decodable(stored_syntax: str) -> bool:
    """Whether there is a codec for frames that are stored under ``stored_syntax``."""
    syntax = SYNTAXES.get(stored_syntax)
    return stored_syntax == EXPLICIT_LITTLE or (
        syntax is not None and syntax.codec in ("jpeg", "jpeg2000") and syntax.encapsulated
    )


def is_same_codestream(stored_syntax: str, syntax: str) -> bool:
    """Whether frames that are stored under ``stored_syntax`` are, byte for byte, frames in ``syntax``.

    Lossless HTJ2K in RPCL order is lossless HTJ2K, which is HTJ2K: each allows what the one before does.
    """
    return syntax == stored_syntax or (stored_syntax == HTJ2K_RPCL and syntax in _HTJ2K_SYNTAXES)


def retrievable(stored_syntax: str, image: ImageDescription | None = None) -> tuple[str, ...]:
    """Every transfer syntax in which frames that are stored under ``stored_syntax`` can be retrieved.

    The stored one is the first. ``image`` describes the frames; without it, the answer says what may be
    possible. Frames that were kept as they came are in this list although only decoding them shows whether
    they can be decoded. It is not for a pixel element without frames, which has its own syntax only.
    """
    return tuple(dict.fromkeys((stored_syntax, *_made_from(stored_syntax, image))))


def _made_from(stored_syntax: str, image: ImageDescription | None) -> Iterator[str]:
    if not is_decodable(stored_syntax):
        return
    yield EXPLICIT_LITTLE
    if image is not None and not _can_be_encoded(stored_syntax, image):
        return
    is_thin = image is not None and min(image.rows, image.columns) == 1
    for syntax in LOSSLESS_SYNTAXES:
        # OpenJPH 0.32.0 encodes a single row or column wrongly.
        if not (is_thin and syntax in _HTJ2K_SYNTAXES):
            yield syntax


def _can_be_encoded(stored_syntax: str, image: ImageDescription) -> bool:
    """Whether the lossless syntaxes are defined for the samples (PS3.5 8.2.1 to 8.2.4, 8.2.14).

    Native frames with subsampled chrominance are not samples of their pixels; decoders expand it.
    """
    is_subsampled = stored_syntax == EXPLICIT_LITTLE and image.samples == 3 and "_42" in image.photometric
    return (
        image.pixel_keyword == "PixelData"
        and image.bits_allocated in (8, 16)
        and image.samples in (1, 3)
        and not is_subsampled
    )
