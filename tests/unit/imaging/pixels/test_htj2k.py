import struct
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels import htj2k
from tests.unit.imaging.pixel_files import noise, slope


class Main:
    """The main header of a codestream and the tile-parts that follow it (ISO/IEC 15444-1 Annex A)."""

    def __init__(self, data: bytes) -> None:
        assert data[:4] == b"\xff\x4f\xff\x51"
        self.segments: dict[int, bytes] = {}
        place = 2
        while data[place : place + 2] != b"\xff\x90":
            marker, length = struct.unpack_from(">HH", data, place)
            self.segments[marker] = data[place + 4 : place + 2 + length]
            place += 2 + length
        self.parts: list[tuple[int, int]] = []
        while data[place : place + 2] == b"\xff\x90":
            tile, length, part, _ = struct.unpack_from(">HIBB", data, place + 4)
            assert tile == 0
            self.parts.append((part, length))
            place += length
        assert data[place:] == b"\xff\xd9"
        style = self.segments[0xFF52]
        self.progression, self.layers, self.transform = struct.unpack(">BHB", style[1:5])
        self.decompositions, self.block_style, self.wavelet = style[5], style[8], style[9]

    def lengths(self) -> list[int]:
        """The tile-part lengths in the TLM marker."""
        size = self.segments[0xFF55]
        assert size[1] in (0x40, 0x50, 0x60)
        width = (size[1] >> 4 & 3) + 4
        return [int.from_bytes(size[n + width - 4 : n + width]) for n in range(2, len(size), width)]


def stream(samples: NDArray[Any], photometric: str = "MONOCHROME2") -> bytes:
    data, head = htj2k.encode(samples, photometric)
    return data[head:]


def decoded(data: bytes | bytearray | memoryview, like: NDArray[Any], photometric: str) -> NDArray[Any]:
    """What comes back of a frame whose samples had the type and shape of ``like``."""
    return htj2k.decode(data, like.shape, like.dtype, photometric)


@pytest.mark.parametrize(
    ("rows", "columns", "levels"),
    [
        (2, 2, 1),
        (64, 64, 1),
        (128, 128, 1),
        (129, 129, 2),
        (512, 512, 3),
        (513, 513, 4),
        (480, 640, 3),
        (64, 5000, 1),
        (4000, 5000, 6),
        (65535, 65535, 10),
    ],
)
def test_has_as_many_decompositions_as_the_base_needs(rows: int, columns: int, levels: int) -> None:
    assert htj2k.decompositions(rows, columns) == levels
    assert min(-(-rows >> levels), -(-columns >> levels)) <= 64


@pytest.mark.parametrize("shape", [(2, 2), (64, 64), (200, 300), (513, 700), (130, 260, 3)])
def test_is_what_dicom_asks_of_htj2k_rpcl(shape: tuple[int, ...]) -> None:
    main = Main(stream(slope(shape, "u2"), "RGB"))
    assert main.progression == 2, "RPCL"
    assert main.wavelet == 1, "5/3 reversible"
    assert main.block_style == 0x40, "HT code blocks only"
    assert main.layers == 1
    assert 0xFF50 in main.segments, "CAP"
    (capabilities,) = struct.unpack_from(">H", main.segments[0xFF51])
    assert capabilities & 0x4000, "Part 15"
    assert min(-(-side >> main.decompositions) for side in shape[:2]) <= 64
    assert [part for part, _ in main.parts] == list(range(main.decompositions + 1)), (
        "a tile-part a resolution"
    )
    assert main.lengths() == [length for _, length in main.parts], "TLM"


@pytest.mark.parametrize(("photometric", "transform"), [("RGB", 1), ("YBR_RCT", 1), ("YBR_FULL", 0)])
def test_transforms_the_colours_of_rgb_alone(photometric: str, transform: int) -> None:
    assert Main(stream(noise((40, 50, 3), "u1"), photometric)).transform == transform


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("shape", [(2, 2), (5, 3), (64, 65), (150, 140), (33, 47, 3)])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_is_exact_for_openjpeg_too(kind: str, shape: tuple[int, ...], photometric: str) -> None:
    limits = np.iinfo(kind)
    both = np.random.default_rng(5).choice(np.array([limits.min, limits.max], kind), shape)
    for samples in (
        noise(shape, kind),
        both,
        np.full(shape, limits.min, kind),
        np.full(shape, limits.max, kind),
    ):
        data, head = htj2k.encode(samples, photometric, cross_check=True)
        for read in (data, data[head:]):
            again = imagecodecs.jpeg2k_decode(read, planar=False)
            assert again.dtype == samples.dtype
            assert np.array_equal(again, samples)
        again = decoded(memoryview(data)[head:], samples, photometric)
        assert htj2k.same_samples(again, samples)


def test_reads_frames_that_may_not_be_written() -> None:
    samples = np.frombuffer(noise((20, 30), "u2").tobytes(), "<u2").reshape(20, 30)
    assert np.array_equal(decoded(stream(samples), samples, "MONOCHROME2"), samples)


def without_comment(data: bytes) -> tuple[bytes, bytes]:
    """What stands before and behind the marker segment that names the codec."""
    place = data.index(b"\xff\x64\x00", data.index(b"\xff\x5c"))
    return data[:place], data[place + 2 + int.from_bytes(data[place + 2 : place + 4]) :]


GREY_SHAPES = [(2, 2), (3, 2), (5, 64), (2, 1000), (1000, 3), (64, 65), (129, 300), (513, 200)]


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2"])
def test_writes_the_same_codestream_with_either_encoder(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ojph")
    random = np.random.default_rng(7)
    frames = []
    for bits in range(1, np.iinfo(kind).bits + 1):
        low, high = (0, 1 << bits) if kind[0] == "u" else (-1 << (bits - 1), 1 << (bits - 1))
        for shape in GREY_SHAPES:
            frames += [
                random.integers(low, high, shape).astype(kind),
                random.choice(np.array([low, high - 1], kind), shape),
                np.full(shape, high - 1, kind),
                slope(shape, kind),
            ]
    faster = [htj2k.encode(samples, "MONOCHROME2", cross_check=True) for samples in frames]
    assert b"OpenJPH Ver 1." in faster[0][0]
    monkeypatch.setattr(htj2k, "_grey_encoder", lambda: None)
    for samples, (data, head) in zip(frames, faster, strict=True):
        again, again_head = htj2k.encode(samples, "MONOCHROME2")
        assert without_comment(data[head:]) == without_comment(again[again_head:])


@pytest.mark.parametrize(
    "samples",
    [
        np.frombuffer(noise((20, 30), "u2").tobytes(), "<u2").reshape(20, 30),
        noise((20, 30), "i2")[::-1, ::2],
        noise((20, 30), "u1").T,
        np.broadcast_to(noise((1, 30), "u1"), (20, 30)),
    ],
    ids=["read-only", "every other column", "transposed", "one row repeated"],
)
def test_encodes_arrays_of_any_layout(samples: NDArray[Any]) -> None:
    data, head = htj2k.encode(samples, "MONOCHROME2")
    plain = np.array(samples, order="C")
    assert htj2k.encode(plain, "MONOCHROME2") == (data, head)
    assert np.array_equal(decoded(data[head:], plain, "MONOCHROME2"), samples)


def raises(*_: object, **__: object) -> NDArray[Any]:
    raise RuntimeError("ojph error")


def wrong(samples: NDArray[Any], **more: object) -> NDArray[Any]:
    encoder = pytest.importorskip("ojph").imwrite_to_memory
    return np.asarray(encoder(samples ^ 1, **more))


@pytest.mark.parametrize("encoder", [raises, wrong, lambda *_, **__: noise((1, 40), "u1")])
def test_encodes_with_the_other_encoder_what_the_faster_one_cannot(
    encoder: Callable[..., NDArray[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(htj2k, "_grey_encoder", lambda: encoder)
    samples = noise((40, 50), "u2")
    data, head = htj2k.encode(samples, "MONOCHROME2")
    assert np.array_equal(decoded(data[head:], samples, "MONOCHROME2"), samples)
    monkeypatch.setattr(htj2k, "_grey_encoder", lambda: None)
    assert htj2k.encode(samples, "MONOCHROME2") == (data, head)


def test_encodes_without_the_package_that_python_3_11_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ojph", None)
    htj2k._grey_encoder.cache_clear()
    try:
        assert htj2k._grey_encoder() is None
        stream(noise((20, 30), "u2"))
    finally:
        htj2k._grey_encoder.cache_clear()


def test_says_of_a_damaged_frame_that_it_cannot_be_decoded() -> None:
    samples = noise((20, 30), "u2")
    whole = stream(samples)
    refused = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        try:
            decoded(damaged, samples, "MONOCHROME2")
        except PixelFailure as failure:
            assert "HTJ2K frame" in str(failure)
            refused += 1
    # A bit in the marker segments or in a block's structure is noticed; one among the samples may decode.
    assert refused > 100
    for length in (0, 1, 40, len(whole) - 1):
        with pytest.raises(PixelFailure):
            decoded(whole[:length], samples, "MONOCHROME2")


@pytest.mark.parametrize("place", [16, 17, 18, 39])
def test_does_not_give_a_damaged_header_to_the_codec(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At these bits OpenJPH 0.26.3 works for minutes."""
    samples = noise((20, 30), "u2")
    damaged = bytearray(stream(samples))
    damaged[place] ^= 1
    monkeypatch.setattr(imagecodecs, "htj2k_decode", lambda *_, **__: pytest.fail("the codec was asked"))
    with pytest.raises(PixelFailure, match="another header"):
        decoded(damaged, samples, "MONOCHROME2")


@pytest.mark.parametrize("shape", [(2, 2), (64, 65), (129, 513), (20, 30, 3), (2049, 300)])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_reads_only_a_frame_of_the_same_form(shape: tuple[int, ...], kind: str, photometric: str) -> None:
    samples = np.zeros(shape, kind)
    data = stream(samples, photometric)
    assert htj2k.same_samples(decoded(data, samples, photometric), samples)
    for other in (
        np.zeros((shape[1], shape[0] + 1, *shape[2:]), kind),
        samples.view({"u1": "i1", "i1": "u1", "u2": "i2", "i2": "u2"}[kind]),
        np.zeros(shape, {"u1": "u2", "i1": "i2", "u2": "u1", "i2": "i1"}[kind]),
        np.zeros((*shape[:2], 3) if len(shape) == 2 else shape[:2], kind),
    ):
        with pytest.raises(PixelFailure):
            decoded(data, other, photometric)
    if len(shape) == 3:
        with pytest.raises(PixelFailure):
            decoded(data, samples, {"RGB": "YBR_FULL", "YBR_FULL": "RGB"}[photometric])
    for tail in (b"\0", b"\xff\xd9", data):
        with pytest.raises(PixelFailure, match="does not end"):
            decoded(data + tail, samples, photometric)


def test_treats_an_error_that_the_codec_cannot_raise_as_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise((20, 30), "u2")
    data = stream(samples)

    def half_filled(*_: object, **__: object) -> NDArray[Any]:
        collect_unraisable = SimpleNamespace(
            object="imagecodecs._htj2k._copy_from_codestream",
            exc_type=RuntimeError,
            exc_value=RuntimeError("ojph error"),
        )
        sys.unraisablehook(collect_unraisable)
        return samples

    monkeypatch.setattr(imagecodecs, "htj2k_decode", half_filled)
    with pytest.raises(PixelFailure, match="to its end: ojph error"):
        decoded(data, samples, "MONOCHROME2")


def test_can_be_read_at_every_resolution() -> None:
    samples = slope((300, 260), "u2")
    main = Main(coded := stream(samples))
    for level in range(main.decompositions + 1):
        smaller = imagecodecs.htj2k_decode(coded, skipres=level, planar=False)
        assert smaller.shape == (-(-300 >> level), -(-260 >> level))


def test_refuses_a_frame_that_decodes_to_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(htj2k, "decode", lambda *_: np.zeros((20, 30), np.uint16))
    with pytest.raises(PixelFailure, match="same pixels"):
        htj2k.encode(noise((20, 30), "u2"), "MONOCHROME2")


def test_refuses_what_the_second_decoder_reads_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", lambda *_, **__: np.zeros((20, 30), np.uint16))
    htj2k.encode(noise((20, 30), "u2"), "MONOCHROME2")
    with pytest.raises(PixelFailure, match="same pixels"):
        htj2k.encode(noise((20, 30), "u2"), "MONOCHROME2", cross_check=True)


def test_refuses_what_cannot_be_coded() -> None:
    with pytest.raises(PixelFailure):
        htj2k.encode(np.zeros((20, 30), np.float16), "MONOCHROME2")


def test_compares_type_shape_and_every_value() -> None:
    first = noise((4, 6), "u2")
    other = first.copy()
    other[3, 5] ^= 1
    assert htj2k.same_samples(first, first.copy())
    assert not htj2k.same_samples(first, other)
    assert not htj2k.same_samples(first, first.astype("i2"))
    assert not htj2k.same_samples(first, first.reshape(6, 4))
    odd = noise((3, 5), "u1")
    assert htj2k.same_samples(odd, odd.copy())
    assert not htj2k.same_samples(odd, odd ^ 1)
