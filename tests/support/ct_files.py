"""Small CT files, made for tests of the import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.10.999"


def ct(
    number: int = 1, *, series: str = "1", study: str = "1", size: int = 16, **attributes: Any
) -> FileDataset:
    """One slice; its UIDs follow from study, series and number. ``attributes`` are DICOM keywords."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = CTImageStorage
    data.StudyInstanceUID = f"{ROOT}.{study}"
    data.SeriesInstanceUID = f"{ROOT}.{study}.{series}"
    data.SOPInstanceUID = f"{ROOT}.{study}.{series}.{number}"
    data.PatientID, data.PatientName = "P1", "DOE^JANE"
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20240102", "101112", "S1", "A1"
    data.Modality, data.SeriesNumber, data.InstanceNumber = "CT", series, number
    data.Rows = data.Columns = size
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    seed = number + 1000 * sum(map(ord, f"{study}/{series}"))
    pixels = np.random.default_rng(seed).integers(-1000, 2000, (size, size), np.int16)
    data.PixelData = pixels.tobytes()
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    return data


def write(path: Path, data: FileDataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def write_series(folder: Path, count: int, **options: Any) -> list[Path]:
    """Slices 1 to ``count`` as ``0001.dcm`` and so on."""
    return [write(folder / f"{n:04}.dcm", ct(n, **options)) for n in range(1, count + 1)]
