"""HTJ2K lossless in RPCL order: the storage format of an ``HTJ2K`` data store (1.2.840.10008.1.2.4.202).

Source: PS3.5 10.18 (RPCL, enough decompositions for a base of at most 64 in width or height, TLM markers),
AWS's sample frame (one tile-part per resolution, JP2 boxes). `encode` verifies every frame by decoding it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import imagecodecs
import numpy as np

from lightwell.imaging.errors import PixelFailure, cannot_transcode
from lightwell.imaging.pixels.htj2k_header import check_form
from lightwell.imaging.pixels.jp2_boxes import box_head
from lightwell.imaging.pixels.samples import Samples
from lightwell.imaging.pixels.unraisable_errors import collect_unraisable

UID = "1.2.840.10008.1.2.4.202"
BASE = 64
_GREY = tuple(map(np.dtype, ("u1", "i1", "u2", "i2")))
LIKE_RGB = frozenset({"RGB", "YBR_RCT", "YBR_ICT"})


def decompositions(rows: int, columns: int) -> int:
    """Decompositions that bring the smaller side of the base to at most 64; the codec needs one or more."""
    side = min(rows, columns)
    levels = 1
    while -(-side >> levels) > BASE:
        levels += 1
    return levels


def encode(samples: Samples, photometric: str, *, cross_check: bool = False) -> tuple[bytes, int]:
    """One frame as a codestream in JP2 boxes, and the number of bytes before the codestream.

    ``samples`` have 8 or 16 bits, (rows, columns) or (rows, columns, 3). The reversible colour transform is
    applied to RGB only: other colour spaces gain little, and so keep their photometric interpretation
    (PS3.5 8.2.14). ``cross_check``: OpenJPEG, an independent implementation, decodes it, too.
    Raises `PixelFailure` if the frame cannot be encoded or does not decode to the same samples.
    """
    rows, columns = samples.shape[:2]
    colour = samples.ndim == 3
    stream = None if colour else _encoded_as_grey(samples, photometric, cross_check)
    if stream is None:
        stream = _encoded(samples, photometric, cross_check)
    head = box_head(
        rows,
        columns,
        samples.shape[2] if colour else 1,
        samples.dtype.itemsize * 8,
        samples.dtype.kind == "i",
        len(stream),
    )
    return head + stream, len(head)


def _encoded(samples: Samples, photometric: str, cross_check: bool) -> bytes:
    """The codestream by imagecodecs."""
    colour = samples.ndim == 3
    try:
        stream = cast(
            bytes,
            imagecodecs.htj2k_encode(
                samples,
                reversible=True,
                planar=False if colour else None,
                rgb=colour and photometric in LIKE_RGB,
                resolutions=decompositions(*samples.shape[:2]),  # imagecodecs means decompositions
                tlm=True,
                tilepart=1,
            ),
        )
        same = _decodes_to(samples, stream, photometric, cross_check)
    except (imagecodecs.Htj2kError, imagecodecs.Jpeg2kError, ValueError) as error:
        raise cannot_transcode(f"a frame could not be encoded as HTJ2K: {error}") from error
    if not same:
        raise cannot_transcode("a frame encoded as HTJ2K did not decode to the same pixels")
    return stream


def _encoded_as_grey(samples: Samples, photometric: str, cross_check: bool) -> bytes | None:
    """The codestream by ojph, the faster encoder; None where imagecodecs has to encode the frame.

    The two differ in the comment that names the codec, and in nothing else.
    """
    encoder = _grey_encoder()
    if encoder is None or samples.dtype not in _GREY:
        return None
    if not (samples.flags.c_contiguous and samples.flags.writeable):
        samples = np.array(samples, order="C")
    try:
        stream: bytes = encoder(
            samples,
            channel_order="HW",
            num_decompositions=decompositions(*samples.shape),
            reversible=True,
            progression_order="RPCL",
            tlm_marker=True,
            tileparts_at_resolutions=True,
            tileparts_at_components=False,
        ).tobytes()
        return stream if _decodes_to(samples, stream, photometric, cross_check) else None
    except (PixelFailure, imagecodecs.Jpeg2kError, RuntimeError, TypeError, ValueError):
        return None


@cache
def _grey_encoder() -> Callable[..., Any] | None:
    """The encoder of ojph, or None: it has no packages for Python 3.11. Loaded only by those who encode."""
    try:
        from ojph import imwrite_to_memory
    except ImportError:
        return None
    encoder: Callable[..., Any] = imwrite_to_memory
    return encoder


def _decodes_to(samples: Samples, stream: bytes, photometric: str, cross_check: bool) -> bool:
    """Whether a codestream decodes to these samples; ``cross_check``: also by OpenJPEG."""
    if not same_samples(samples, decode(stream, samples.shape, samples.dtype, photometric)):
        return False
    return not cross_check or same_samples(
        samples, imagecodecs.jpeg2k_decode(stream, planar=False, numthreads=1)
    )


def decode(
    codestream: bytes | bytearray | memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], photometric: str
) -> Samples:
    """The samples of a frame that `encode` encoded, in this shape, type and photometric interpretation.

    Frames of other encoders are decoded by OpenJPEG: OpenJPH wraps the samples of lossy ones. The header is
    checked before the codec runs: OpenJPH 0.26.3 takes minutes if one bit in SIZ is wrong. Raises
    `PixelFailure` if the codestream is too damaged to decode. Damage within a code block may decode to
    anything, so callers compare the samples or their checksum.
    """
    check_form(
        codestream,
        shape,
        dtype.itemsize * 8,
        signed=dtype.kind == "i",
        transform=len(shape) == 3 and photometric in LIKE_RGB,
        levels=decompositions(*shape[:2]),
    )
    try:
        with collect_unraisable() as errors:
            samples: Samples = imagecodecs.htj2k_decode(cast(bytes, codestream), planar=False)
    except (imagecodecs.Htj2kError, ValueError) as error:
        raise cannot_transcode(f"an HTJ2K frame could not be decoded: {error}") from error
    if errors:
        raise cannot_transcode(f"an HTJ2K frame could not be decoded to its end: {errors[0]}")
    if samples.shape != shape or samples.dtype != dtype:
        raise cannot_transcode(f"an HTJ2K frame decodes to {samples.dtype} {samples.shape}")
    return samples


def same_samples(first: Samples, second: Samples) -> bool:
    """Whether type, shape and every value agree."""
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    if first.nbytes % 8 == 0 and first.flags.c_contiguous and second.flags.c_contiguous:
        first, second = first.reshape(-1).view(np.uint64), second.reshape(-1).view(np.uint64)
    return bool(np.array_equal(first, second))
