"""CT series of many small slices, for what depends on the number of instances and not on their pixels."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from bench.inputs.corpus import CT_STORAGE, dataset, file_meta
from bench.inputs.ct_phantom import ct_slice
from bench.workspace import buckets_folder

SIZE = 16
ELEMENTS = 80  # in the data set of a slice, pixels aside
_BUCKET = "bench-small-slices"
_REVISION = 1


def series(name: str, count: int, first: int = 0) -> str:
    """The S3 URI of ``count`` slices of a series, from number ``first`` on; made if they are not there."""
    prefix = f"{name}-{first}-{count}"
    folder = buckets_folder() / _BUCKET / prefix
    done = buckets_folder() / f"{_BUCKET}-{prefix}.json"
    if not done.exists() or json.loads(done.read_text()) != {"revision": _REVISION}:
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [(folder, name, number) for number in range(first, first + count)]
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            for _ in pool.map(_write, jobs, chunksize=64):
                pass
        done.write_text(json.dumps({"revision": _REVISION}))
    return f"s3://{_BUCKET}/{prefix}/"


def _write(job: tuple[Path, str, int]) -> None:
    folder, name, number = job
    data = slim(dataset(name, number, 5_000))
    data.Rows = data.Columns = SIZE
    data.PixelData = ct_slice(7, number % 500, 500)[:SIZE, :SIZE].tobytes()
    data["PixelData"].VR = "OW"
    data.file_meta = file_meta(CT_STORAGE, data.SOPInstanceUID, ExplicitVRLittleEndian)
    dcmwrite(folder / f"{number:05d}.dcm", data, enforce_file_format=True)


def slim(data: Dataset) -> Dataset:
    """The data set without its private block, and without sequences and whatever else is beyond 80."""
    data.remove_private_tags()
    needed = {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID"}
    needed |= {"PatientName", "StudyDate", "AccessionNumber", "StudyID", "SeriesNumber", "InstanceNumber"}
    spare = sorted(data, key=lambda element: (element.VR != "SQ", element.tag.group == 0x28, element.tag))
    for element in [one for one in spare if one.keyword not in needed][: max(0, len(data) - ELEMENTS)]:
        del data[element.tag]
    return data
