import struct

import pytest

from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.jp2_boxes import box_head, codestream_of


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 0
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        length = length or len(data) - place
        found.append((kind, data[place + 8 : place + length]))
        place += length
    return found


def test_is_the_file_that_the_service_gives() -> None:
    stream = b"\xff\x4f\xff\x51 and more"
    data = box_head(512, 640, 1, 16, True, len(stream)) + stream
    (_, mark), (_, kind), (_, header), (last, content) = boxes(data)
    assert [name for name, _ in boxes(data)] == [b"jP  ", b"ftyp", b"jp2h", b"jp2c"]
    assert mark == b"\r\n\x87\n"
    assert kind == b"jp2 \0\0\0\0jp2 jph "
    assert boxes(header)[0] == (b"ihdr", struct.pack(">IIHBBBB", 512, 640, 1, 0x8F, 7, 0, 0))
    assert boxes(header)[1] == (b"colr", b"\x01\0\0\0\0\0\x11")
    assert (last, content) == (b"jp2c", stream)


def test_calls_three_samples_rgb() -> None:
    assert b"colr\x01\0\0\0\0\0\x10" in box_head(4, 4, 3, 8, False, 10)


def test_gives_long_codestreams_a_long_length() -> None:
    head = box_head(4, 4, 1, 8, False, 1 << 33)
    assert head.endswith(struct.pack(">I4sQ", 1, b"jp2c", (1 << 33) + 16))


def test_finds_the_codestream_again() -> None:
    stream = b"\xff\x4f\xff\x51 and more"
    assert codestream_of(box_head(4, 4, 1, 8, False, len(stream)) + stream) == stream


def test_leaves_boxes_after_the_codestream_out() -> None:
    data = box_head(4, 4, 1, 8, False, 6) + b"\xff\x4f1234" + struct.pack(">I4s", 8, b"free")
    assert bytes(codestream_of(data)) == b"\xff\x4f1234"


def test_takes_a_last_box_without_length() -> None:
    head = box_head(4, 4, 1, 8, False, 6)
    assert (
        bytes(codestream_of(head[:-8] + struct.pack(">I4s", 0, b"jp2c") + b"\xff\x4f1234")) == b"\xff\x4f1234"
    )


def test_leaves_a_bare_codestream_as_it_is() -> None:
    assert bytes(codestream_of(b"\xff\x4f\xff\x51")) == b"\xff\x4f\xff\x51"


@pytest.mark.parametrize(
    "end", [b"", struct.pack(">I4s", 3, b"free") + b"jp2c", struct.pack(">I4s", 900, b"free")]
)
def test_refuses_boxes_that_lead_nowhere(end: bytes) -> None:
    head = box_head(4, 4, 1, 8, False, 6)
    with pytest.raises(PixelFailure):
        codestream_of(head[:-8] + end)
