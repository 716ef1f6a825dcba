"""Every kind of pixels through an import: frames, checksums, ranges and exports are those of the samples."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from tests.imports.file_kinds.files import HTJ2K, NATIVE, Specimen, specimens
from tests.imports.file_kinds.reading import ImportedFiles, imported
from tests.unit.imaging.headers import EXPLICIT

ALL = {specimen.name: specimen for specimen in specimens()}


@pytest.fixture(scope="module")
def imported_files(
    tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path
) -> Iterator[ImportedFiles]:
    folder = tmp_path_factory.mktemp("pixels")
    copy(_sqlite_template, folder / "lightwell.db")
    files = [(name, specimen.data) for name, specimen in ALL.items()]
    with imported(folder / "data", f"sqlite:///{folder / 'lightwell.db'}", files) as made:
        yield made


def test_takes_every_file(imported_files: ImportedFiles) -> None:
    assert len(ALL) > 200
    assert imported_files.report.failure == []
    assert imported_files.report.warning == []
    assert (
        imported_files.report.manifest["numberOfImportedFiles"]
        == imported_files.report.manifest["numberOfScannedFiles"]
        == len(ALL)
    )


@pytest.mark.parametrize("name", [name for name, specimen in ALL.items() if specimen.stored == HTJ2K])
def test_stores_the_samples_losslessly(imported_files: ImportedFiles, name: str) -> None:
    specimen = ALL[name]
    assert specimen.samples is not None
    instance = imported_files.found[specimen.uid].instance
    assert (instance["StoredTransferSyntaxUID"], instance["ChecksumType"]) == (HTJ2K, "DECOMPRESSED")
    frames = imported_files.frames(specimen.uid)
    assert len(frames) == len(specimen.samples)
    for frame, entry, samples in zip(frames, instance["ImageFrames"], specimen.samples, strict=True):
        wanted = samples[..., 0] if samples.shape[2] == 1 else samples
        codestream = frame[frame.index(b"\xff\x4f\xff\x51") :]
        readers = {
            "OpenJPH": imagecodecs.htj2k_decode(codestream, planar=False),
            "OpenJPEG": imagecodecs.jpeg2k_decode(frame, planar=False),
        }
        for reader, found in readers.items():
            assert found.dtype == wanted.dtype, reader
            assert np.array_equal(found, wanted), reader
        (full,) = entry["PixelDataChecksumFromBaseToFullResolution"]
        assert full == {
            "Width": samples.shape[1],
            "Height": samples.shape[0],
            "Checksum": zlib.crc32(np.ascontiguousarray(wanted).tobytes()),
        }
        assert (entry["MinPixelValue"], entry["MaxPixelValue"]) == (int(wanted.min()), int(wanted.max()))
        assert entry["FrameSizeInBytes"] == len(frame)


@pytest.mark.parametrize("name", [name for name, specimen in ALL.items() if specimen.stored != HTJ2K])
def test_keeps_the_bytes_of_other_frames(imported_files: ImportedFiles, name: str) -> None:
    specimen = ALL[name]
    instance = imported_files.found[specimen.uid].instance
    assert (instance["StoredTransferSyntaxUID"], instance["ChecksumType"]) == (specimen.stored, "COMPRESSED")
    assert imported_files.frames(specimen.uid) == specimen.kept
    for entry, frame in zip(instance["ImageFrames"], specimen.kept, strict=True):
        assert entry["PixelDataChecksumFromBaseToFullResolution"][0]["Checksum"] == zlib.crc32(frame)
        assert entry["MinPixelValue"] is entry["MaxPixelValue"] is None
        assert entry["FrameSizeInBytes"] == len(frame)


@pytest.mark.parametrize("name", ALL)
def test_exports_the_samples_that_were_imported(imported_files: ImportedFiles, name: str) -> None:
    specimen = ALL[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom does not know JPEG XL
        data = pydicom.dcmread(io.BytesIO(imported_files.exported(specimen.uid)))
    if specimen.samples is None:
        assert data.file_meta.TransferSyntaxUID == specimen.stored
        even = [frame + b"\0" * (len(frame) % 2) for frame in specimen.kept]
        assert list(generate_frames(data.PixelData, number_of_frames=len(even))) == even
        return
    assert data.file_meta.TransferSyntaxUID == EXPLICIT
    assert data.PhotometricInterpretation == specimen.colour
    assert np.array_equal(
        native_samples(data, specimen), specimen.samples, equal_nan=specimen.stored == NATIVE
    )


def native_samples(data: pydicom.Dataset, specimen: Specimen) -> NDArray[Any]:
    """Native little endian pixels as (frames, rows, columns, samples), read by nothing but NumPy."""
    assert specimen.samples is not None
    frames, rows, columns, count = specimen.samples.shape
    assert (data.Rows, data.Columns, data.SamplesPerPixel) == (rows, columns, count)
    keyword = next(k for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if k in data)
    value = data[keyword].value
    if data.BitsAllocated == 1:
        bits = np.unpackbits(np.frombuffer(value, np.uint8), bitorder="little")
        return bits[: specimen.samples.size].reshape(specimen.samples.shape)
    if data.PhotometricInterpretation == "YBR_FULL_422":
        pairs = np.frombuffer(value, np.uint8).reshape(frames, rows, columns // 2, 4)
        return pairs[..., [0, 2, 3, 1, 2, 3]].reshape(specimen.samples.shape)
    flat = np.frombuffer(value, specimen.samples.dtype, specimen.samples.size)
    if count > 1 and data.PlanarConfiguration == 1:
        return flat.reshape(frames, count, rows, columns).transpose(0, 2, 3, 1)
    return flat.reshape(specimen.samples.shape)
