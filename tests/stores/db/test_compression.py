"""Compressed JSON of rows: no flipped bit of it gives another text."""

from __future__ import annotations

import contextlib

import pytest
import zstandard

from lightwell.domain.limits import METADATA
from lightwell.stores.db.compression import FragmentReader, compress, decompress, stated_size

TEXT = b'"DICOM":{"PatientName":"Moreau^Ana","PatientID":"7-4711","StudyDate":"20150101"},"DICOMVRs":{}'


@pytest.mark.parametrize("dictionary", [None, TEXT.replace(b"Ana", b"Kwame")])
def test_gives_no_other_text_for_a_flipped_bit(dictionary: bytes | None) -> None:
    data = compress(TEXT, dictionary)
    refused = 0
    for place in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        with contextlib.suppress(zstandard.ZstdError):
            assert decompress(bytes(flipped), dictionary) == TEXT
            continue
        refused += 1
    assert refused > 7 * len(data)


def test_gives_no_other_text_for_a_flipped_bit_of_its_dictionary() -> None:
    dictionary = TEXT.replace(b"Ana", b"Kwame")
    data = compress(TEXT, dictionary)
    refused = 0
    for place in range(8 * len(dictionary)):
        flipped = bytearray(dictionary)
        flipped[place // 8] ^= 1 << place % 8
        try:
            assert decompress(data, bytes(flipped)) == TEXT
        except zstandard.ZstdError:
            refused += 1
    assert refused > 4 * len(dictionary)


def test_reads_what_earlier_releases_wrote() -> None:
    assert decompress(compress(b"")) == b""
    assert decompress(zstandard.ZstdCompressor(level=3).compress(TEXT)) == TEXT


def test_refuses_what_would_take_all_memory() -> None:
    """Of a frame whose header states more than is ever kept, nothing is made."""
    head = b"\x28\xb5\x2f\xfd\xe0" + (METADATA + 1).to_bytes(8, "little")
    for read in (decompress, FragmentReader(b"{}").decompress):
        with pytest.raises(zstandard.ZstdError, match="more bytes than are ever kept"):
            read(head)
    assert stated_size(compress(b"abc")) == 3 and stated_size(b"abc") == -1
