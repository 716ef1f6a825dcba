"""MR instances of 256 by 256 pixels, many series of 200: what an import costs apart from its codec.

Explicit VR Little Endian, 16 bits allocated and 12 stored, 131 KB of pixels and some 120 attributes a file;
lossless HTJ2K makes the pixels 2.5 times smaller.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from bench.inputs.corpus import dataset, file_meta, uid
from bench.inputs.ct_phantom import ct_slice
from bench.workspace import buckets_folder

SIZE = 256
SERIES = 200  # instances of each
_SERIES_OF_A_STUDY = 5
_MR_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
_REVISION = 1


@dataclass(frozen=True, slots=True)
class SmallInstances:
    """``paths`` are the files below ``uri``, in the order of their series."""

    uri: str
    paths: tuple[Path, ...]


def instances(count: int) -> SmallInstances:
    """The first ``count`` instances, a multiple of `SERIES`; made if they are not there."""
    bucket = f"bench-small-mr-{count}"
    folder = buckets_folder() / bucket / "in"
    done = buckets_folder() / f"{bucket}.json"
    paths = tuple(
        folder / f"{number:04d}" / f"{place:03d}.dcm"
        for number in range(count // SERIES)
        for place in range(SERIES)
    )
    if not done.exists() or json.loads(done.read_text()) != {"revision": _REVISION}:
        print(f"making {count:,} MR instances in {folder}")
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            for _ in pool.map(_write_place, [(folder, place, count // SERIES) for place in range(SERIES)]):
                pass
        done.write_text(json.dumps({"revision": _REVISION}))
    return SmallInstances(f"s3://{bucket}/in/", paths)


def _write_place(job: tuple[Path, int, int]) -> None:
    """The instance at one place of every series: the same anatomy, moved, with the same noise."""
    folder, place, count = job
    slice_ = _mr_slice(place)
    for number in range(count):
        path = folder / f"{number:04d}" / f"{place:03d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = dataset("small-mr", number * SERIES + place, count * SERIES)
        study = number // _SERIES_OF_A_STUDY
        data.StudyInstanceUID = uid("small-mr", "study", study)
        data.SeriesInstanceUID = uid("small-mr", "series", number)
        data.PatientID = f"LWS-{study:05d}"
        data.AccessionNumber = f"S{study:07d}"
        data.SeriesNumber = number % _SERIES_OF_A_STUDY + 1
        data.InstanceNumber = place + 1
        data.SOPClassUID, data.Modality = UID(_MR_STORAGE), "MR"
        data.Rows = data.Columns = SIZE
        data.BitsStored, data.HighBit, data.PixelRepresentation = 12, 11, 0
        data.RescaleIntercept = 0
        for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
            del data[keyword]
        data.PixelData = np.roll(slice_, (3 * number % 40 - 20, 7 * number % 40 - 20), (0, 1)).tobytes()
        data["PixelData"].VR = "OW"
        data.file_meta = file_meta(_MR_STORAGE, data.SOPInstanceUID, ExplicitVRLittleEndian)
        dcmwrite(path, data, enforce_file_format=True)


def _mr_slice(place: int) -> NDArray[np.uint16]:
    smaller = ct_slice(11, place, SERIES, noise=20)[::2, ::2]
    return np.clip(smaller.astype(np.int32) + 1000, 0, 4095).astype("<u2")
