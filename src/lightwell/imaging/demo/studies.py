"""The sample studies of `lightwell demo`.

A CT volume of an artificial head is computed here; the others are pydicom's test files (MIT) from its wheel:
MR, ultrasound in colour, a palette, a one-bit segmentation, a dose grid, a report, an ECG.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from lightwell.imaging.dataset.transfer_syntaxes import HTJ2K_RPCL
from lightwell.imaging.pixels.codestream_structure import read_structure
from lightwell.imaging.pixels.jp2_boxes import codestream_of

SHIPPED = (
    "MR_small.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "examples_rgb_color.dcm",
    "examples_ybr_color.dcm",
    "examples_jpeg2k.dcm",
    "liver_1frame.dcm",
    "rtdose.dcm",
    "reportsi.dcm",
    "waveform_ecg.dcm",
)
SIZE = 512
_NAMESPACE = uuid.UUID("6c7b1c1e-2b53-4f61-9a3e-1f0d5a5b8e21")

# Ellipsoids of a head: centre and semi-axes in (z, y, x) as fractions of the volume, added Hounsfield units.
_ELLIPSOIDS = (
    ((0.0, 0.0, 0.0), (0.95, 0.92, 0.69), 1800.0),  # skull
    ((0.0, -0.02, 0.0), (0.88, 0.87, 0.64), -765.0),  # brain
    ((0.1, 0.05, 0.15), (0.45, 0.30, 0.11), -30.0),  # ventricles
    ((0.1, 0.05, -0.15), (0.45, 0.30, 0.11), -30.0),
    ((-0.2, -0.35, 0.2), (0.20, 0.12, 0.16), 35.0),  # a haemorrhage
    ((-0.45, 0.55, 0.0), (0.18, 0.10, 0.14), -900.0),  # a sinus
)


def write_samples(folder: Path, slices: int = 40) -> list[Path]:
    """Write every sample file below ``folder`` and return the paths, in import order."""
    paths = []
    for name in SHIPPED:
        source = get_testdata_file(name, download=False)
        if source is None:
            continue
        path = folder / "shipped-with-pydicom" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Path(str(source)).read_bytes())
        paths.append(path)
    volume = head(slices)
    for number in range(slices):
        path = folder / "ct-head" / f"{number + 1:04d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        ct_slice(volume[number], number).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def head(slices: int) -> NDArray[np.int16]:
    """A head of ellipsoids with some noise: ``(slices, 512, 512)``, Hounsfield units plus 1024."""
    z = np.linspace(-1, 1, slices, dtype=np.float32)[:, None, None]
    y, x = np.meshgrid(*[np.linspace(-1, 1, SIZE, dtype=np.float32)] * 2, indexing="ij")
    volume = np.full((slices, SIZE, SIZE), 24.0, dtype=np.float32)
    for (cz, cy, cx), (az, ay, ax), units in _ELLIPSOIDS:
        inside = ((z - cz) / az) ** 2 + ((y - cy) / ay) ** 2 + ((x - cx) / ax) ** 2 <= 1
        volume[inside] += units
    noise = np.random.default_rng(20261124).normal(0, 6, volume.shape).astype(np.float32)
    whole: NDArray[np.int16] = np.clip(volume + noise, 0, 4095).astype(np.int16)
    return whole


def ct_slice(pixels: NDArray[np.int16], number: int) -> FileDataset:
    """Slice ``number`` (from 0) of the head as a CT Image Storage data set, Explicit VR Little Endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid(f"instance {number}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid("implementation")
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    _identify(data, number)
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SliceThickness = "4"
    data.KVP = "120"
    data.ImagePositionPatient = ["-120", "-120", str(4 * number)]
    data.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    data.PixelSpacing = ["0.46875", "0.46875"]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelRepresentation = 0
    data.WindowCenter, data.WindowWidth = "40", "80"
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "-1024", "1", "HU"
    data.PixelData = pixels.astype("<u2").tobytes()
    return data


def uid(name: str) -> UID:
    """A UID derived from ``name`` by a UUID (PS3.5 §B.2)."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, name).int}")


def source_frames(path: Path) -> Iterator[NDArray[np.generic]]:
    """Every frame of a file as pydicom decodes it, as stored samples, to compare with the frames served."""
    yield from iter_pixels(path, raw=True)


def sop_instance_uid(path: Path) -> str:
    """SOPInstanceUID of a file."""
    return str(
        pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID
    )


def compare(
    path: Path, stored_syntax: str | None, frames: Sequence[tuple[Mapping[str, Any], bytes]]
) -> str | None:
    """How the frames retrieved for a file differ from it, or None.

    ``frames`` are entries of ImageFrames in the metadata, each with its bytes. Their number, their checksums
    (devguide/pixel-data-verification) and all samples are compared.
    """
    data = pydicom.dcmread(path, defer_size=1024)
    if "PixelData" not in data:
        return f"{len(frames)} frames, but the file has no pixels" if frames else None
    sources = list(source_frames(path))
    if len(sources) != len(frames):
        return f"{len(frames)} frames, but the file has {len(sources)}"
    for number, (source, (entry, stored)) in enumerate(zip(sources, frames, strict=True), 1):
        checksum = entry["PixelDataChecksumFromBaseToFullResolution"][-1]["Checksum"]
        if stored_syntax == HTJ2K_RPCL:
            # OpenJPEG, which did not encode the frame.
            read_structure(codestream_of(stored))
            decoded = imagecodecs.jpeg2k_decode(stored)
            if not np.array_equal(decoded, source):
                return f"frame {number} differs from the file"
            if zlib.crc32(decoded.tobytes()) != checksum:
                return f"the checksum of frame {number} is not that of its pixels"
        elif zlib.crc32(stored) != checksum:
            return f"the checksum of frame {number} is not that of its bytes"
        elif not _has_same_bytes(data, stored, number - 1, source):
            return f"frame {number} differs from the file"
    return None


def _has_same_bytes(data: Dataset, stored: bytes, number: int, source: NDArray[np.generic]) -> bool:
    """Whether a frame that was stored verbatim has the bytes of the file."""
    if data.file_meta.TransferSyntaxUID.is_encapsulated:
        return (
            get_frame(data.PixelData, number, number_of_frames=int(data.get("NumberOfFrames", 1))) == stored
        )
    if data.BitsAllocated == 1:
        return np.packbits(source.astype(np.uint8).reshape(-1), bitorder="little").tobytes() == stored
    return np.ascontiguousarray(source).tobytes() == stored


def _identify(data: Dataset, number: int) -> None:
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = uid(f"instance {number}")
    data.StudyInstanceUID = uid("study")
    data.SeriesInstanceUID = uid("series")
    data.FrameOfReferenceUID = uid("frame of reference")
    data.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    data.PatientID = "LIGHTWELL-1"
    data.PatientBirthDate, data.PatientSex = "19700101", "O"
    data.StudyDate, data.StudyTime = "20261124", "081500"
    data.StudyID, data.AccessionNumber = "1", "DEMO-0001"
    data.StudyDescription = "Head, made of ellipsoids"
    data.ReferringPhysicianName = None
    data.Modality = "CT"
    data.SeriesNumber, data.InstanceNumber = "1", str(number + 1)
    data.SeriesDescription = "Axial 4 mm"
    data.BodyPartExamined = "HEAD"
    data.PatientPosition = "HFS"
    data.Manufacturer = "lightwell"
