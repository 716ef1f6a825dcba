"""Files written back in the transfer syntax in which they came."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from lightwell.documents.export_syntax import Attempt, ExportSyntax, Frames, attempts
from lightwell.documents.native_forms import DEFLATED_FRAMES, ENCAPSULATED_UNCOMPRESSED, convert
from lightwell.documents.part10_files import Part10File
from lightwell.domain.image_sets.edits import Edit
from lightwell.domain.image_sets.frame_table import Frame
from lightwell.errors import InputError
from lightwell.imaging.dataset.transfer_syntaxes import (
    EXPLICIT_LITTLE,
    JPEG2000_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    RLE,
)
from lightwell.imaging.instances.writer import PixelValue
from lightwell.stores.image_sets.part10_instances import StoredImage, StoredInstance
from tests.imports.test_written_syntaxes import stored
from tests.support.ct_files import ct
from tests.support.imports import Importing
from tests.unit.imaging.pixel_files import image_of

JPEG = "1.2.840.10008.1.2.4"


def refuse(image: StoredImage, place: Frame, crc: int | None) -> tuple[str, bytes]:
    raise InputError("no decoder here")


def opened(server: Importing, instance: StoredInstance, attempt: Attempt) -> tuple[Part10File, FileDataset]:
    file = attempt.open(server.stores, instance, refuse)
    return file, pydicom.dcmread(io.BytesIO(b"".join(file.pieces)))


def coded(number: int, syntax: str, *frames: bytes) -> FileDataset:
    data = ct(number)
    data.NumberOfFrames = len(frames)
    data.PixelData = encapsulate(list(frames))
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.file_meta.TransferSyntaxUID = UID(syntax)
    return data


def test_writes_back_what_is_not_compressed_as_it_came(sqlite: Importing) -> None:
    big, implicit, deflated, native = ct(1), ct(2), ct(3), ct(4)
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    big.PixelData = np.frombuffer(big.PixelData, "<i2").astype(">i2").tobytes()
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    frame = ct(5).PixelData
    uncompressed = coded(5, ENCAPSULATED_UNCOMPRESSED, frame, frame)
    given = [big, implicit, deflated, native, uncompressed]
    found = stored(sqlite, *given)
    for instance, came in zip(found, given, strict=True):
        first = next(attempts(instance, ExportSyntax.ORIGINAL))
        file, again = opened(sqlite, instance, first)
        assert (first.frames, first.note) == (Frames.NATIVE, "")
        assert again.file_meta.TransferSyntaxUID == file.syntax == came.file_meta.TransferSyntaxUID
        for element in came:
            if element.keyword not in ("PixelData", "NumberOfFrames"):
                assert again[element.tag].value == element.value
        if came is uncompressed:
            assert list(generate_frames(again.PixelData, number_of_frames=2)) == [frame, frame]
        else:
            assert again.PixelData == came.PixelData

    edited = replace(found[0], edits={"SeriesDescription": Edit("LO", "corrected")})
    _, again = opened(sqlite, edited, next(attempts(edited, ExportSyntax.ORIGINAL)))
    assert again.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    assert (again.SeriesDescription, again.Rows, again.PixelData) == ("corrected", 16, big.PixelData)


def test_deflates_each_frame_and_refuses_frames_that_are_no_whole_bytes() -> None:
    image = image_of(np.zeros((2, 3), np.uint8))
    pixel = PixelValue("PixelData", "OB", EXPLICIT_LITTLE, 6, [b"abcdef"])
    data = b"".join(convert(pixel, DEFLATED_FRAMES, image).pieces)
    (frame,) = generate_frames(data, number_of_frames=1)
    assert zlib.decompressobj(-15).decompress(frame) == b"abcdef"
    bits = replace(image, bits_allocated=1, bits_stored=1, frames=3)
    for syntax in (DEFLATED_FRAMES, ENCAPSULATED_UNCOMPRESSED):
        with pytest.raises(InputError, match="told apart"):
            convert(pixel, syntax, bits)


def test_encodes_again_what_was_compressed_without_loss(sqlite: Importing) -> None:
    samples = np.frombuffer(ct(1).PixelData, "<i2").reshape(16, 16)
    rle = ct(1)
    rle.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    bits = samples.view(np.uint16)
    jpeg = coded(2, JPEG_LOSSLESS_SV1, bytes(imagecodecs.ljpeg_encode(bits, bitspersample=16)))
    jpeg2000 = coded(
        3, JPEG2000_LOSSLESS, bytes(imagecodecs.jpeg2k_encode(samples, codecformat="j2k", reversible=True))
    )
    for instance, syntax in zip(
        stored(sqlite, rle, jpeg, jpeg2000), (RLE, JPEG_LOSSLESS_SV1, JPEG2000_LOSSLESS), strict=True
    ):
        first = next(attempts(instance, ExportSyntax.ORIGINAL))
        assert first.frames is Frames.ENCODED
        file, again = opened(sqlite, instance, first)
        assert again.file_meta.TransferSyntaxUID == file.syntax == syntax
        assert np.array_equal(pixel_array(again, raw=True), samples)


def test_gives_the_very_codestream_where_it_was_kept_and_says_what_it_cannot_give(sqlite: Importing) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    stream = bytes(imagecodecs.jpeg8_encode(grey, level=90))
    baseline, extended = (
        coded(1, f"{JPEG}.50", stream),
        coded(2, "1.2.840.10008.1.2.4.51", stream),
    )
    for data in (baseline, extended):
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    text = ct(3)
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        delattr(text, keyword)
    text.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    first, second, third = stored(sqlite, baseline, extended, text)

    kept = next(attempts(first, ExportSyntax.ORIGINAL))
    _, again = opened(sqlite, first, kept)
    (frame,) = generate_frames(again.PixelData, number_of_frames=1)
    assert (kept.frames, frame.rstrip(b"\0")) == (Frames.KEPT, stream.rstrip(b"\0"))
    explicit = list(attempts(first, ExportSyntax.EXPLICIT))
    with pytest.raises(InputError):
        opened(sqlite, first, explicit[0])
    assert opened(sqlite, first, explicit[1])[0].syntax == f"{JPEG}.50"
    assert "as it is stored: it cannot be decoded" in explicit[1].note

    lossy = next(attempts(second, ExportSyntax.ORIGINAL))
    file, again = opened(sqlite, second, lossy)
    assert file.syntax == EXPLICIT_LITTLE
    assert lossy.note.startswith("Explicit VR Little Endian: JPEG Extended cannot be written without loss")
    assert again.pixel_array.shape == (16, 16)

    without = next(attempts(third, ExportSyntax.ORIGINAL))
    file, again = opened(sqlite, third, without)
    assert (without.frames, file.syntax, again.PatientID) == (Frames.NONE, ExplicitVRBigEndian, "P1")
