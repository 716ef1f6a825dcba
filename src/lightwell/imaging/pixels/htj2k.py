"""HTJ2K lossless in RPCL order: the storage format of an ``HTJ2K`` data store (1.2.840.10008.1.2.4.202).

Source: PS3.5 10.18 (RPCL, enough decompositions for a base of at most 64 in width or height, TLM markers),
AWS's sample frame (one tile-part a resolution, JP2 boxes). `encode` proves every frame by decoding it
again.
"""

from __future__ import annotations

from typing import Any, cast

import imagecodecs
import numpy as np

from lightwell.imaging.errors import cannot_transcode
from lightwell.imaging.pixels.htj2k_header import check_form
from lightwell.imaging.pixels.jp2_boxes import box_head
from lightwell.imaging.pixels.samples import Samples
from lightwell.imaging.pixels.unraisable_errors import swallowed

UID = "1.2.840.10008.1.2.4.202"
BASE = 64
LIKE_RGB = frozenset({"RGB", "YBR_RCT", "YBR_ICT"})


def decompositions(rows: int, columns: int) -> int:
    """Wavelet levels that bring the smaller side of the base to at most 64; at least 1, the codec's least."""
    side = min(rows, columns)
    levels = 1
    while -(-side >> levels) > BASE:
        levels += 1
    return levels


def encode(samples: Samples, photometric: str, *, second: bool = False) -> tuple[bytes, int]:
    """The boxed file of one frame, and how many of its bytes stand before the codestream.

    ``samples`` are 8 or 16 bits wide, (rows, columns) or (rows, columns, 3). The reversible colour
    transform is used on RGB alone: other colour spaces gain little by it, and their photometric
    interpretation stays true (PS3.5 8.2.14). ``second`` asks OpenJPEG, whose code is independent, to decode
    it too. Raises `PixelFailure` where the frame cannot be coded or does not decode to the same samples.
    """
    rows, columns = samples.shape[:2]
    colour = samples.ndim == 3
    try:
        stream = imagecodecs.htj2k_encode(
            samples,
            reversible=True,
            planar=False if colour else None,
            rgb=colour and photometric in LIKE_RGB,
            resolutions=decompositions(rows, columns),
            tlm=True,
            tilepart=1,
        )
        same = same_samples(samples, decode(stream, samples.shape, samples.dtype, photometric))
        if same and second:
            same = same_samples(samples, imagecodecs.jpeg2k_decode(stream, planar=False, numthreads=1))
    except (imagecodecs.Htj2kError, imagecodecs.Jpeg2kError, ValueError) as error:
        raise cannot_transcode(f"a frame could not be encoded as HTJ2K: {error}") from error
    if not same:
        raise cannot_transcode("a frame encoded as HTJ2K did not decode to the same pixels")
    head = box_head(
        rows,
        columns,
        samples.shape[2] if colour else 1,
        samples.dtype.itemsize * 8,
        samples.dtype.kind == "i",
        len(stream),
    )
    return head + stream, len(head)


def decode(
    codestream: bytes | bytearray | memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], photometric: str
) -> Samples:
    """Samples of a frame that `encode` made of such; frames of others go through OpenJPEG, lossy ones wrap
    here.

    Its form is checked before the codec runs: OpenJPH 0.26.3 works for minutes at one wrong bit in SIZ.
    Raises `PixelFailure` where the codestream is damaged so that it cannot be decoded. What is damaged inside
    of a code block may decode to anything, so who calls compares the samples or their checksum.
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
        with swallowed() as heard:
            samples: Samples = imagecodecs.htj2k_decode(cast(bytes, codestream), planar=False)
    except (imagecodecs.Htj2kError, ValueError) as error:
        raise cannot_transcode(f"an HTJ2K frame could not be decoded: {error}") from error
    if heard:
        raise cannot_transcode(f"an HTJ2K frame could not be decoded to its end: {heard[0]}")
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


def codec_name() -> str:
    """Name and version of the codec, for the record."""
    return f"imagecodecs {imagecodecs.__version__} {imagecodecs.htj2k_version()}"
