"""The lossless transfer syntaxes that frames can be encoded in when a client asks for them.

Every encoder decodes what it has made and compares it before it returns.
"""

from __future__ import annotations

from collections.abc import Callable

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

_Encoder = Callable[[Samples, str], bytes]


def _htj2k(samples: Samples, photometric: str) -> bytes:
    data, head = htj2k.encode(samples, photometric)
    return data[head:]


# RPCL is one of the orders that HTJ2K may have, SV1 one of the predictors of process 14, and 0 one of the
# errors that near-lossless JPEG-LS may have (PS3.5 A.4).
_ENCODERS: dict[str, _Encoder] = {
    JPEG2000_LOSSLESS: jpeg2000.encode,
    **dict.fromkeys((HTJ2K_RPCL, HTJ2K_LOSSLESS, HTJ2K), _htj2k),
    **dict.fromkeys((JPEG_LOSSLESS_SV1, JPEG_LOSSLESS), lossless_jpeg.encode),
    **dict.fromkeys((JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS), lambda samples, _: jpegls.encode(samples)),
    RLE: lambda samples, _: rle.encode(samples),
}


def encode(samples: Samples, photometric: str, syntax: str) -> bytes:
    """One frame in a transfer syntax of `transfer_syntaxes.LOSSLESS_SYNTAXES`, as the bytes of a fragment.

    ``samples`` have 8 or 16 bits, (rows, columns) or (rows, columns, 3), in the colours that ``photometric``
    names. Raises `PixelFailure` if the frame cannot be encoded, or does not decode to the same samples.
    """
    return _ENCODERS[syntax](samples, photometric)


def encoded_photometric(photometric: str, syntax: str) -> str:
    """PhotometricInterpretation of frames that `encode` has encoded from samples in ``photometric``.

    JPEG 2000 and HTJ2K apply the reversible colour transform to RGB; the others leave colours as they are.
    """
    transforms = SYNTAXES[syntax].codec == "jpeg2000" and photometric in htj2k.LIKE_RGB
    return "YBR_RCT" if transforms else photometric
