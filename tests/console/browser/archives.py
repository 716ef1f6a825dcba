"""What the browser saved, compared with the files that were imported."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset


def check_archive(path: Path, files: list[FileDataset]) -> None:
    """The archive holds exactly these instances, each with all of its elements as they were."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            data = pydicom.dcmread(io.BytesIO(archive.read(name)))
            found[data.SOPInstanceUID] = data
        assert len(found) == len(archive.namelist())
    assert found.keys() == {data.SOPInstanceUID for data in files}
    for data in files:
        exported = found[data.SOPInstanceUID]
        assert exported == data, data.SOPInstanceUID
        assert (exported.pixel_array == data.pixel_array).all()
