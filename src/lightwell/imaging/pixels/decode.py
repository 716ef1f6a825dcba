"""Coded frames back to stored samples.

Every frame's own header is compared with the attributes before a codec runs, and the result's type, shape
and range after it. Colours stay as they are stored: YBR samples are not converted, except where the
codestream itself says so (the reversible and irreversible transforms of JPEG 2000). Source: PS3.5 8.2 and
Annex A.
"""

from __future__ import annotations

import zlib
from typing import cast

import imagecodecs
import numpy as np

from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import cannot_transcode
from lightwell.imaging.pixels import rle
from lightwell.imaging.pixels.codestream_header import (
    CodestreamHeader,
    check_header,
    check_scans,
    read_header,
)
from lightwell.imaging.pixels.codestream_structure import read_structure, without_wrong_lists
from lightwell.imaging.pixels.jp2_boxes import codestream_of
from lightwell.imaging.pixels.lossless_jpeg import check_coded_length
from lightwell.imaging.pixels.samples import (
    Samples,
    frame_shape,
    from_native,
    native_bits,
    sample_type,
    whole_frame,
)

_LOSSLESS = 0xC3


def decode_frame(data: bytes, codec: str, image: ImageDescription) -> tuple[Samples, str]:
    """Samples of one coded frame and the name of what decoded it.

    ``codec`` is that of `syntaxes.Syntax`. The samples have the type of `samples.sample_type` and the shape
    of `samples.frame_shape`. Raises `PixelFailure`.
    """
    if codec == "rle":
        return rle.decode(data, image), rle.codec_name()
    if codec == "native":
        return from_native(whole_frame(data, image), image), "native"
    if codec == "deflate":
        return from_native(_inflate(data, (native_bits(image) + 7) // 8), image), "zlib"
    samples, header, decoder = decode_codestream(data, codec, image)
    return to_stored(samples, header, image), decoder


def decode_codestream(
    data: bytes, codec: str, image: ImageDescription
) -> tuple[Samples, CodestreamHeader, str]:
    """The samples as the codestream itself describes them, before `to_stored`; for jpeg, jpegls, jpeg2000."""
    stream = codestream_of(data) if codec == "jpeg2000" else data
    header = read_header(stream, codec)
    check_header(header, image)
    if codec == "jpeg2000":
        stream = without_wrong_lists(stream, read_structure(stream))
    try:
        samples, decoder = _run(stream, codec, header)
    except (RuntimeError, ValueError, OSError) as error:
        raise cannot_transcode(f"a frame cannot be decoded: {error}") from error
    if samples.shape != frame_shape(image) or samples.dtype.kind not in "iu":
        raise cannot_transcode(
            f"a frame decodes to the shape {samples.shape}, the attributes say {frame_shape(image)}"
        )
    return np.ascontiguousarray(samples), header, decoder


def _run(stream: bytes | memoryview, codec: str, header: CodestreamHeader) -> tuple[Samples, str]:
    name = f"imagecodecs {imagecodecs.__version__}"
    if codec == "jpeg2000":
        samples = imagecodecs.jpeg2k_decode(cast(bytes, stream), planar=False, numthreads=1)
        return samples, f"{name} {imagecodecs.jpeg2k_version()}"
    if codec == "jpegls":
        return _run_jpegls(bytes(stream), name)
    if header.samples not in (1, 3):
        raise cannot_transcode(f"a JPEG frame has {header.samples} samples a pixel: 1 and 3 can be decoded")
    coded = bytes(stream)
    check_scans(coded)
    # With the same space in and out libjpeg converts nothing.
    space = "ycbcr" if header.samples == 3 else None
    samples = imagecodecs.jpeg8_decode(coded, colorspace=space, outcolorspace=space)
    if header.process == _LOSSLESS:
        check_coded_length(coded, samples)
    return samples, f"{name} {imagecodecs.jpeg8_version()}"


def _run_jpegls(stream: bytes, name: str) -> tuple[Samples, str]:
    """Two decoders, since each refuses frames that the other reads."""
    try:
        return imagecodecs.jpegls_decode(stream), f"{name} {imagecodecs.jpegls_version()}"
    except imagecodecs.JpeglsError as first:
        import jpeg_ls

        try:
            samples = jpeg_ls.decode(np.frombuffer(stream, np.uint8))
        except (RuntimeError, ValueError) as second:
            raise ValueError(f"{first}; {second}") from first
        return samples, f"pyjpegls {jpeg_ls.__version__}"


def to_stored(samples: Samples, header: CodestreamHeader, image: ImageDescription) -> Samples:
    """Codestream samples as the attributes read them: sign by PixelRepresentation, width by BitsAllocated.

    JPEG and JPEG-LS know no signed samples, and JPEG 2000 files in the wild disagree with
    PixelRepresentation: the bits of a sample are what counts (PS3.5 8.2.1, 8.2.4). The sign bit is the
    highest of the codestream's precision. Raises `PixelFailure` where a sample has more bits than the
    codestream says.
    """
    wanted, bits = sample_type(image), header.precision
    spare = samples.dtype.itemsize * 8 - bits
    if spare < 0:
        raise cannot_transcode(f"a frame of {bits} bits a sample decodes to {samples.dtype.itemsize * 8}")
    if spare and not header.signed and int(samples.max()) >> bits:
        raise cannot_transcode(f"a frame of {bits} bits a sample decodes to the value {int(samples.max())}")
    if image.signed == header.signed or (image.signed and bits < image.bits_stored):
        return samples.astype(wanted, copy=False)
    if image.signed:
        signed = samples.view(f"i{samples.dtype.itemsize}")
        return ((signed << spare) >> spare).astype(wanted, copy=False)
    unsigned = samples.view(f"u{samples.dtype.itemsize}") & ((1 << bits) - 1)
    return unsigned.astype(wanted, copy=False)


def _inflate(data: bytes, need: int) -> bytes:
    """One deflated frame (PS3.5 A.4.13): no more than ``need`` bytes are ever made of it."""
    stream = zlib.decompressobj(-15)
    try:
        frame = stream.decompress(data, need + 2)
    except zlib.error as error:
        raise cannot_transcode(f"a deflated frame cannot be read: {error}") from error
    if not need <= len(frame) <= need + 1:
        found = "more" if len(frame) > need else len(frame)
        raise cannot_transcode(f"a deflated frame has {found} bytes where {need} are needed")
    return frame
