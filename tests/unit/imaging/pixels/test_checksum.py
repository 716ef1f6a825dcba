import zlib

import numpy as np

from lightwell.imaging.pixels.checksum import bytes_checksum, frame_checksum
from tests.unit.imaging.pixel_files import noise


def test_is_the_crc_of_interleaved_little_endian_samples() -> None:
    samples = noise((5, 7, 3), "u2")
    assert frame_checksum(samples) == zlib.crc32(samples.astype("<u2").tobytes())


def test_does_not_depend_on_the_layout_in_memory() -> None:
    samples = noise((5, 7), "i2")
    assert frame_checksum(samples.astype(">i2")) == frame_checksum(samples)
    assert frame_checksum(np.asfortranarray(samples)) == frame_checksum(samples)


def test_reads_frames_that_may_not_be_written() -> None:
    samples = np.frombuffer(b"\x01\x02\x03\x04", "<u2")
    assert frame_checksum(samples) == zlib.crc32(b"\x01\x02\x03\x04")


def test_is_the_same_over_bytes_in_pieces() -> None:
    assert bytes_checksum([b"ab", b"", b"c"]) == zlib.crc32(b"abc")
