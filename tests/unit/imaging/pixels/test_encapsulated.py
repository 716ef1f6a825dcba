import struct
from array import array

import pytest

from lightwell.imaging.dataset.byte_source import BytesSource
from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.encapsulated import EncapsulatedFrames, end_of_element, read_fragments
from tests.unit.imaging.pixel_files import DELIMITER, item, items

JPEG = b"\xff\xd8\xff\xe0"
J2K = b"\xff\x4f\xff\x51"
Extended = tuple[bytes, bytes | None] | None


def frames(
    value: bytes, count: int | None, codec: str = "jpeg", extended: Extended = None
) -> EncapsulatedFrames:
    source = BytesSource(value)
    return EncapsulatedFrames(source, read_fragments(source, 0), count, codec, extended)


def contents(value: bytes, count: int | None, codec: str = "jpeg", extended: Extended = None) -> list[bytes]:
    found = frames(value, count, codec, extended)
    return [found.read(number) for number in range(len(found))]


def refusal(value: bytes, count: int, codec: str = "jpeg", extended: Extended = None) -> str:
    with pytest.raises(PixelFailure) as failure:
        contents(value, count, codec, extended)
    return failure.value.warning.type


def test_takes_one_fragment_a_frame_without_a_table() -> None:
    assert contents(items(b"aa", b"bbbb", b"cc"), 3) == [b"aa", b"bbbb", b"cc"]


def test_takes_one_fragment_a_frame_with_a_table() -> None:
    assert contents(items(b"aa", b"bbbb", table=(0, 10)), 2) == [b"aa", b"bbbb"]


def test_joins_the_fragments_of_a_frame_by_the_table() -> None:
    value = items(b"aa", b"bb", b"cc", b"dd", b"ee", table=(0, 20))
    assert contents(value, 2) == [b"aabb", b"ccddee"]


def test_joins_all_fragments_of_a_single_frame() -> None:
    assert contents(items(JPEG, b"bb", b"cc"), 1) == [JPEG + b"bbcc"]


def test_joins_them_too_where_the_table_has_one_entry() -> None:
    assert contents(items(JPEG, b"bb", table=(0,)), 1) == [JPEG + b"bb"]


def test_tells_frames_apart_by_how_jpeg_begins() -> None:
    value = items(JPEG + b"1", b"bb", JPEG + b"2", JPEG + b"3", b"ee")
    assert contents(value, 3) == [JPEG + b"1bb", JPEG + b"2", JPEG + b"3ee"]


def test_tells_frames_apart_by_how_jpeg_2000_begins() -> None:
    assert contents(items(J2K, b"bb", J2K), 2, "jpeg2000") == [J2K + b"bb", J2K]


def test_skips_empty_fragments() -> None:
    assert contents(items(b"", b"aa", b"", b"bb", b""), 2) == [b"aa", b"bb"]


def test_ends_with_the_file_where_the_delimiter_is_missing() -> None:
    assert contents(items(b"aa", b"bb", end=b""), 2) == [b"aa", b"bb"]


def test_stops_at_the_delimiter() -> None:
    value = items(b"aa") + b"\xfc\xff\xfc\xff more"
    assert contents(value, 1) == [b"aa"]
    assert end_of_element(BytesSource(value), 0) == len(items(b"aa"))


def test_reads_an_element_of_defined_length() -> None:
    value = items(b"aa", b"bb", end=b"")
    source = BytesSource(value + item(b"not ours"))
    assert len(read_fragments(source, 0, len(value))) == 2


def test_refuses_an_item_header_that_reaches_beyond_the_element() -> None:
    value = items(b"aa", end=b"")
    with pytest.raises(PixelFailure):
        read_fragments(BytesSource(value + item(b"not ours")), 0, len(value) + 4)


def test_starts_where_the_element_does() -> None:
    source = BytesSource(b"head" + items(b"aa", table=(0,)))
    assert EncapsulatedFrames(source, read_fragments(source, 4), 1, "jpeg").read(0) == b"aa"


def test_is_not_led_astray_by_a_delimiter_inside_a_fragment() -> None:
    assert contents(items(DELIMITER + b"aa", b"bb"), 2) == [DELIMITER + b"aa", b"bb"]


def test_trims_padding_by_the_extended_table() -> None:
    extended = (struct.pack("<2Q", 0, 10), struct.pack("<2Q", 1, 4))
    assert contents(items(b"a\0", b"bbbb"), 2, extended=extended) == [b"a", b"bbbb"]


def test_takes_an_extended_table_without_lengths() -> None:
    assert contents(items(b"a\0", b"bb"), 2, extended=(struct.pack("<2Q", 0, 10), None)) == [b"a\0", b"bb"]


def test_takes_all_fragments_for_one_object_where_no_number_is_promised() -> None:
    assert contents(items(b"aa", b"", b"bb", table=(0, 77)), None, "h264") == [b"aabb"]


def test_gives_the_beginning_and_pieces_of_a_frame() -> None:
    found = frames(items(b"aa", b"bbbb"), None, "h264")
    assert found.head(0, 512) == b"aa"
    assert list(found.pieces(0)) == [b"aa", b"bbbb"]
    assert found.size(0) == 6
    assert found.ranges(0) == [(16, 2), (26, 4)]


def test_reads_large_and_small_items_alike() -> None:
    fragments = [bytes([n % 256]) * (200_000 if n % 7 == 0 else 10) for n in range(40)]
    assert contents(items(*fragments), 40) == fragments


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (items(b"aa", b"bb"), 3),
        (items(), 1),
        (items(b""), 1),
        (items(b"aa", b"bb", b"cc"), 2),
        (items(JPEG, b"bb", JPEG, JPEG), 2),
        (items(b"xx", JPEG, b"bb", JPEG), 2),
        (items(JPEG, JPEG), 1),
    ],
)
def test_finds_another_number_of_frames(value: bytes, count: int) -> None:
    assert refusal(value, count) == "FrameNumberMismatch"


def test_wants_one_fragment_a_frame_of_rle() -> None:
    assert refusal(items(b"aa", b"bb"), 1, "rle") == "FrameNumberMismatch"


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (items(b"aa", b"bb", table=(0,)), 2),
        (items(b"aa", b"bb", table=(0, 10, 20)), 2),
        (items(b"aa", b"bb", table=(0, 9)), 2),
        (items(b"aa", b"bb", table=(0, 0)), 2),
        (items(b"aa", b"bb", table=(10, 0)), 2),
        (items(b"aa", b"bb", table=(10, 20)), 2),
        (items(b"aa", b"bb", table=(0, 1 << 31)), 2),
        (items(JPEG, JPEG, JPEG, table=(0, 24)), 2),
        (item(b"\0\0\0") + item(b"aa") + DELIMITER, 1),
    ],
)
def test_finds_a_table_that_disagrees_with_the_fragments(value: bytes, count: int) -> None:
    assert refusal(value, count) == "InvalidOffsetTable"


@pytest.mark.parametrize(
    "extended",
    [
        (struct.pack("<Q", 0), struct.pack("<Q", 2)),
        (struct.pack("<2Q", 0, 9), struct.pack("<2Q", 2, 2)),
        (struct.pack("<2Q", 10, 0), struct.pack("<2Q", 2, 2)),
        (struct.pack("<2Q", 0, 9), struct.pack("<2Q", 10, 10)),
        (struct.pack("<2Q", 0, 10), struct.pack("<Q", 2)),
        (struct.pack("<2Q", 0, 1 << 63), struct.pack("<2Q", 2, 2)),
    ],
)
def test_finds_an_extended_table_that_disagrees(extended: tuple[bytes, bytes]) -> None:
    assert refusal(items(b"aa", b"bb"), 2, extended=extended) == "InvalidOffsetTable"


@pytest.mark.parametrize(
    "lengths", [(10, 10), (9, 10), (2, 3), (2, 0), (0, 0), (1, 3), (2**64 - 1, 2**64 - 1), (2, 10)]
)
def test_ignores_wrong_lengths_where_each_fragment_is_a_frame(lengths: tuple[int, int]) -> None:
    """wsidicom up to 0.31 counts the eight bytes of the item header."""
    extended = (struct.pack("<2Q", 0, 10), struct.pack("<2Q", *lengths))
    assert contents(items(b"a\0", b"bb"), 2, extended=extended) == [b"a\0", b"bb"]
    (warning,) = frames(items(b"a\0", b"bb"), 2, extended=extended).warnings
    assert warning.type == "CoercionOfDataElements"
    assert "ExtendedOffsetTableLengths" in warning.message


def test_warns_of_nothing_where_the_lengths_fit() -> None:
    extended = (struct.pack("<2Q", 0, 10), struct.pack("<2Q", 1, 2))
    assert not frames(items(b"a\0", b"bb"), 2, extended=extended).warnings


def test_refuses_wrong_lengths_where_fragments_and_frames_differ_in_number() -> None:
    extended = (struct.pack("<2Q", 0, 20), struct.pack("<2Q", 20, 10))
    assert refusal(items(b"aa", b"bb", b"cc"), 2, extended=extended) == "InvalidOffsetTable"


def test_refuses_both_tables_at_once() -> None:
    extended = (struct.pack("<2Q", 0, 10), struct.pack("<2Q", 2, 2))
    assert refusal(items(b"aa", b"bb", table=(0, 10)), 2, extended=extended) == "InvalidOffsetTable"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xfe\xff\x00",
        b"\0" * 64,
        items(b"aa", end=b"\xfe\xff\x00\xe0"),
        items(b"aa", end=item(b"bbbb")[:-1]),
        items(b"aa", end=b"\xfe\xff\x00\xe0\xff\xff\xff\xff"),
        items(b"aa", end=b"\xfe\xff\x0d\xe0\0\0\0\0"),
    ],
)
def test_refuses_broken_items(value: bytes) -> None:
    assert refusal(value, 1) == "FramesExtractionFailure"


def test_refuses_a_frame_without_bytes() -> None:
    assert refusal(items(b"aa", b"", table=(0, 10)), 2) == "FramesExtractionFailure"


def test_treats_a_broken_element_as_reaching_the_end_of_the_file() -> None:
    value = items(b"aa", end=item(b"bbbb")[:-1])
    assert end_of_element(BytesSource(value), 0) == len(value)


def test_bounds_the_number_of_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightwell.imaging.pixels.encapsulated._MAXIMUM_FRAGMENTS", 3)
    assert refusal(items(b"a", b"b", b"c", b"d"), 4) == "FramesExtractionFailure"


def test_does_not_read_a_table_that_cannot_fit() -> None:
    class Careful(BytesSource):
        def read(self, offset: int, length: int) -> bytes:
            assert length <= 1 << 16
            return super().read(offset, length)

    source = Careful(item(bytes(1 << 20)) + item(b"aa"))
    with pytest.raises(PixelFailure, match="offset table"):
        EncapsulatedFrames(source, read_fragments(source, 0), 1, "jpeg")


def test_keeps_sixteen_bytes_a_fragment() -> None:
    found = read_fragments(BytesSource(items(b"aa", b"bb")), 0)
    assert isinstance(found.starts, array)
    assert found.starts.itemsize + found.lengths.itemsize == 16
