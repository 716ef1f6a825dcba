"""JPEG 2000 lossless, the storage format of a ``JPEG_2000_LOSSLESS`` data store (1.2.840.10008.1.2.4.90).

Frames are bare codestreams, as in DICOM files (PS3.5 A.4.4). `encode` verifies every frame by decoding it.
"""

from __future__ import annotations

import imagecodecs

from lightwell.imaging.errors import cannot_transcode
from lightwell.imaging.pixels.codestream_structure import read_structure
from lightwell.imaging.pixels.htj2k import LIKE_RGB, same_samples
from lightwell.imaging.pixels.samples import Samples


def encode(samples: Samples, photometric: str, precision: int | None = None) -> bytes:
    """The codestream of one frame of 8 or 16 bits, (rows, columns) or (rows, columns, 3).

    ``precision`` is the bits of a sample that the codestream names; none for all 8 or 16. The reversible
    colour transform is applied to RGB only, as in `htj2k.encode`. Raises `PixelFailure` if
    the frame cannot be encoded or does not decode to the same samples, or if `codestream_structure`, which
    checks every frame before it is decoded, refuses it.
    """
    colour = samples.ndim == 3
    try:
        stream = imagecodecs.jpeg2k_encode(
            samples,
            codecformat="j2k",
            planar=False if colour else None,
            bitspersample=precision,
            reversible=True,
            mct=colour and photometric in LIKE_RGB,
            numthreads=1,
        )
        read_structure(stream)
        again: Samples = imagecodecs.jpeg2k_decode(stream, planar=False, numthreads=1)
    except (imagecodecs.Jpeg2kError, ValueError) as error:
        raise cannot_transcode(f"a frame could not be encoded as JPEG 2000: {error}") from error
    if not same_samples(samples, again):
        raise cannot_transcode("a frame encoded as JPEG 2000 did not decode to the same pixels")
    return bytes(stream)
