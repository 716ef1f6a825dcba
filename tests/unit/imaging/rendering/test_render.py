"""Pictures of small made frames, where what has to come out can be said."""

from __future__ import annotations

import math
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from lightwell.domain.rendering import IMAGE_TYPES, Region, Rendering, Window
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import RenderFailure
from lightwell.imaging.instances.version_dataset import encapsulated_document, pydicom_errors
from lightwell.imaging.rendering.colour import header_photometric
from lightwell.imaging.rendering.frame_attributes import frame_attributes
from lightwell.imaging.rendering.lut import normalized_table
from lightwell.imaging.rendering.overlays import draw_overlays
from lightwell.imaging.rendering.render import full_picture, render
from lightwell.imaging.rendering.scaling import scaled
from lightwell.imaging.rendering.viewport import crop_and_scale, pixel_aspect_ratio
from tests.unit.imaging.pixel_files import image_of

PNG = Rendering("image/png")
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def attributes(**values: Any) -> Dataset:
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    data.set_original_encoding(False, True)
    return data


def table(values: list[int], first: int, bits: int, vr: str = "US") -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    raw = np.array(values, np.uint8 if vr == "OB" else "<u2").tobytes()
    item.add_new(0x00283006, "US" if vr == "US" else "OW", values if vr == "US" else raw)
    return item


def grey(
    samples: NDArray[Any], data: Dataset | None = None, window: Window | None = None, **image: Any
) -> NDArray[np.uint8]:
    described = image_of(samples, **image)
    asked = Rendering("image/png", window)
    return full_picture(samples, described, described.photometric, data or attributes(), asked)[0]


# greys ------------------------------------------------------------------------------------------------------


def test_leaves_8_bit_greys_as_they_are() -> None:
    assert np.array_equal(grey(RAMP), RAMP)


def test_inverts_monochrome1() -> None:
    for shape in ("IDENTITY", "INVERSE"):  # whatever it says, which the viewer does not heed either
        data = attributes(PresentationLUTShape=shape)
        assert np.array_equal(grey(RAMP, data, photometric="MONOCHROME1"), 255 - RAMP)
        assert np.array_equal(grey(RAMP, data), RAMP)


def test_spans_the_values_of_a_frame_without_a_window() -> None:
    samples = np.array([[-100, 0], [50, 155]], np.int16)
    assert grey(samples).tolist() == [[0, 100], [150, 255]]
    assert grey(np.full((2, 2), 7, np.int16)).tolist() == [[0, 0], [0, 0]]


def test_leaves_padding_out_of_the_span() -> None:
    samples = np.array([[-2000, 0], [100, 200]], np.int16)
    assert grey(samples, attributes(PixelPaddingValue=-2000)).tolist() == [[0, 0], [128, 255]]


def test_shows_segments_in_black_and_white() -> None:
    bits: dict[str, Any] = {"bits_allocated": 1, "bits_stored": 1}
    assert grey(np.array([[0, 1]], np.uint8), **bits).tolist() == [[0, 255]]
    assert grey(np.array([[0, 0]], np.uint8), **bits).tolist() == [[0, 0]]
    assert grey(np.array([[1, 1]], np.uint8), **bits).tolist() == [[255, 255]]
    data = attributes(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", MaximumFractionalValue=100)
    assert grey(np.array([[0, 50, 100]], np.uint8), data).tolist() == [[0, 128, 255]]


def test_looks_at_the_stored_bits_of_a_sample_alone() -> None:
    # An old overlay in bit 15, and a sign that was not extended.
    assert grey(np.array([[0x8000, 0x0FFF]], np.uint16), bits_stored=12).tolist() == [[0, 255]]
    samples = np.array([[0x0FFF, 0]], np.int16)
    window = Window(0.0, 2.0, "LINEAR_EXACT")
    assert grey(samples, None, window, bits_stored=12).tolist() == [[0, 128]]


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 3)])
@pytest.mark.parametrize("kind", ["u2", "i2"])
def test_refuses_samples_that_may_lie_higher_in_their_words(kind: str, shape: tuple[int, ...]) -> None:
    samples = np.full(shape, 0x7000, kind)
    with pytest.raises(RenderFailure, match="HighBit is 15"):
        grey(samples, attributes(HighBit=15), bits_stored=12)
    assert grey(samples, attributes(HighBit=11), bits_stored=12).shape == shape
    # A HighBit that is only wrong.
    for sample in (0x07FF, 0) if kind == "u2" else (0x07FF, -0x0800):
        assert grey(np.full(shape, sample, kind), attributes(HighBit=15), bits_stored=12).shape == shape


def linear(x: float, c: float, w: float) -> float:
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    if x > c - 0.5 + (w - 1) / 2:
        return 255.0
    return ((x - (c - 0.5)) / (w - 1) + 0.5) * 255.0


def exact(x: float, c: float, w: float) -> float:
    return 0.0 if x <= c - w / 2 else 255.0 if x > c + w / 2 else ((x - c) / w + 0.5) * 255.0


def sigmoid(x: float, c: float, w: float) -> float:
    return 255.0 / (1 + math.exp(min(-4 * (x - c) / w, 700.0)))


@pytest.mark.parametrize("window", [(40.0, 400.0), (0.5, 1.0), (-600.0, 1500.0), (12.25, 33.5)])
@pytest.mark.parametrize(
    ("name", "formula"), [("LINEAR", linear), ("LINEAR_EXACT", exact), ("SIGMOID", sigmoid)]
)
def test_windows_by_the_formulas_of_the_standard(
    window: tuple[float, float], name: str, formula: Any
) -> None:
    samples = np.arange(-2048, 2048, dtype=np.int16).reshape(64, 64)
    found = grey(samples, attributes(RescaleSlope="2", RescaleIntercept="-10"), Window(*window, name))
    expected = [formula(2.0 * int(x) - 10, *window) for x in samples.reshape(-1)]
    assert np.abs(found.reshape(-1).astype(float) - expected).max() <= 0.5 + 1e-6


def test_goes_by_a_window_that_is_asked_for_before_those_of_the_file() -> None:
    samples = np.array([[0, 100, 200]], np.uint16)
    data = attributes(WindowCenter=["50.5", "1"], WindowWidth=["101", "2"])
    assert grey(samples, data).tolist() == [[0, 255, 255]]
    assert grey(samples, data, Window(100.5, 201.0, "LINEAR")).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(
    "values",
    [
        {"WindowCenter": "50", "WindowWidth": "0"},
        {"WindowCenter": "50"},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": "50", "WindowWidth": "100", "VOILUTFunction": "CUBIC"},
        {"VOILUTSequence": Sequence([Dataset()])},
        {"VOILUTSequence": Sequence([])},
    ],
)
def test_skips_invalid_windows(values: dict[str, Any]) -> None:
    assert grey(np.array([[10, 20]], np.uint16), attributes(**values)).tolist() == [[0, 255]]


@pytest.mark.parametrize("vr", ["US", "OW", "OB"])
def test_does_not_wrap_in_tables_of_more_than_256_entries_of_8_bits(vr: str) -> None:
    values = [n // 4 for n in range(1024)]
    data = attributes(VOILUTSequence=Sequence([table(values, 0, 8, vr)]))
    samples = np.array([[0, 400, 1000, 2000]], np.uint16)
    assert grey(samples, data).tolist() == [[0, 100, 250, 255]]


def test_applies_a_modality_table_of_12_bits_before_the_window() -> None:
    data = attributes(ModalityLUTSequence=Sequence([table([0, 1000, 4000], 5, 12)]))
    samples = np.array([[0, 6, 7, 99]], np.uint16)
    assert grey(samples, data, Window(2000.0, 4000.0, "LINEAR_EXACT")).tolist() == [[0, 64, 255, 255]]


@pytest.mark.parametrize("entries", [[1, 2], []])
def test_refuses_a_table_that_is_too_short(entries: list[int]) -> None:
    item = table([1, 2, 3], 0, 16)
    item.LUTData = entries
    with pytest.raises(RenderFailure, match="entries"):
        normalized_table(item, big=False)


def test_shows_floats_with_nan_in_black() -> None:
    samples = np.array([[0.0, 0.5, 1.0, np.nan, np.inf, -np.inf]], np.float32)
    assert grey(samples, pixel_keyword="FloatPixelData").tolist() == [[0, 128, 255, 0, 255, 0]]
    assert grey(np.full((1, 2), np.nan, np.float64), pixel_keyword="DoubleFloatPixelData").tolist() == [
        [0, 0]
    ]


def test_shows_32_bits() -> None:
    samples = np.array([[0, 1 << 30, (1 << 32) - 1]], np.uint32)
    assert grey(samples).tolist() == [[0, 64, 255]]


def test_finds_windows_in_functional_groups() -> None:
    def groups(center: str) -> Dataset:
        voi, item = attributes(WindowCenter=center, WindowWidth="2", VOILUTFunction="LINEAR_EXACT"), Dataset()
        item.FrameVOILUTSequence = Sequence([voi])
        return item

    data = attributes(WindowCenter="5", WindowWidth="7")
    data.SharedFunctionalGroupsSequence = Sequence([groups("1")])
    assert [float(frame_attributes(data, n).WindowCenter) for n in (0, 1)] == [1.0, 1.0]
    data.PerFrameFunctionalGroupsSequence = Sequence([groups("10"), groups("20")])
    assert [float(frame_attributes(data, n).WindowCenter) for n in (0, 1, 2)] == [10.0, 20.0, 1.0]
    assert float(data.WindowCenter) == 5.0
    samples = np.array([[9, 10, 11]], np.int16)
    assert grey(samples, frame_attributes(data, 0)).tolist() == [[0, 128, 255]]


# colours ----------------------------------------------------------------------------------------------------


def colour(samples: NDArray[Any], photometric: str, data: Dataset | None = None) -> NDArray[np.uint8]:
    image = image_of(samples, photometric=photometric)
    return full_picture(samples, image, photometric, data or attributes(), PNG)[0]


def test_shows_the_primary_colours_of_every_space() -> None:
    red, green, blue = [255, 0, 0], [0, 255, 0], [0, 0, 255]
    rgb = np.array([[red, green, blue]], np.uint8)
    assert np.array_equal(colour(rgb, "RGB"), rgb)
    assert np.array_equal(colour(rgb.astype(np.uint16) * 257, "RGB"), rgb)
    full = np.array([[[76, 85, 255], [150, 44, 21], [29, 255, 107]]], np.uint8)
    partial = np.array([[[81, 90, 240], [145, 54, 34], [41, 240, 110]]], np.uint8)
    assert np.abs(colour(full, "YBR_FULL").astype(int) - rgb).max() <= 1
    assert np.abs(colour(partial, "YBR_PARTIAL").astype(int) - rgb).max() <= 2


@pytest.mark.parametrize("photometric", ["HSV", "MONOCHROME2", "YBR_PARTIAL_420", ""])
def test_refuses_colours_that_it_does_not_know(photometric: str) -> None:
    with pytest.raises(RenderFailure, match="cannot be rendered"):
        colour(np.zeros((2, 2, 3), np.uint8), photometric)
    with pytest.raises(RenderFailure, match="4 samples"):
        colour(np.zeros((2, 2, 4), np.uint8), "CMYK")


def palette(entries: int, bits: int, stored: int) -> Dataset:
    data = attributes()
    for place, name in enumerate(("Red", "Green", "Blue")):
        values = (np.arange(entries) * (place + 1)) % (1 << bits)
        setattr(data, f"{name}PaletteColorLookupTableDescriptor", [entries % 65536, 0, bits])
        raw = values.astype("<u1" if stored == 8 else "<u2").tobytes()
        setattr(data, f"{name}PaletteColorLookupTableData", raw)
    return data


@pytest.mark.parametrize(("entries", "bits", "stored"), [(256, 8, 8), (256, 8, 16), (1000, 8, 8)])
def test_looks_colours_up(entries: int, bits: int, stored: int) -> None:
    samples = np.array([[0, 100, 255, 300]], np.uint16)
    found = colour(samples, "PALETTE COLOR", palette(entries, bits, stored))
    last = min(300, entries - 1)
    expected = [[n % 256, 2 * n % 256, 3 * n % 256] for n in (0, 100, 255, last)]
    assert found[0].tolist() == expected


def test_takes_the_upper_bits_of_a_palette_of_16() -> None:
    found = colour(np.array([[0, 65535, 4660]], np.uint16), "PALETTE COLOR", palette(65536, 16, 16))
    assert found[0, :, 0].tolist() == [0, 255, 0x12]


def test_refuses_a_palette_that_is_not_there() -> None:
    with pytest.raises(RenderFailure, match="palette"):
        colour(np.zeros((2, 2), np.uint8), "PALETTE COLOR")


@pytest.mark.parametrize(
    ("photometric", "options", "found"),
    [
        ("RGB", {}, "YBR_FULL"),  # written with a JFIF marker
        ("YBR_FULL_422", {}, "YBR_FULL_422"),
        ("RGB", {"outcolorspace": "rgb", "colorspace": "rgb"}, "RGB"),
        ("YBR_FULL", {"outcolorspace": "rgb", "colorspace": "rgb"}, "RGB"),
        ("MONOCHROME2", {}, "MONOCHROME2"),
    ],
)
def test_believes_the_jpeg_rather_than_the_attributes(
    photometric: str, options: dict[str, Any], found: str
) -> None:
    data = bytes(imagecodecs.jpeg8_encode(np.zeros((8, 8, 3), np.uint8), **options))
    assert header_photometric(data, "jpeg", photometric) == found
    assert header_photometric(data[:30], "jpeg", "RGB")
    assert header_photometric(b"", "jpeg", "RGB") == "RGB"


def test_says_that_a_window_is_not_for_colours() -> None:
    samples = np.zeros((2, 2, 3), np.uint8)
    asked = Rendering("image/png", Window(1.0, 2.0, "LINEAR"))
    picture = render(samples, image_of(samples), "RGB", attributes(), 0, asked)
    assert picture.notes == ("The parameter window does not apply to images in colour",)


# overlays ---------------------------------------------------------------------------------------------------


def overlay(bits: NDArray[np.uint8], origin: tuple[int, int] = (1, 1), kind: str = "G") -> Dataset:
    data = attributes()
    rows, columns = bits.shape[-2:]
    for element, vr, value in (
        (0x10, "US", rows), (0x11, "US", columns), (0x40, "CS", kind), (0x50, "SS", list(origin)),
        (0x100, "US", 1), (0x102, "US", 0),
    ):  # fmt: skip
        data.add_new((0x6002, element), vr, value)
    if bits.ndim == 3:
        data.add_new((0x6002, 0x15), "IS", len(bits))
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    data.add_new((0x6002, 0x3000), "OW", packed + b"\0" * (len(packed) % 2))
    return data


def test_draws_overlays_in_white_where_they_lie() -> None:
    picture = np.zeros((4, 4), np.uint8)
    ones = np.ones((2, 2), np.uint8)
    drawn, notes = draw_overlays(picture, overlay(ones, (2, 3)), 0)
    assert notes == [] and not picture.any()
    assert np.argwhere(drawn).tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    drawn, _ = draw_overlays(picture, overlay(ones, (0, 4)), 0)
    assert np.argwhere(drawn).tolist() == [[0, 3]]
    drawn, _ = draw_overlays(picture, overlay(ones, (50, -50)), 0)
    assert not drawn.any()
    drawn, _ = draw_overlays(picture, overlay(ones, kind="R"), 0)
    assert not drawn.any()


def test_draws_each_plane_over_its_frame() -> None:
    planes = np.stack([np.eye(4, dtype=np.uint8), np.ones((4, 4), np.uint8)])
    data = overlay(planes)
    counts = [int((draw_overlays(np.zeros((4, 4), np.uint8), data, n)[0] > 0).sum()) for n in range(3)]
    assert counts == [4, 16, 0]
    data.add_new((0x6002, 0x51), "US", 2)
    counts = [int((draw_overlays(np.zeros((4, 4), np.uint8), data, n)[0] > 0).sum()) for n in range(3)]
    assert counts == [0, 4, 16]


def test_says_which_overlay_it_cannot_draw() -> None:
    data = overlay(np.ones((2, 2), np.uint8))
    data[0x6002, 0x10].value = 4000
    drawn, notes = draw_overlays(np.zeros((4, 4), np.uint8), data, 0)
    assert not drawn.any() and "6002" in notes[0]


# region, viewport, scaling ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "pixel_aspect", "size"),
    [
        (100, 100, 1.0, (50, 100)),
        (None, 100, 1.0, (100, 200)),
        (100, None, 1.0, (50, 100)),
        (1000, 300, 1.0, (300, 600)),
        (200, 200, 2.0, (200, 200)),  # pixels twice as high as they are wide
        (200, 200, 0.5, (50, 200)),
        (1, 1, 1.0, (1, 1)),
        (None, None, 2.0, (100, 200)),  # without a viewport a sample is a pixel
    ],
)
def test_fits_the_viewport_and_keeps_the_aspect(
    width: int | None, height: int | None, pixel_aspect: float, size: tuple[int, int]
) -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    asked = Rendering("image/png", None, width, height)
    assert crop_and_scale(picture, asked, pixel_aspect).shape == (*size, 3)


def test_cuts_and_mirrors() -> None:
    def part(region: Region) -> list[list[int]]:
        found: list[list[int]] = crop_and_scale(
            RAMP, Rendering("image/png", None, 2, 2, region), 1.0
        ).tolist()
        return found

    assert part(Region(3, 1, 2, 2)) == [[19, 20], [35, 36]]
    assert part(Region(3, 1, -2, 2)) == [[20, 19], [36, 35]]
    assert part(Region(3, 1, 2, -2)) == [[35, 36], [19, 20]]
    assert part(Region(14, 14, None, None)) == [[238, 239], [254, 255]]
    assert part(Region(0.5, 0.5, 0.125, 0.125, relative=True)) == [[136, 137], [152, 153]]


@pytest.mark.parametrize("region", [Region(15, 0, 2, 2), Region(0, 16, None, None), Region(0, 0, 1, -17)])
def test_refuses_a_region_outside_of_the_image(region: Region) -> None:
    with pytest.raises(RenderFailure, match="region") as caught:
        crop_and_scale(RAMP, Rendering("image/png", None, 2, 2, region), 1.0)
    assert caught.value.bad


def test_refuses_a_picture_that_is_too_large() -> None:
    picture = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (9_000, 9_000), (0, 0))
    with pytest.raises(RenderFailure, match="viewport"):
        crop_and_scale(picture, PNG, 1.0)
    assert crop_and_scale(picture[:3000, :3000], Rendering("image/png", None, 20, 20), 1.0).shape == (20, 20)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"PixelSpacing": ["0.5", "0.25"]}, 2.0),
        ({"ImagerPixelSpacing": ["1", "4"]}, 0.25),
        ({"PixelAspectRatio": ["4", "3"]}, 4 / 3),
        ({"PixelSpacing": ["1", "1"], "PixelAspectRatio": ["4", "3"]}, 1.0),
        ({"PixelSpacing": ["0", "0"]}, 1.0),
        ({"PixelSpacing": ["1", "1000000"]}, 1.0),
        ({"PixelSpacing": None}, 1.0),
        ({}, 1.0),
    ],
)
def test_knows_how_high_a_pixel_is(values: dict[str, Any], expected: float) -> None:
    assert pixel_aspect_ratio(attributes(**values)) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(7, 5), (64, 200), (33, 17, 3), (1, 1)])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (200, 130), (3, 64)])
def test_scales_as_the_filter_says(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    box = (0.0, 0.0, float(shape[1]), float(shape[0]))
    found = scaled(picture, box, *size)
    rows, columns = triangle(shape[0], size[1]), triangle(shape[1], size[0])
    expected = np.einsum("ij,jk...,lk->il...", rows, picture.astype(float), columns)
    assert np.abs(found - expected).max() <= 0.51


def triangle(inner: int, outer: int) -> NDArray[np.float64]:
    scale = inner / outer
    reach = max(scale, 1.0)
    away = np.abs((np.arange(inner) + 0.5)[None] - ((np.arange(outer) + 0.5) * scale)[:, None])
    weights = np.maximum(1 - away / reach, 0)
    return np.asarray(weights / weights.sum(1, keepdims=True))


def test_keeps_a_flat_picture_flat() -> None:
    flat = np.full((300, 411), 173, np.uint8)
    assert (scaled(flat, (10.3, 5.7, 300.9, 299.0), 128, 77) == 173).all()


# files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", IMAGE_TYPES)
@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3)])
def test_writes_what_browsers_read(kind: str, shape: tuple[int, ...]) -> None:
    samples = np.full(shape, 200, np.uint8)
    image: ImageDescription = image_of(samples)
    picture = render(samples, image, image.photometric, attributes(), 0, Rendering(kind, quality=95))
    read = {
        "image/jpeg": imagecodecs.jpeg8_decode,
        "image/png": imagecodecs.png_decode,
        "image/gif": imagecodecs.gif_decode,
    }
    found = read[kind](picture.data)
    assert found.shape == (shape if kind != "image/gif" else (16, 16, 3))
    assert np.abs(found.astype(int) - 200).max() <= (2 if kind == "image/jpeg" else 0)
    starts = {"image/jpeg": b"\xff\xd8\xff\xe0", "image/png": b"\x89PNG", "image/gif": b"GIF89a"}
    assert picture.data.startswith(starts[kind])


def test_writes_baseline_jpeg() -> None:
    picture = render(RAMP, image_of(RAMP), "MONOCHROME2", attributes(), 0, Rendering("image/jpeg", quality=5))
    assert b"\xff\xc0" in picture.data and b"\xff\xc2" not in picture.data
    better = render(RAMP, image_of(RAMP), "MONOCHROME2", attributes(), 0, Rendering("image/jpeg", quality=99))
    assert len(better.data) > len(picture.data)


def test_hands_out_pdf_and_no_other_document() -> None:
    pdf = b"%PDF-1.4\n..."
    data = attributes(EncapsulatedDocument=pdf + b"\0", MIMETypeOfEncapsulatedDocument="application/pdf")
    assert encapsulated_document(data) == ("application/pdf", pdf + b"\0")
    data.EncapsulatedDocumentLength = len(pdf)
    assert encapsulated_document(data) == ("application/pdf", pdf)
    data.MIMETypeOfEncapsulatedDocument = "text/html"
    assert encapsulated_document(data) is None
    data.MIMETypeOfEncapsulatedDocument = "application/pdf"
    data.EncapsulatedDocument = b"<html><script>"
    assert encapsulated_document(data) is None
    assert encapsulated_document(pydicom.Dataset()) is None


def test_turns_what_pydicom_stumbles_over_into_a_reason() -> None:
    data = attributes()
    data[0x00281050] = RawDataElement(Tag(0x00281050), "US", 3, b"\x01\x02\x03", 0, False, True)
    with pytest.raises(RenderFailure, match="attributes"), pydicom_errors():
        data.get("WindowCenter")
