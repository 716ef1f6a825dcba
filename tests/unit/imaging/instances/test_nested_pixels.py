"""Pixel data within sequences, such as icons: as they came in a file of their syntax, native in any other."""

from __future__ import annotations

import io
import json
import random
import re
import struct
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.pixels.utils import pixel_array

from lightwell.errors import InputError
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.nested_pixels import NativePixels
from lightwell.imaging.dataset.part10 import BytesSource, stored_part10
from lightwell.imaging.instances import nested_pixels
from lightwell.imaging.instances.bulk_values import bulk_values
from lightwell.imaging.instances.nested_pixels import NestedDecoder, decode_nested
from lightwell.imaging.instances.parse import ParsedInstance, parse_instance
from lightwell.imaging.instances.writer import PixelValue, build_part10
from tests.unit.imaging import pixel_files
from tests.unit.imaging.headers import UNDEFINED, element, item, meta, sequence, uids
from tests.unit.imaging.pixel_files import noise, slope

ROOT = "1.2.840.10008.1.2."
EXPLICIT, HTJ2K, J2K = ROOT + "1", ROOT + "4.202", ROOT + "4.90"
JPEG, JPEG_LOSSLESS, JPEG_LS, RLE = ROOT + "4.50", ROOT + "4.70", ROOT + "4.80", ROOT + "5"
ICON, PRIVATE = 0x00880200, 0x00091002
GREY = slope((32, 48), "u1") // 2 + noise((32, 48), "u1") // 16
COLOUR = np.dstack([GREY, GREY[::-1], GREY[:, ::-1]])
DEEP = noise((31, 33), "u2") >> 4


def items(*fragments: bytes) -> bytes:
    """The value of an encapsulated element with fragments of even lengths."""
    return pixel_files.items(*[fragment + b"\0" * (len(fragment) % 2) for fragment in fragments])


def us(tag: int, value: int, form: str = "explicit") -> bytes:
    return element(tag, "US", struct.pack(">H" if form == "big" else "<H", value), form=form)


def described(
    samples: NDArray[Any], photometric: str, form: str = "explicit", planar: int = 0
) -> list[bytes]:
    bits = samples.dtype.itemsize * 8
    colour = samples.ndim == 3
    return [
        us(0x00280002, 3 if colour else 1, form),
        element(0x00280004, "CS", photometric, form=form),
        *([us(0x00280006, planar, form)] if colour else []),
        us(0x00280010, samples.shape[0], form),
        us(0x00280011, samples.shape[1], form),
        us(0x00280100, bits, form),
        us(0x00280101, bits, form),
        us(0x00280102, bits - 1, form),
        us(0x00280103, 0, form),
    ]


def pixels(value: bytes, form: str = "explicit", vr: str = "OB") -> bytes:
    return element(0x7FE00010, vr, b"", length=UNDEFINED, form=form) + value


def icon(
    value: bytes, samples: NDArray[Any] = GREY, photometric: str = "MONOCHROME2", undefined: bool = True
) -> bytes:
    return item(*described(samples, photometric), pixels(value), undefined=undefined)


def tag_of(field: bytes) -> tuple[int, ...]:
    return struct.unpack("<HH", field[:4])


def original(syntax: str, *sequences: bytes) -> bytes:
    """File meta and data set as they are stored, without the pixel element."""
    fields: list[bytes] = [*uids(), element(0x00100010, "PN", "A^B"), *sequences]
    fields.sort(key=tag_of)
    return meta(syntax) + b"".join(fields)


def written(data: bytes, syntax: str, **more: Any) -> pydicom.Dataset:
    part10 = stored_part10(BytesSource(data), len(meta(pydicom_syntax(data))))
    pixel = None
    if syntax != EXPLICIT:
        pixel = PixelValue("PixelData", "OB", syntax, None, [items(b"frame")], size=len(items(b"frame")))
    out = build_part10(data, pixel, syntax=syntax, decode_nested=lambda: dict(decode_nested(part10)), **more)
    pieces = b"".join(out.pieces)
    assert out.length == len(pieces)
    return pydicom.dcmread(io.BytesIO(pieces))


def pydicom_syntax(data: bytes) -> str:
    at = data.index(b"\x02\0\x10\0UI") + 8
    return data[at : at + int.from_bytes(data[at - 2 : at], "little")].decode().strip("\0")


def parsed(data: bytes, decodes: bool = True) -> ParsedInstance:
    syntax = pydicom_syntax(data)
    part10 = stored_part10(BytesSource(data), len(meta(syntax)))
    return parse_instance(part10, SeriesCache(), decode_nested=NestedDecoder(syntax) if decodes else None)


def shown(instance: ParsedInstance) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b"{%s}" % instance.dicom)
    return found


def samples_of(item: pydicom.Dataset, syntax: str = EXPLICIT) -> NDArray[Any]:
    """What pydicom reads of the pixels of an item."""
    alone = pydicom.Dataset()
    alone.update({each.tag: each for each in item})
    alone.file_meta = pydicom.dataset.FileMetaDataset()
    alone.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    alone.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    return pixel_array(alone, raw=True)


def rle(samples: NDArray[Any]) -> bytes:
    return bytes(
        get_encoder(RLE).encode(
            samples,
            rows=samples.shape[0],
            columns=samples.shape[1],
            samples_per_pixel=3 if samples.ndim == 3 else 1,
            photometric_interpretation="RGB" if samples.ndim == 3 else "MONOCHROME2",
            bits_allocated=samples.dtype.itemsize * 8,
            bits_stored=samples.dtype.itemsize * 8,
            pixel_representation=0,
            number_of_frames=1,
            planar_configuration=0,
            encoding_plugin="pydicom",
        )
    )


def jpeg(samples: NDArray[Any] = GREY, **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(samples, **options))


def encapsulated(stream: bytes, **options: Any) -> bytes:
    return bytes(encapsulate([stream], **options)) + b"\xfe\xff\xdd\xe0\0\0\0\0"


CASES = {
    "baseline": (JPEG, jpeg(), GREY, "MONOCHROME2"),
    "baseline in lossless": (JPEG_LOSSLESS, jpeg(), GREY, "MONOCHROME2"),
    "lossless": (JPEG_LOSSLESS, jpeg(DEEP, lossless=True, bitspersample=16), DEEP, "MONOCHROME2"),
    "palette": (JPEG_LOSSLESS, jpeg(lossless=True), GREY, "PALETTE COLOR"),
    "colour": (JPEG, jpeg(COLOUR, subsampling="422"), COLOUR, "YBR_FULL_422"),
    "jpeg-ls": (JPEG_LS, bytes(imagecodecs.jpegls_encode(GREY)), GREY, "MONOCHROME2"),
    "jpeg 2000": (J2K, bytes(imagecodecs.jpeg2k_encode(DEEP, codecformat="j2k")), DEEP, "MONOCHROME2"),
    "jpeg 2000 colour": (
        J2K,
        bytes(imagecodecs.jpeg2k_encode(COLOUR, codecformat="j2k", mct=True, reversible=True)),
        COLOUR,
        "YBR_RCT",
    ),
    "rle": (RLE, rle(GREY), GREY, "MONOCHROME2"),
    "rle deep": (RLE, rle(DEEP), DEEP, "MONOCHROME2"),
    "rle colour": (RLE, rle(COLOUR), COLOUR, "RGB"),
}
NAMES = {"YBR_FULL_422": "YBR_FULL", "YBR_RCT": "RGB"}


@pytest.mark.parametrize("layout", ["plain", "table", "fragments", "followed"])
@pytest.mark.parametrize("name", CASES)
def test_is_native_in_other_syntaxes_and_in_metadata(name: str, layout: str) -> None:
    syntax, stream, samples, photometric = CASES[name]
    if layout == "fragments" and name.startswith("rle"):
        pytest.skip("RLE has one fragment a frame")
    if layout == "followed":
        if name.startswith("rle"):
            pytest.skip("an RLE segment has no end marker")
        stream += b"left over"
    options: dict[str, Any] = {"has_bot": layout == "table"}
    if layout == "fragments":
        options["fragments_per_frame"] = 3
    value = encapsulated(stream, **options)
    one = icon(value, samples, photometric)
    data = original(
        syntax,
        sequence(ICON, one, undefined=True),
        element(0x00090010, "LO", "ACME"),
        sequence(PRIVATE, item(sequence(0x00091003, one, undefined=True))),
    )
    (sent,) = pydicom.dcmread(io.BytesIO(bytes(128) + b"DICM" + data)).IconImageSequence
    expected = samples_of(sent, syntax)
    for target in {EXPLICIT, HTJ2K, J2K} - {syntax}:
        found = written(data, target)
        for found_icon in (found.IconImageSequence[0], found[PRIVATE][0][0x00091003][0]):
            assert not found_icon["PixelData"].is_undefined_length
            assert ("OW" if samples.dtype.itemsize > 1 else "OB") == found_icon["PixelData"].VR
            assert found_icon.PhotometricInterpretation == NAMES.get(photometric, photometric)
            assert np.array_equal(samples_of(found_icon), expected)
            same = {e.tag for e in sent} - {0x7FE00010, 0x00280004}
            assert all(found_icon[tag] == sent[tag] for tag in same)
    metadata = shown(parsed(data))
    shown_icon = metadata["00880200"]["Value"][0]
    read = pydicom.Dataset.from_json(shown_icon)
    assert np.array_equal(samples_of(read), expected)
    assert metadata[f"{PRIVATE:08X}"]["Value"][0]["00091003"]["Value"] == [shown_icon]
    native = json.loads(b"{%s}" % parsed(data).fragment)["DICOM"]["IconImageSequence"][0]
    assert native["PixelData"] == shown_icon["7FE00010"]["InlineBinary"]
    assert not parsed(data).warnings


@pytest.mark.parametrize("name", CASES)
def test_keeps_every_byte_in_its_own_syntax(name: str) -> None:
    syntax, stream, samples, photometric = CASES[name]
    data = original(syntax, sequence(ICON, icon(encapsulated(stream), samples, photometric), undefined=True))
    pixel = PixelValue("PixelData", "OB", syntax, None, [items(b"frame")])
    out = b"".join(build_part10(data, pixel, decode_nested=unreachable).pieces)
    assert out.endswith(data[len(meta(syntax)) :] + pixels(items(b"frame")))


def unreachable() -> dict[int, NativePixels]:
    raise AssertionError("nothing has to be decoded")


def test_changes_no_other_byte() -> None:
    native = item(*described(GREY, "MONOCHROME2"), element(0x7FE00010, "OB", GREY.tobytes()), undefined=True)
    others = [
        sequence(0x00081140, item(us(0x00280010, 1), undefined=True), undefined=True),
        element(0x00091001, "OB", b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff"),
        sequence(0x00091004, native, undefined=True),
    ]
    data = original(
        JPEG_LOSSLESS,
        element(0x00090010, "LO", "ACME"),
        *others,
        sequence(ICON, icon(encapsulated(jpeg()))),
    )
    part10 = stored_part10(BytesSource(data), len(meta(JPEG_LOSSLESS)))
    out = b"".join(
        build_part10(data, None, syntax=EXPLICIT, decode_nested=lambda: dict(decode_nested(part10))).pieces
    )
    assert all(other in out for other in others)


@pytest.mark.parametrize("syntax", [EXPLICIT, ROOT + "1.99", "1.2.840.10008.1.2"])
def test_gives_back_what_a_native_file_should_not_have_had(syntax: str) -> None:
    form = "explicit" if syntax != "1.2.840.10008.1.2" else "implicit"
    value = encapsulated(jpeg())
    one = item(*described(GREY, "MONOCHROME2", form), pixels(value, form), undefined=True)
    fields = [*uids(form), sequence(ICON, one, undefined=True, form=form)]
    data = meta(syntax) + b"".join(fields)
    out = b"".join(build_part10(data, None, syntax=EXPLICIT, decode_nested=unreachable).pieces)
    (found,) = pydicom.dcmread(io.BytesIO(out)).IconImageSequence
    assert found.PixelData == value[:-8]
    # In a compressed file, which has another codec, it is native.
    (found,) = written(data, HTJ2K).IconImageSequence
    assert np.array_equal(samples_of(found), imagecodecs.jpeg8_decode(jpeg()))
    assert "7FE00010" in shown(parsed(data))["00880200"]["Value"][0]


def test_finds_it_in_implicit_sequences_of_unknown_vr() -> None:
    inner = item(*described(GREY, "MONOCHROME2", "implicit"), pixels(encapsulated(jpeg()), "implicit"))
    for undefined in (True, False):
        data = original(JPEG_LOSSLESS, sequence(ICON, inner, undefined=undefined, vr="UN"))
        (found,) = written(data, EXPLICIT).IconImageSequence
        assert np.array_equal(samples_of(found), imagecodecs.jpeg8_decode(jpeg()))


def test_takes_several_frames_and_single_bits() -> None:
    frames = element(0x00280008, "IS", "3")
    bits = (GREY[:5, :5] & 1).astype("u1")
    one_bit = [us(0x00280100, 1), us(0x00280101, 1), us(0x00280102, 0)]
    fields = described(bits, "MONOCHROME2")
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    stream = struct.pack("<16I", 1, 64, *[0] * 14) + bytes(imagecodecs.packbits_encode(packed))
    value = items(*[stream + b"\0" * (len(stream) % 2)] * 3)
    one = item(*fields[:2], frames, *fields[2:4], *one_bit, fields[-1], pixels(value))
    (found,) = written(original(RLE, sequence(ICON, one)), EXPLICIT).IconImageSequence
    assert np.array_equal(samples_of(found), np.stack([bits] * 3))


DAMAGED = {
    "cut": items(jpeg()[:-90]),
    "empty": items(),
    "no items": b"\xfe\xff\xdd\xe0\0\0\0\0",
    "other size": items(jpeg(GREY[:-1])),
    "other codec": items(b"\0\1\2\3" * 99),
    "early end": items(jpeg()[:-90] + b"\xff\xd9" + jpeg()[-88:]),
    "two images": items(jpeg() + jpeg()),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_leaves_out_what_cannot_be_decoded_and_says_so(name: str) -> None:
    value = DAMAGED[name]
    good = items(jpeg())
    data = original(
        JPEG_LOSSLESS,
        sequence(ICON, icon(value)),
        element(0x00090010, "LO", "ACME"),
        sequence(PRIVATE, icon(value), icon(good)),
    )
    found = written(data, EXPLICIT)
    assert "IconImageSequence" not in found
    first, second = found[PRIVATE].value
    assert "PixelData" not in first and first.Rows == 32
    assert np.array_equal(samples_of(second), imagecodecs.jpeg8_decode(jpeg()))
    instance = parsed(data)
    private, icon_warning = instance.warnings
    assert {private.type, icon_warning.type} == {"ElementsDiscarded"}
    assert "IconImageSequence, item 1: encapsulated PixelData cannot be decoded" in icon_warning.message
    metadata = shown(instance)
    assert "7FE00010" not in metadata["00880200"]["Value"][0]
    assert ["7FE00010" in one for one in metadata["00091002"]["Value"]] == [False, True]
    assert b"/v8A4" not in instance.dicom + instance.fragment


def test_leaves_out_one_icon_of_two() -> None:
    data = original(JPEG_LOSSLESS, sequence(ICON, icon(items(jpeg()[:-90])), icon(items(jpeg()))))
    assert len(written(data, EXPLICIT).IconImageSequence) == 1


def test_leaves_it_out_where_nothing_may_decode() -> None:
    data = original(JPEG_LOSSLESS, sequence(ICON, icon(items(jpeg()))))
    out = b"".join(build_part10(data, None, syntax=EXPLICIT).pieces)
    assert "IconImageSequence" not in pydicom.dcmread(io.BytesIO(out))
    assert "7FE00010" not in shown(parsed(data, decodes=False))["00880200"]["Value"][0]


def test_keeps_values_of_more_than_a_megabyte_out_of_the_metadata() -> None:
    large = slope((1024, 1200), "u1")
    stream = jpeg(large, lossless=True) + bytes(2 << 20)
    data = original(JPEG_LOSSLESS, sequence(ICON, icon(items(stream), large)))
    instance = parsed(data)
    assert "7FE00010" not in shown(instance)["00880200"]["Value"][0]
    (warning,) = instance.warnings
    assert "left out of the metadata" in warning.message
    part10 = stored_part10(BytesSource(data), len(meta(JPEG_LOSSLESS)))
    assert not list(bulk_values(part10, None, ()))
    assert np.array_equal(samples_of(written(data, EXPLICIT).IconImageSequence[0]), large)


def test_is_bounded_in_number_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nested_pixels, "LIMIT", 5 * nested_pixels._LEAST)
    data = original(JPEG_LOSSLESS, sequence(ICON, *[icon(items(jpeg()))] * 10))
    assert len(written(data, EXPLICIT).IconImageSequence) == 5
    assert len(parsed(data).warnings) == 5
    bomb = described(GREY, "MONOCHROME2")
    bomb[2:4] = [us(0x00280010, 65535), us(0x00280011, 65535)]
    data = original(JPEG_LOSSLESS, sequence(ICON, item(*bomb, pixels(items(jpeg())))))
    assert "IconImageSequence" not in written(data, EXPLICIT)


def test_takes_thousands_of_icons() -> None:
    stream = rle(GREY[:4, :4])
    data = original(RLE, sequence(ICON, *[icon(items(stream), GREY[:4, :4])] * 3_000))
    found = written(data, EXPLICIT).IconImageSequence
    assert len(found) == 3_000
    assert np.array_equal(samples_of(found[-1]), GREY[:4, :4])


def test_finds_it_at_any_depth() -> None:
    nested = sequence(ICON, icon(items(jpeg())))
    for _ in range(60):
        nested = sequence(0x00081140, item(nested), undefined=True)
    found = written(original(JPEG_LOSSLESS, nested), EXPLICIT)
    for _ in range(60):
        (found,) = found.ReferencedImageSequence
    assert np.array_equal(samples_of(found.IconImageSequence[0]), imagecodecs.jpeg8_decode(jpeg()))


def test_survives_damage_anywhere() -> None:
    """Whatever is imported can be written, and what is written is legal."""
    data = original(
        JPEG_LOSSLESS, sequence(ICON, icon(encapsulated(jpeg(GREY[:8, :8]), has_bot=True), GREY[:8, :8]))
    )
    begin, damage = data.index(struct.pack("<HH", 0x0088, 0x0200)), random.Random(3)
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(damage.choice((1, 1, 2, 8))):
            damaged[damage.randrange(begin, len(data))] ^= 1 << damage.randrange(8)
        survives(bytes(damaged))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=4), st.binary(max_size=16), st.integers(0, 70_000))
def test_survives_fragments_of_anything(fragments: list[bytes], tail: bytes, rows: int) -> None:
    fields = described(GREY, "MONOCHROME2")
    fields[2] = us(0x00280010, rows & 0xFFFF)
    for syntax in (JPEG_LOSSLESS, J2K, RLE, JPEG_LS, ROOT + "1.98", ROOT + "8.1", "1.2.3"):
        survives(original(syntax, sequence(ICON, item(*fields, pixels(items(*fragments)))) + tail))


def survives(data: bytes) -> None:
    try:
        instance = parsed(data)
    except InputError:
        return
    json.loads(b"{%s}" % instance.dicom)
    assert not re.search(rb'"7FE00010":{"vr":"..","InlineBinary":"/v8A4A', instance.dicom)
    part10 = stored_part10(BytesSource(data), len(meta(pydicom_syntax(data))))
    out = b"".join(
        build_part10(data, None, syntax=EXPLICIT, decode_nested=lambda: dict(decode_nested(part10))).pieces
    )
    again = stored_part10(BytesSource(out[132:]), out[132:].index(b"\x08\0\x16\0"))
    found: list[object] = []
    parse_instance(again, SeriesCache(), decode_nested=lambda *span: found.append(span))
    assert not found
