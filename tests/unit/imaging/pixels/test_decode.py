import zlib
from typing import Any

import imagecodecs
import jpeg_ls
import numpy as np
import pytest

from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.codestream_header import CodestreamHeader
from lightwell.imaging.pixels.decode import decode_frame, to_stored
from lightwell.imaging.pixels.jp2_boxes import box_head
from tests.unit.imaging.pixel_files import image, image_of, noise, slope


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def j2k(samples: np.ndarray[Any, Any], **changes: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(samples, codecformat="j2k", reversible=True, **changes))


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("shape", [(30, 50), (30, 50, 3)])
def test_decodes_jpeg_ls(kind: str, shape: tuple[int, ...]) -> None:
    samples = noise(shape, kind)
    again, decoder = decode_frame(bytes(imagecodecs.jpegls_encode(samples)), "jpegls", image_of(samples))
    assert again.dtype == samples.dtype
    assert np.array_equal(again, samples)
    assert decoder.startswith("imagecodecs") and "charls" in decoder


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("shape", [(30, 50), (30, 50, 3)])
def test_decodes_jpeg_2000(kind: str, shape: tuple[int, ...]) -> None:
    samples = noise(shape, kind)
    again, _ = decode_frame(j2k(samples), "jpeg2000", image_of(samples))
    assert again.dtype == samples.dtype
    assert np.array_equal(again, samples)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_decodes_lossless_jpeg(bits: int) -> None:
    samples = noise((30, 50), "u2" if bits > 8 else "u1") & (1 << bits) - 1
    coded = bytes(imagecodecs.jpeg8_encode(samples, lossless=True, bitspersample=bits))
    again, _ = decode_frame(coded, "jpeg", image_of(samples, bits_stored=bits))
    assert np.array_equal(again, samples)


def test_leaves_the_colours_of_jpeg_as_they_are_stored() -> None:
    samples = np.empty((32, 32, 3), np.uint8)
    samples[:] = (200, 90, 30)
    coded = bytes(imagecodecs.jpeg8_encode(samples, 100, colorspace="ycbcr", outcolorspace="ycbcr"))
    for photometric in ("YBR_FULL", "YBR_FULL_422", "RGB"):
        again, _ = decode_frame(coded, "jpeg", image_of(samples, photometric=photometric))
        assert np.abs(again.astype(int) - samples).max() <= 1


def test_takes_jpeg_2000_out_of_boxes_without_converting_colours() -> None:
    samples = noise((30, 50, 3), "u1")
    stream = j2k(samples, mct=False)
    boxed = box_head(30, 50, 3, 8, False, len(stream)) + stream
    in_ybr = boxed.replace(b"colr\x01\0\0\0\0\0\x10", b"colr\x01\0\0\0\0\0\x12")
    assert in_ybr != boxed
    again, _ = decode_frame(in_ybr, "jpeg2000", image_of(samples, photometric="YBR_FULL"))
    assert np.array_equal(again, samples)


def test_inflates_a_deflated_frame() -> None:
    samples = noise((4, 6), "u2")
    for padding in (b"", b"\0"):
        again, decoder = decode_frame(deflated(samples.tobytes()) + padding, "deflate", image_of(samples))
        assert np.array_equal(again, samples)
        assert decoder == "zlib"


@pytest.mark.parametrize(
    "data",
    [
        deflated(bytes(47)),
        deflated(bytes(50)),
        deflated(bytes(1 << 24)),
        deflated(bytes(48))[:-3],
        b"\xff\xff",
        b"",
    ],
)
def test_refuses_a_deflated_frame_of_another_length(data: bytes) -> None:
    with pytest.raises(PixelFailure):
        decode_frame(data, "deflate", image())


def test_takes_native_frames_out_of_items() -> None:
    samples = noise((3, 3), "u1")
    again, _ = decode_frame(samples.tobytes() + b"\0", "native", image_of(samples))
    assert np.array_equal(again, samples)


def test_refuses_a_native_frame_of_another_length() -> None:
    with pytest.raises(PixelFailure):
        decode_frame(bytes(12), "native", image(rows=3, columns=3, bits_allocated=8))


def test_refuses_a_bomb_by_its_header() -> None:
    small = j2k(slope((32, 32), "u2"))
    lie = small[:8] + (60000).to_bytes(4) + (60000).to_bytes(4) + small[16:]
    with pytest.raises(PixelFailure, match="60000"):
        decode_frame(lie, "jpeg2000", image(rows=32, columns=32))


@pytest.mark.parametrize("codec", ["jpegls", "jpeg2000", "jpeg"])
def test_refuses_a_frame_that_is_cut(codec: str) -> None:
    samples = noise((64, 64), "u2")
    coded = {
        "jpegls": imagecodecs.jpegls_encode(samples),
        "jpeg2000": j2k(samples),
        "jpeg": imagecodecs.jpeg8_encode(samples, lossless=True, bitspersample=16),
    }[codec]
    # Not 0.3, at which both JPEG-LS decoders take five seconds to see that it is cut.
    for part in (0.99, 0.7, 0.35, 0.1, 0.01):
        with pytest.raises(PixelFailure):
            decode_frame(bytes(coded[: int(len(coded) * part)]), codec, image_of(samples))


def test_asks_a_second_jpeg_ls_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(data: bytes) -> None:
        raise imagecodecs.JpeglsError("no", 1)

    samples = noise((30, 50), "u2")
    coded = bytes(imagecodecs.jpegls_encode(samples))
    monkeypatch.setattr(imagecodecs, "jpegls_decode", refuse)
    again, decoder = decode_frame(coded, "jpegls", image_of(samples))
    assert np.array_equal(again, samples)
    assert decoder.startswith("pyjpegls ")


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("second", [False, True])
def test_decodes_every_interleaving_of_jpeg_ls(
    mode: int, second: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(data: bytes) -> None:
        raise imagecodecs.JpeglsError("no", 1)

    samples = noise((30, 50, 3), "u1")
    value = samples if mode else samples.transpose(2, 0, 1)
    coded = jpeg_ls.encode_buffer(
        value.tobytes(), rows=30, columns=50, samples_per_pixel=3, bits_stored=8, interleave_mode=mode
    )
    if second:
        monkeypatch.setattr(imagecodecs, "jpegls_decode", refuse)
    again, _ = decode_frame(bytes(coded), "jpegls", image_of(samples))
    assert again.flags.c_contiguous
    assert np.array_equal(again, samples)


def test_refuses_jpeg_of_four_samples() -> None:
    samples = noise((16, 16, 4), "u1")
    coded = bytes(imagecodecs.jpeg8_encode(samples, colorspace="cmyk", outcolorspace="cmyk"))
    with pytest.raises(PixelFailure, match="4 samples"):
        decode_frame(coded, "jpeg", image_of(samples))


def header(precision: int, signed: bool = False) -> CodestreamHeader:
    return CodestreamHeader(1, 3, 1, precision, signed)


def test_extends_the_sign_from_the_codestreams_precision() -> None:
    samples = np.array([[0, 0x7FF, 0x800]], np.uint16)
    stored = to_stored(samples, header(12), image(rows=1, columns=3, signed=True, bits_stored=12))
    assert stored.dtype == np.int16
    assert stored.tolist() == [[0, 2047, -2048]]


def test_reads_sixteen_unsigned_bits_as_signed() -> None:
    samples = np.array([[0, 0x8000, 0xFFFF]], np.uint16)
    stored = to_stored(samples, header(16), image(rows=1, columns=3, signed=True, bits_stored=16))
    assert stored.tolist() == [[0, -32768, -1]]


def test_takes_no_sign_from_fewer_bits_than_are_stored() -> None:
    samples = np.array([[0, 0x800, 0xFFF]], np.uint16)
    stored = to_stored(samples, header(12), image(rows=1, columns=3, signed=True, bits_stored=16))
    assert stored.tolist() == [[0, 0x800, 0xFFF]]


def test_reads_signed_bits_as_unsigned() -> None:
    samples = np.array([[0, -1, -4096]], np.int16)
    stored = to_stored(samples, header(13, signed=True), image(rows=1, columns=3, bits_stored=13))
    assert stored.dtype == np.uint16
    assert stored.tolist() == [[0, 0x1FFF, 0x1000]]


def test_widens_to_the_bits_allocated() -> None:
    unsigned = to_stored(np.array([[1, 2, 255]], np.uint8), header(8), image(rows=1, columns=3))
    assert (unsigned.dtype, unsigned.tolist()) == (np.dtype(np.uint16), [[1, 2, 255]])
    signed = to_stored(
        np.array([[1, -2, -128]], np.int8), header(8, True), image(rows=1, columns=3, signed=True)
    )
    assert (signed.dtype, signed.tolist()) == (np.dtype(np.int16), [[1, -2, -128]])


def test_refuses_samples_beyond_the_precision() -> None:
    with pytest.raises(PixelFailure):
        to_stored(np.array([[0, 1, 4096]], np.uint16), header(12), image(rows=1, columns=3))
