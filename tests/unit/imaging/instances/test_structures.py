"""Encodings, sequences and positions in data sets of every structure."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest

from lightwell.errors import InputError
from lightwell.imaging.dataset.part10 import BytesSource, FileSource, open_part10
from lightwell.imaging.instances.parse import PixelElement, SeriesCache, parse_instance
from tests.unit.imaging import headers
from tests.unit.imaging.headers import element, image, item, opened, part10, read, sequence, uids
from tests.unit.imaging.instances.test_reader import PIXEL_MODULE, PIXELS, blocks, us


@pytest.mark.parametrize("form", ["explicit", "implicit", "big"])
def test_finds_the_pixel_element_and_what_surrounds_it(form: str) -> None:
    syntax = {"explicit": headers.EXPLICIT, "implicit": headers.IMPLICIT, "big": headers.BIG}[form]
    pixels = element(0x7FE00010, "OW", b"\xaa" * 48, form=form)
    padding = element(0xFFFCFFFC, "OB", b"\xbb" * 10, form=form)
    data = image(pixels, padding, syntax=syntax, form=form)
    found = read(data)
    assert found.pixel == PixelElement("PixelData", "OW", data.index(b"\xaa"), 48)
    part = opened(data)
    kept = b"".join(part.source.read(offset, length) for offset, length in found.original)
    assert kept == data[part.dataset_offset :].replace(pixels, b"")
    assert blocks(found)[3]["DataSetTrailingPadding"] == "u7u7u7u7u7u7uw=="


def test_finds_encapsulated_pixels_and_what_stands_behind_them() -> None:
    fragments = item() + item(b"\xfe\xff\xdd\xe0\0\0\0\0") + item(b"\xaa" * 4)
    pixels = element(0x7FE00010, "OB", fragments, length=headers.UNDEFINED)
    end = b"\xfe\xff\xdd\xe0\0\0\0\0"
    padding = element(0xFFFCFFFC, "OB", b"\xbb\xbb")
    data = image(syntax=headers.JPEG) + pixels + end + padding
    found = read(data)
    assert found.pixel == PixelElement("PixelData", "OB", data.index(fragments), -1)
    assert found.original[1] == (len(data) - len(padding), len(padding))


def test_gives_the_place_of_pixels_that_are_cut_off() -> None:
    data = image(*PIXEL_MODULE, PIXELS)[:-20]
    found = read(data)
    assert found.pixel
    assert (found.pixel.offset, found.pixel.length) == (len(data) - 28, 48)
    assert len(found.original) == 1
    open_end = image(
        element(0x7FE00010, "OB", item(b"\xaa" * 8), length=headers.UNDEFINED), syntax=headers.JPEG
    )
    for length in (0, 3, 10):
        cut = read(open_end[: len(open_end) - length])
        assert cut.pixel
        assert cut.pixel.length == -1
        assert len(cut.original) == 1


def test_gives_the_place_of_the_extended_offset_table() -> None:
    table = element(0x7FE00001, "OV", struct.pack("<QQ", 0, 100))
    lengths = element(0x7FE00002, "OV", struct.pack("<QQ", 50, 60))
    data = image(table, lengths, PIXELS)
    found = read(data)
    assert found.pixel
    assert found.pixel.offset_table == (data.index(table) + 12, 16)
    assert found.pixel.length_table == (data.index(lengths) + 12, 16)
    assert blocks(found)[3]["ExtendedOffsetTable"] == "AAAAAAAAAABkAAAAAAAAAA=="


def test_takes_the_last_of_several_pixel_elements_and_says_so() -> None:
    found = read(image(element(0x7FE00008, "OF", bytes(8)), element(0x7FE00010, "OW", bytes(8))))
    assert found.pixel
    assert found.pixel.keyword == "PixelData"
    assert [w.type for w in found.warnings] == ["ElementsDiscarded"]
    assert "FloatPixelData" not in blocks(found)[3]


def test_reads_implicit_elements_by_the_dictionary() -> None:
    def of(tag: int, value: bytes | str) -> bytes:
        return element(tag, "LO", value, form="implicit")

    lut = [of(0x00283002, struct.pack("<HHH", 1, 0, 16)), of(0x00283006, us(5))]
    long_lut = [of(0x00283002, struct.pack("<HHH", 2, 0, 16)), of(0x00283006, struct.pack("<HH", 1, 2))]
    found = read(
        image(
            of(0x00090010, "GEMS_IDEN_01"),
            of(0x00091027, struct.pack("<i", -5)),
            of(0x00091101, b"??"),
            sequence(0x00091199, item(of(0x00100010, "X")), undefined=True, form="implicit"),
            of(0x00280103, us(1)),
            of(0x00280106, struct.pack("<h", -7)),
            sequence(0x00283000, item(*lut), item(*long_lut), form="implicit"),
            of(0x60003000, b"\1\2"),
            syntax=headers.IMPLICIT,
            form="implicit",
        )
    )
    *_, instance, vrs = blocks(found)
    assert instance["00091027"] == -5
    assert instance["00091101"] == "Pz8="
    assert instance["00091199"] == [{"PatientName": "X"}]
    assert instance["SmallestImagePixelValue"] == -7
    assert instance["ModalityLUTSequence"] == [
        {"LUTDescriptor": [1, 0, 16], "LUTData": [5]},
        {"LUTDescriptor": [2, 0, 16], "LUTData": "AQACAA=="},
    ]
    assert vrs == {
        "00090010": "LO",
        "00091027": "SL",
        "00091101": "UN",
        "00091199": "SQ",
        "60003000": "OW",
    }


def test_reads_unknown_vr_where_it_can() -> None:
    nested = item(element(0x00100010, "PN", "X", form="implicit"))
    found = read(
        image(
            element(0x00080060, "UN", "CT"),
            sequence(0x00081140, nested, undefined=True, vr="UN"),
            element(0x00081115, "UN", nested),
            element(0x00082112, "UN", b"no sequence!"),
            sequence(0x00091001, nested, undefined=True, vr="UN"),
            element(0x00091002, "UN", nested),
        )
    )
    _, _, series, instance, vrs = blocks(found)
    assert series["Modality"] == "CT"
    assert instance["ReferencedImageSequence"] == [{"PatientName": "X"}]
    assert instance["ReferencedSeriesSequence"] == [{"PatientName": "X"}]
    assert instance["00082112"] == "bm8gc2VxdWVuY2Uh"
    assert instance["00091001"] == [{"PatientName": "X"}]
    assert isinstance(instance["00091002"], str)
    assert vrs == {"00082112": "UN", "00091001": "SQ", "00091002": "UN"}
    assert [w.type for w in found.warnings] == ["CoercionOfDataElements"]


def test_keeps_a_value_of_100_mb_out_of_the_metadata_and_out_of_memory(tmp_path: Path) -> None:
    start = image(without=(0x0020000D, 0x0020000E))
    big = element(0x00420011, "OB", b"", length=100_000_000)
    rest = uids()[2] + uids()[3]
    path = tmp_path / "big.dcm"
    # Out of the order of tags, so that more stands behind it.
    with path.open("wb") as file:
        file.write(start + big)
        file.seek(100_000_000, os.SEEK_CUR)
        file.write(rest)
    tracemalloc.start()
    with FileSource(path) as source:
        found = parse_instance(open_part10(source, spool_dir=tmp_path, inflate_limit=1), SeriesCache())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
    assert blocks(found)[3]["EncapsulatedDocument"] == ""
    assert {w.type for w in found.warnings} == {"CoercionOfDataElements", "ElementsDiscarded"}
    assert sum(length for _, length in found.original) > 100_000_000


@pytest.mark.parametrize("form", ["explicit", "implicit"])
def test_reads_a_file_of_two_gigabytes_in_little_memory(form: str, tmp_path: Path) -> None:
    syntax = headers.EXPLICIT if form == "explicit" else headers.IMPLICIT
    size = (1 << 31) + 1000
    data = image(element(0x7FE00010, "OW", b"", length=size, form=form), syntax=syntax, form=form)
    padding = element(0xFFFCFFFC, "OB", b"\1\2", form=form)
    path = tmp_path / "large.dcm"
    with path.open("wb") as file:
        file.write(data)
        file.seek(size, os.SEEK_CUR)
        file.write(padding)
    tracemalloc.start()
    with FileSource(path) as source:
        found = parse_instance(open_part10(source, spool_dir=tmp_path, inflate_limit=1), SeriesCache())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
    assert found.pixel
    assert (found.pixel.offset, found.pixel.length) == (len(data), size)
    assert found.original[1] == (len(data) + size, len(padding))


def test_reads_a_deflated_file_as_the_same_data_set_inflated() -> None:
    plain = image(*PIXEL_MODULE, PIXELS)
    content = plain[opened(plain).dataset_offset :]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = part10(packer.compress(content) + packer.flush(), syntax=headers.DEFLATED)
    one, other = read(plain), read(packed)
    assert (one.patient, one.study, one.series, one.image) == (
        other.patient,
        other.study,
        other.series,
        other.image,
    )
    assert other.pixel
    assert opened(packed).source.read(other.pixel.offset, 48) == bytes(48)


def test_reads_a_data_set_that_is_encoded_otherwise_than_the_file_says() -> None:
    for form, syntax in (("implicit", headers.EXPLICIT), ("explicit", headers.IMPLICIT)):
        found = read(image(element(0x00100010, "PN", "X", form=form), syntax=syntax, form=form))
        assert json.loads(found.patient) == {"PatientName": "X"}
        assert [w.type for w in found.warnings] == ["CoercionOfDataElements"]


def test_reads_elements_out_of_order_and_says_so() -> None:
    found = read(part10(*reversed(uids()), element(0x00080060, "CS", "CT"), element(0x00080060, "CS", "MR")))
    assert json.loads(found.series)["Modality"] == "MR"
    assert [w.type for w in found.warnings] == ["CoercionOfDataElements"] * 2


def test_ignores_zero_bytes_behind_the_last_element_and_says_so() -> None:
    found = read(image(PIXELS) + bytes(1000))
    assert [w.type for w in found.warnings] == ["ElementsDiscarded"]


def test_reads_a_sequence_of_100_levels_and_no_deeper() -> None:
    for undefined in (True, False):
        nested = b""
        for _ in range(100):
            nested = sequence(0x00081140, item(nested, undefined=undefined), undefined=undefined)
        read(image(nested))
        deeper = sequence(0x00081140, item(nested, undefined=undefined), undefined=undefined)
        with pytest.raises(InputError, match="nested more than 100"):
            read(image(deeper))


def test_refuses_ten_thousand_levels_without_running_deep() -> None:
    start = b"".join(
        [element(0x00081140, "SQ", b"", length=headers.UNDEFINED), b"\xfe\xff\x00\xe0\xff\xff\xff\xff"]
    )
    with pytest.raises(InputError, match="nested more than 100"):
        read(part10(*uids()[:2], start * 10_000))
    with pytest.raises(InputError, match="nested more than 100"):
        read(
            part10(*uids()[:2], start * 10_000, b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * 10_000)
        )


def test_names_the_element_in_which_the_file_ends() -> None:
    data = image(element(0x00081030, "LO", "x" * 20, length=200))
    with pytest.raises(
        InputError, match=r"ends inside StudyDescription \(0008,1030\): 200 bytes are declared"
    ):
        read(data)
    with pytest.raises(InputError, match=r"ends inside \(0009,1001\): 2147483648 bytes are declared"):
        read(image(element(0x00091001, "OB", b"", length=1 << 31)))


@pytest.mark.parametrize(
    "element_",
    [
        sequence(0x00081140, b"\1\2\3\4\5\6\7\x08"),
        sequence(0x00081140, item(element(0x00081155, "UI", "1.2", length=40))),
        element(0x00081140, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 99)),
        element(0x00081140, "SQ", item(), length=headers.UNDEFINED),
        element(0x00091001, "OB", bytes(100), length=headers.UNDEFINED),
        element(0x00081140, "SQ", struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + item()),
        item(),
    ],
)
def test_refuses_damaged_structures(element_: bytes) -> None:
    with pytest.raises(InputError):
        read(part10(*uids()[:2], element_, *uids()[2:]))


def test_refuses_a_data_set_of_very_many_elements() -> None:
    many = b"".join(element(0x00091000 + n, "CS") for n in range(0x7000))
    with pytest.raises(InputError, match="more than 20000 elements"):
        read(image(sequence(0x00081140, item(many), item(element(0x00080005, "CS")))))


def test_reads_from_any_source() -> None:
    class Slices:
        """A source that is no file."""

        def __init__(self, data: bytes) -> None:
            self._data = data
            self.size = len(data)

        def read(self, offset: int, length: int) -> bytes:
            return self._data[offset : offset + length]

    data = image(*PIXEL_MODULE, PIXELS)
    one = open_part10(Slices(data), spool_dir=Path(), inflate_limit=0)
    other = open_part10(BytesSource(data), spool_dir=Path(), inflate_limit=0)
    assert parse_instance(one, SeriesCache()) == parse_instance(other, SeriesCache())
