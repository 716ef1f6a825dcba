"""Decoding coded frames to stored samples.

The header of every frame is compared with the attributes before a codec runs, and the type, shape and range
of the result after it. Colours are not converted: YBR samples stay YBR, except for the reversible and the
irreversible colour transform of a JPEG 2000 codestream. Source: PS3.5 8.2 and Annex A.
"""

from __future__ import annotations

import zlib
from functools import partial
from typing import cast

import imagecodecs
import numpy as np

from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import cannot_transcode
from lightwell.imaging.pixels import rle
from lightwell.imaging.pixels.codestream_header import (
    CodestreamHeader,
    check_header,
    read_header,
)
from lightwell.imaging.pixels.codestream_structure import read_structure, without_wrong_tlm
from lightwell.imaging.pixels.jp2_boxes import codestream_of
from lightwell.imaging.pixels.jpeg_scans import check_nothing_missing, read_scans
from lightwell.imaging.pixels.lossless_jpeg import check_coded_length
from lightwell.imaging.pixels.samples import (
    Samples,
    frame_shape,
    from_native,
    native_bits,
    sample_type,
    whole_frame,
)

_LOSSLESS_PROCESS = 0xC3


def decode_frame(data: bytes, codec: str, image: ImageDescription) -> tuple[Samples, str]:
    """The samples of one coded frame and the name of the decoder.

    ``codec`` is that of its `TransferSyntax`. The samples have the type of `samples.sample_type` and the
    shape of `samples.frame_shape`. Raises `PixelFailure`.
    """
    if codec == "rle":
        return rle.decode(data, image), _decoder_name("packbits")
    if codec == "native":
        return from_native(whole_frame(data, image), image), "native"
    if codec == "deflate":
        return from_native(_inflate(data, (native_bits(image) + 7) // 8), image), "zlib"
    samples, header, decoder = decode_codestream(data, codec, image)
    return to_stored(samples, header, image), decoder


def decode_codestream(
    data: bytes, codec: str, image: ImageDescription
) -> tuple[Samples, CodestreamHeader, str]:
    """The samples as the codestream describes them, before `to_stored`; for jpeg, jpegls, jpeg2000."""
    stream = codestream_of(data) if codec == "jpeg2000" else data
    header = read_header(stream, codec)
    check_header(header, image)
    if codec == "jpeg2000":
        structure = read_structure(stream)
        stream = without_wrong_tlm(stream[: len(stream) - (structure.trailing or 0)], structure)
    try:
        samples, decoder = _run(stream, codec, header)
    except (RuntimeError, ValueError, OSError) as error:
        raise cannot_transcode(f"a frame cannot be decoded: {error}") from error
    if samples.shape != frame_shape(image) or samples.dtype.kind not in "iu":
        raise cannot_transcode(
            f"a frame decodes to the shape {samples.shape}, but the attributes say {frame_shape(image)}"
        )
    return np.ascontiguousarray(samples), header, decoder


def _run(stream: bytes | memoryview, codec: str, header: CodestreamHeader) -> tuple[Samples, str]:
    if codec == "jpeg2000":
        samples = imagecodecs.jpeg2k_decode(cast(bytes, stream), planar=False, numthreads=1)
        return samples, _decoder_name(imagecodecs.jpeg2k_version())
    if codec == "jpegls":
        return _run_jpegls(bytes(stream))
    if header.samples not in (1, 3):
        raise cannot_transcode(
            f"a JPEG frame has {header.samples} samples per pixel; lightwell decodes 1 and 3"
        )
    coded = bytes(stream)
    scans = read_scans(coded)
    coded = coded[: scans.end]
    samples = _jpeg_samples(coded, header.samples)
    if header.process == _LOSSLESS_PROCESS:
        check_coded_length(coded, samples)
    if scans.followed:
        check_nothing_missing(coded, scans, samples, partial(_jpeg_samples, count=header.samples))
    return samples, _decoder_name(imagecodecs.jpeg8_version())


def _jpeg_samples(coded: bytes, count: int) -> Samples:
    # With the same colour space in and out libjpeg converts nothing.
    space = "ycbcr" if count == 3 else None
    samples: Samples = imagecodecs.jpeg8_decode(coded, colorspace=space, outcolorspace=space)
    return samples


def _decoder_name(library: str) -> str:
    return f"imagecodecs {imagecodecs.__version__} {library}"


def _run_jpegls(stream: bytes) -> tuple[Samples, str]:
    """Decode with one of two decoders, since each refuses frames that the other decodes."""
    try:
        return imagecodecs.jpegls_decode(stream), _decoder_name(imagecodecs.jpegls_version())
    except imagecodecs.JpeglsError as first:
        import jpeg_ls

        try:
            samples = jpeg_ls.decode(np.frombuffer(stream, np.uint8))
        except (RuntimeError, ValueError) as second:
            raise ValueError(f"{first}; {second}") from first
        return samples, f"pyjpegls {jpeg_ls.__version__}"


def to_stored(samples: Samples, header: CodestreamHeader, image: ImageDescription) -> Samples:
    """Samples of a codestream in the type of the attributes: sign by PixelRepresentation, BitsAllocated wide.

    JPEG and JPEG-LS have no signed samples, and the sign in JPEG 2000 files may differ from
    PixelRepresentation: the bits of a sample decide (PS3.5 8.2.1, 8.2.4). The sign bit is the highest of the
    codestream's precision. Raises `PixelFailure` if a sample has more bits than that precision.
    """
    sample_dtype, bits = sample_type(image), header.precision
    unused_bits = samples.dtype.itemsize * 8 - bits
    if unused_bits < 0:
        raise cannot_transcode(
            f"a frame of {bits} bits per sample decodes to samples of {samples.dtype.itemsize * 8} bits"
        )
    if unused_bits and not header.signed and int(samples.max()) >> bits:
        raise cannot_transcode(f"a frame of {bits} bits per sample decodes to the value {int(samples.max())}")
    if image.signed == header.signed or (image.signed and bits < image.bits_stored):
        return samples.astype(sample_dtype, copy=False)
    if image.signed:
        signed = samples.view(f"i{samples.dtype.itemsize}")
        return ((signed << unused_bits) >> unused_bits).astype(sample_dtype, copy=False)
    unsigned = samples.view(f"u{samples.dtype.itemsize}") & ((1 << bits) - 1)
    return unsigned.astype(sample_dtype, copy=False)


def _inflate(data: bytes, expected: int) -> bytes:
    """Inflate one frame (PS3.5 A.4.13) to at most two bytes more than the ``expected`` ones."""
    stream = zlib.decompressobj(-15)
    try:
        frame = stream.decompress(data, expected + 2)
    except zlib.error as error:
        raise cannot_transcode(f"a deflated frame cannot be inflated: {error}") from error
    if not expected <= len(frame) <= expected + 1:
        actual = "more" if len(frame) > expected else len(frame)
        raise cannot_transcode(f"a deflated frame has {actual} bytes, {expected} are expected")
    return frame
