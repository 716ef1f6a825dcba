"""The lossless transfer syntaxes that frames can be encoded in when a client asks for them.

Every encoder decodes what it has made and compares it before it returns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lightwell.imaging.dataset.transfer_syntaxes import (
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_RPCL,
    JPEG2000_LOSSLESS,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    RLE,
    SYNTAXES,
)
from lightwell.imaging.pixels import htj2k, jpeg2000, jpegls, lossless_jpeg, rle
from lightwell.imaging.pixels.samples import Samples

_Encoder = Callable[[Samples, str, int], bytes]


def _htj2k(samples: Samples, photometric: str, _: int) -> bytes:
    data, head = htj2k.encode(samples, photometric)
    return data[head:]


def _jpeg2000(samples: Samples, photometric: str, bits_stored: int) -> bytes:
    """A codestream whose precision is ``bits_stored`` where unsigned samples of grey images fit into it.

    ITK 5.4 inverts MONOCHROME1 by the precision of the codestream: values of 10 bits that are coded with a
    precision of 16 come out 64512 too high. Where 8 bits are enough the precision stays 16, since decoders
    return samples of as many bytes as the precision needs.
    """
    exact = samples.dtype == np.uint16 and samples.ndim == 2 and 8 < bits_stored < 16
    fits = exact and int(samples.max()) >> bits_stored == 0
    return jpeg2000.encode(samples, photometric, bits_stored if fits else None)


# RPCL is one of the orders that HTJ2K may have, SV1 one of the predictors of process 14, and 0 one of the
# errors that near-lossless JPEG-LS may have (PS3.5 A.4).
_ENCODERS: dict[str, _Encoder] = {
    JPEG2000_LOSSLESS: _jpeg2000,
    **dict.fromkeys((HTJ2K_RPCL, HTJ2K_LOSSLESS, HTJ2K), _htj2k),
    **dict.fromkeys(
        (JPEG_LOSSLESS_SV1, JPEG_LOSSLESS),
        lambda samples, photometric, _: lossless_jpeg.encode(samples, photometric),
    ),
    **dict.fromkeys((JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS), lambda samples, *_: jpegls.encode(samples)),
    RLE: lambda samples, *_: rle.encode(samples),
}


def encode(samples: Samples, photometric: str, syntax: str, bits_stored: int = 16) -> bytes:
    """One frame in a transfer syntax of `transfer_syntaxes.LOSSLESS_SYNTAXES`, as the bytes of a fragment.

    ``samples`` have 8 or 16 bits, (rows, columns) or (rows, columns, 3), in the colours that ``photometric``
    names. ``bits_stored`` is BitsStored; samples may have more. Raises `PixelFailure` if the frame cannot be
    encoded, or does not decode to the same samples.
    """
    return _ENCODERS[syntax](samples, photometric, bits_stored)


def encoded_photometric(photometric: str, syntax: str) -> str:
    """PhotometricInterpretation of frames that `encode` has encoded from samples in ``photometric``.

    JPEG 2000 and HTJ2K apply the reversible colour transform to RGB; the others leave colours as they are.
    """
    transforms = SYNTAXES[syntax].codec == "jpeg2000" and photometric in htj2k.LIKE_RGB
    return "YBR_RCT" if transforms else photometric
