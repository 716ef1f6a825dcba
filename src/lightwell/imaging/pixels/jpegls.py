"""JPEG-LS lossless frames (ISO/IEC 14495-1), as clients may ask for them; nothing is stored like this."""

from __future__ import annotations

import imagecodecs
import numpy as np

from lightwell.imaging.errors import cannot_transcode
from lightwell.imaging.pixels.samples import Samples, as_unsigned

_SPARE = 1 << 12
"""Bytes of a codestream beyond its coded samples, with room to spare."""


def encode(samples: Samples) -> bytes:
    """The codestream of one frame of 8 or 16 bits, (rows, columns) or (rows, columns, 3), by pixel.

    JPEG-LS has no signed samples: those of ``samples`` are coded as their two's complement, in all their 8
    or 16 bits, so that every reader gets their sign back (PS3.5 8.2.3). The greatest error is 0, which both
    transfer syntaxes of JPEG-LS allow (PS3.5 A.4.3). Raises `PixelFailure` if the frame cannot be encoded or
    does not decode to the same samples.
    """
    plain = as_unsigned(samples)
    try:
        # Noise grows when it is coded, beyond what imagecodecs 2026.3.6 reserves by itself.
        stream = imagecodecs.jpegls_encode(plain, out=2 * plain.nbytes + _SPARE)
        again: Samples = imagecodecs.jpegls_decode(stream)
    except (imagecodecs.JpeglsError, ValueError) as error:
        raise cannot_transcode(f"a frame could not be encoded as JPEG-LS: {error}") from error
    if again.dtype != plain.dtype or not np.array_equal(again, plain):
        raise cannot_transcode("a frame encoded as JPEG-LS did not decode to the same pixels")
    return bytes(stream)
