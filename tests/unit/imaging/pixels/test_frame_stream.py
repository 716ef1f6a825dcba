import struct
import zlib
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import pytest

from lightwell.imaging.dataset.byte_source import BytesSource
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.frame_stream import blob_ranges, open_frame_stream
from tests.unit.imaging.pixel_files import (
    BIG,
    EXPLICIT,
    image,
    image_of,
    item,
    items,
    noise,
    opened,
    store_encapsulated,
    store_native,
)

DICOM = "1.2.840.10008.1.2"
HTJ2K, J2K = DICOM + ".4.202", DICOM + ".4.90"


def refusal(value: bytes, description: ImageDescription, syntax: str, **more: Any) -> str:
    with pytest.raises(PixelFailure) as failure:
        list(store_encapsulated(value, description, syntax, **more))
    return failure.value.warning.type


def lossless(samples: np.ndarray[Any, Any], **more: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(samples, codecformat="j2k", reversible=True, **more))


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_stores_native_frames_as_htj2k(kind: str, shape: tuple[int, ...]) -> None:
    frames = [noise(shape, kind, seed) for seed in range(3)]
    stream = store_native(b"".join(f.tobytes() for f in frames), image_of(frames[0], frames=3))
    for encoded, samples in zip(stream, frames, strict=True):
        assert np.array_equal(imagecodecs.jpeg2k_decode(encoded.data, planar=False), samples)
        assert encoded.data[encoded.head :].startswith(b"\xff\x4f\xff\x51")
        assert encoded.checksum == zlib.crc32(samples.tobytes())
        assert (encoded.low, encoded.high) == (samples.min(), samples.max())
    stored = stream.stored
    assert (stored.stored_syntax, stored.checksum_type, stored.frame_count) == (HTJ2K, "DECOMPRESSED", 3)
    assert (stored.width, stored.height, stored.decoder) == (7, 5, "native")


def test_stores_native_frames_as_jpeg_2000() -> None:
    samples = noise((5, 7, 3), "u2")
    stream = store_native(samples.tobytes(), image_of(samples), store="JPEG_2000_LOSSLESS")
    (encoded,) = stream
    assert stream.stored.stored_syntax == J2K
    assert encoded.head == 0
    assert encoded.data.startswith(b"\xff\x4f\xff\x51")
    assert np.array_equal(imagecodecs.jpeg2k_decode(encoded.data, planar=False), samples)
    assert encoded.checksum == zlib.crc32(samples.tobytes())


def test_keeps_bits_above_bits_stored() -> None:
    samples = noise((5, 7), "u2")
    (encoded,) = store_native(samples.tobytes(), image_of(samples, bits_stored=12))
    assert np.array_equal(imagecodecs.jpeg2k_decode(encoded.data), samples)


@pytest.mark.parametrize("kind", ["u1", "i2", "u2"])
def test_turns_big_endian_around(kind: str) -> None:
    samples = noise((3, 5), kind)
    value = samples.tobytes() + b"\0" * (samples.nbytes % 2)
    value = np.frombuffer(value, ">u2").astype("<u2").tobytes()
    (encoded,) = store_native(value, image_of(samples), BIG)
    assert np.array_equal(imagecodecs.jpeg2k_decode(encoded.data), samples)


def test_leaves_bytes_of_big_endian_ob_alone() -> None:
    samples = noise((3, 5), "u1")
    (encoded,) = store_native(samples.tobytes() + b"\0", image_of(samples), BIG, vr="OB")
    assert np.array_equal(imagecodecs.jpeg2k_decode(encoded.data), samples)


@pytest.mark.parametrize("planar", [0, 1])
def test_keeps_samples_of_32_bits(planar: int) -> None:
    samples = noise((2, 5, 7, 3), "u4")
    stream = store_native(samples.tobytes(), image_of(samples[0], frames=2, planar=planar))
    assert [frame.data for frame in stream] == [frame.tobytes() for frame in samples]
    assert [frame.checksum for frame in stream] == [zlib.crc32(frame.tobytes()) for frame in samples]
    assert {(frame.low, frame.high, frame.head) for frame in stream} == {(None, None, 0)}
    assert (stream.stored.stored_syntax, stream.stored.checksum_type) == (EXPLICIT, "COMPRESSED")


@pytest.mark.parametrize("kind", ["u4", "i4", "u8"])
def test_does_not_guess_the_order_of_long_big_endian_samples(kind: str) -> None:
    samples = noise((2, 3), kind)
    with pytest.raises(PixelFailure, match="two ways") as failure:
        store_native(samples.astype(">" + kind).tobytes(), image_of(samples), BIG)
    assert failure.value.warning.type == "TranscodingException"


@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")])
def test_keeps_floats(keyword: str, kind: str) -> None:
    samples = np.random.default_rng(1).normal(size=(3, 4)).astype(kind)
    description = image_of(samples, pixel_keyword=keyword)
    (frame,) = store_native(samples.astype(">" + kind).tobytes(), description, BIG, vr="OF")
    assert frame.data == samples.tobytes()


def test_keeps_bits_and_aligns_each_frame() -> None:
    bits = np.random.default_rng(1).integers(0, 2, (3, 3, 5), np.uint8)
    value = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    stream = store_native(value, image(rows=3, columns=5, bits_allocated=1, frames=3))
    assert [f.data for f in stream] == [np.packbits(b.reshape(-1), bitorder="little").tobytes() for b in bits]
    assert stream.stored.stored_syntax == EXPLICIT


def test_keeps_native_frames_with_halved_chrominance() -> None:
    value = bytes(range(96))
    description = image(samples=3, bits_allocated=8, photometric="YBR_FULL_422", frames=2)
    stream = store_native(value, description)
    assert [frame.data for frame in stream] == [value[:48], value[48:]]
    assert stream.stored.stored_syntax == EXPLICIT


def test_keeps_lossy_frames_byte_for_byte() -> None:
    samples = np.full((8, 8), 9, np.uint8)
    coded = bytes(imagecodecs.jpeg8_encode(samples))
    coded += b"\0" * (len(coded) % 2)
    value = items(coded, coded[:10], coded[10:], table=(0, 8 + len(coded)))
    stream = store_encapsulated(value, image_of(samples, frames=2), DICOM + ".4.50")
    assert [frame.data for frame in stream] == [coded, coded]
    assert [frame.checksum for frame in stream] == [zlib.crc32(coded)] * 2
    assert {(frame.low, frame.high) for frame in stream} == {(None, None)}
    assert (stream.stored.stored_syntax, stream.stored.checksum_type) == (DICOM + ".4.50", "COMPRESSED")


def test_keeps_jpeg_2000_in_a_store_of_jpeg_2000() -> None:
    samples = noise((5, 7), "u2")
    coded = lossless(samples)
    stream = store_encapsulated(items(coded), image_of(samples), J2K, "JPEG_2000_LOSSLESS")
    (frame,) = stream
    assert frame.data == coded
    assert frame.checksum == zlib.crc32(samples.tobytes())
    assert (frame.low, frame.high) == (samples.min(), samples.max())
    assert (stream.stored.stored_syntax, stream.stored.checksum_type) == (J2K, "DECOMPRESSED")
    assert "openjpeg" in stream.stored.decoder


def test_takes_the_checksum_of_kept_jpeg_2000_over_its_own_samples() -> None:
    codes = noise((5, 7), "u2")
    description = image_of(codes.view("i2"))
    (frame,) = store_encapsulated(items(lossless(codes)), description, J2K, "JPEG_2000_LOSSLESS")
    assert frame.checksum == zlib.crc32(codes.tobytes())
    assert (frame.low, frame.high) == (codes.view("i2").min(), codes.view("i2").max())


def test_tells_the_range_of_kept_jpeg_2000_by_bits_stored() -> None:
    values = np.arange(-2048, 2047, 117).astype(np.int16).reshape(5, 7)
    description = image_of(values, bits_stored=12, idle_bits=4)
    (frame,) = store_encapsulated(items(lossless(values & 0xFFF)), description, J2K, "JPEG_2000_LOSSLESS")
    assert (frame.low, frame.high) == (int(np.min(values)), int(np.max(values)))


def test_refuses_broken_jpeg_2000_in_a_store_of_jpeg_2000() -> None:
    samples = noise((5, 7), "u2")
    value = items(lossless(samples)[:-20])
    assert refusal(value, image_of(samples), J2K, store="JPEG_2000_LOSSLESS") == "TranscodingException"


def test_makes_htj2k_of_jpeg_2000_in_a_store_of_htj2k() -> None:
    samples = noise((5, 7, 3), "u1")
    stream = store_encapsulated(items(lossless(samples)), image_of(samples, photometric="YBR_RCT"), J2K)
    (frame,) = stream
    assert np.array_equal(imagecodecs.jpeg2k_decode(frame.data, planar=False), samples)
    assert stream.stored.stored_syntax == HTJ2K


@pytest.mark.parametrize("tail", [".4.110", ".4.111", ".4.112"])
def test_keeps_jpeg_xl(tail: str) -> None:
    (frame,) = store_encapsulated(items(b"\xff\x0amore"), image(), DICOM + tail)
    assert frame.data == b"\xff\x0amore"


@pytest.mark.parametrize("limit", [1 << 20, 4])
def test_keeps_a_video_as_one_object(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightwell.imaging.pixels.frame_stream.MEMORY_LIMIT", limit)
    parts = (b"\0\0\0\x18ftyp", b"more", b"last")
    stream = store_encapsulated(items(*parts, table=(0,)), image(frames=900), DICOM + ".4.102")
    (frame,) = stream
    assert b"".join(frame.pieces()) == b"".join(parts)
    assert frame.length == 16
    assert frame.checksum == zlib.crc32(b"".join(parts))
    assert stream.stored.frame_count == len(stream) == 1


def test_does_not_keep_full_chrominance_as_native_frames_of_halved_one() -> None:
    samples = noise((1, 6, 3), "u1")
    assert refusal(items(lossless(samples)), image_of(samples, photometric="YBR_FULL_422"), J2K) == (
        "TranscodingException"
    )


def test_refuses_a_video_that_is_not_one() -> None:
    assert refusal(items(b"\xff\xd8\xff\xe0"), image(), DICOM + ".4.102") == "TranscodingException"


def test_does_not_know_every_syntax() -> None:
    assert refusal(items(b"abcd"), image(), "1.2.3.4") == "UnsupportedTransferSyntax"


def test_refuses_encapsulated_pixels_under_an_uncompressed_syntax() -> None:
    assert refusal(items(bytes(48)), image(), EXPLICIT) == "FramesExtractionFailure"


def test_refuses_native_pixels_under_a_compressed_syntax() -> None:
    part10, pixel = opened(bytes(48), DICOM + ".5", encapsulated=False)
    with pytest.raises(PixelFailure) as failure:
        open_frame_stream(part10, image(), pixel, "HTJ2K")
    assert failure.value.warning.type == "FramesExtractionFailure"


def test_refuses_compressed_floats() -> None:
    part10, pixel = opened(items(bytes(48)), DICOM + ".5", encapsulated=True, keyword="FloatPixelData")
    with pytest.raises(PixelFailure):
        open_frame_stream(part10, image(pixel_keyword="FloatPixelData", bits_allocated=32), pixel, "HTJ2K")


def test_refuses_frames_beyond_the_limit() -> None:
    assert refusal(items(b"abcd"), image(rows=65535, columns=65535), J2K) == "TranscodingException"
    assert refusal(items(bytes(100)), image(), J2K, frame_limit=99) == "TranscodingException"


def test_stops_at_the_first_frame_that_fails() -> None:
    samples = noise((5, 7), "u2")
    good = lossless(samples)
    value = items(good, good[:-20], good)
    stream = iter(store_encapsulated(value, image_of(samples, frames=3), J2K))
    next(stream)
    with pytest.raises(PixelFailure):
        next(stream)


def test_uses_the_extended_offset_table() -> None:
    samples = noise((3, 3), "u1")
    fragment = samples.tobytes() + b"\0"
    value = items(fragment, fragment)
    tables = struct.pack("<4Q", 0, 18, 9, 9)
    part10, pixel = opened(
        value + tables,
        DICOM + ".1.98",
        encapsulated=True,
        offset_table=(len(value), 16),
        length_table=(len(value) + 16, 16),
    )
    stream = open_frame_stream(part10, image_of(samples, frames=2), pixel, "HTJ2K")
    assert [np.array_equal(imagecodecs.jpeg2k_decode(f.data), samples) for f in stream] == [True, True]
    assert not stream.warnings


@pytest.mark.parametrize("syntax", [".1.98", ".4.50", ".4.80"])
def test_warns_of_wrong_lengths_in_the_extended_offset_table(syntax: str) -> None:
    """As wsidicom up to 0.31 wrote them: each with the eight bytes of the item header."""
    samples = noise((9, 9), "u1")
    coded = {
        ".1.98": samples.tobytes(),
        ".4.50": bytes(imagecodecs.jpeg8_encode(samples)),
        ".4.80": bytes(imagecodecs.jpegls_encode(samples)),
    }[syntax]
    fragment = coded + b"\0" * (len(coded) % 2)
    value = items(fragment, fragment)
    size = len(fragment) + 8
    part10, pixel = opened(
        value + struct.pack("<4Q", 0, size, size, size),
        DICOM + syntax,
        encapsulated=True,
        offset_table=(len(value), 16),
        length_table=(len(value) + 16, 16),
    )
    stream = open_frame_stream(part10, image_of(samples, frames=2), pixel, "HTJ2K")
    (warning,) = stream.warnings
    assert "its lengths are ignored" in warning.message
    first, second = stream
    assert (first.data, first.checksum) == (second.data, second.checksum)
    if syntax == ".4.50":
        assert first.data == fragment
    else:
        assert np.array_equal(imagecodecs.jpeg2k_decode(first.data), samples)


def test_does_not_read_an_extended_offset_table_of_any_size() -> None:
    class Careful(BytesSource):
        def read(self, offset: int, length: int) -> bytes:
            assert length <= 1 << 16
            return super().read(offset, length)

    value = items(b"aa", b"bb")
    tables: list[dict[str, Any]] = [
        {"offset_table": (len(value), 1 << 32)},
        {"offset_table": (len(value), 16), "length_table": (len(value), 24)},
    ]
    for places in tables:
        part10, pixel = opened(value, DICOM + ".1.98", encapsulated=True, **places)
        hostile = replace(part10, source=Careful(value + bytes(64)))
        with pytest.raises(PixelFailure, match="more entries"):
            open_frame_stream(hostile, image_of(noise((1, 2), "u1"), frames=2), pixel, "HTJ2K")


def test_asks_for_a_second_opinion(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise((5, 7), "u2")
    part10, pixel = opened(samples.tobytes(), EXPLICIT, encapsulated=False)
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", lambda *_, **__: samples + 1)
    list(open_frame_stream(part10, image_of(samples), pixel, "HTJ2K"))
    with pytest.raises(PixelFailure):
        list(open_frame_stream(part10, image_of(samples), pixel, "HTJ2K", cross_check=True))


def test_keeps_one_frame_in_memory_at_a_time() -> None:
    class Counting(BytesSource):
        longest = 0

        def read(self, offset: int, length: int) -> bytes:
            self.longest = max(self.longest, length)
            return super().read(offset, length)

    samples = noise((50, 64, 64), "u2")
    part10, pixel = opened(samples.tobytes(), EXPLICIT, encapsulated=False)
    source = Counting(samples.tobytes())
    object.__setattr__(part10, "source", source)
    assert len(list(open_frame_stream(part10, image_of(samples[0], frames=50), pixel, "HTJ2K"))) == 50
    assert source.longest == 64 * 64 * 2


def test_gives_the_ranges_of_a_blob() -> None:
    part10, pixel = opened(b"abcdef", EXPLICIT, encapsulated=False)
    assert blob_ranges(part10, pixel) == [(0, 6)]


def test_ends_a_blob_where_the_file_does() -> None:
    part10, pixel = opened(b"abcdef", EXPLICIT, encapsulated=False)
    object.__setattr__(part10, "source", BytesSource(b"abc"))
    assert blob_ranges(part10, pixel) == [(0, 3)]
    object.__setattr__(part10, "source", BytesSource(b""))
    assert blob_ranges(part10, pixel) == []


def test_ends_an_encapsulated_blob_after_its_delimiter() -> None:
    value = items(b"ab")
    part10, pixel = opened(value + b"more", J2K, encapsulated=True)
    assert blob_ranges(part10, pixel) == [(0, len(value))]
    part10, pixel = opened(item(b"") + b"broken", J2K, encapsulated=True)
    assert blob_ranges(part10, pixel) == [(0, 14)]
