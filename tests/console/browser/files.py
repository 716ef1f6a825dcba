"""What the walk drops on the page: a real study, and files whose values try to be HTML."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from tests.support.ct_files import ct, write
from tests.support.shared_data import SHARED

IMAGE = "<img src=x onerror=owned=1>"
# In a name, = separates groups of components.
NAME = "<script>owned</script>"
SCRIPT = '"><script>owned=1</script>'

PHANTOM = SHARED / "ct-head-phantom"
_THICK = "STD BRAIN 5MM"


@dataclass(frozen=True)
class Series:
    """One series as files in a folder, in the order in which a viewer shows it."""

    folder: Path
    files: list[Path]
    patient: str
    study: str

    @cached_property
    def by_uid(self) -> dict[str, FileDataset]:
        """SOPInstanceUID → the instance."""
        read = map(pydicom.dcmread, self.files)
        return {dataset.SOPInstanceUID: dataset for dataset in read}


def head(folder: Path) -> Series:
    """28 slices of a phantom's head, or copies of the small CT of pydicom's wheel where those are missing."""
    folder.mkdir(parents=True)
    found = []
    if PHANTOM.is_dir():
        for path in sorted(PHANTOM.iterdir()):
            head = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesDescription"])
            if head.SeriesDescription == _THICK:
                found.append(Path(shutil.copyfile(path, folder / path.name)))
    else:
        for number in range(1, 13):
            slice_ = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
            slice_.InstanceNumber = number
            slice_.ImagePositionPatient[2] = float(-number)
            uid = UID(f"1.2.826.0.1.3680043.10.998.{number}")
            slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = uid
            found.append(write(folder / f"{number:03}.dcm", slice_))
    found.sort(key=lambda path: int(pydicom.dcmread(path, stop_before_pixels=True).InstanceNumber))
    first = pydicom.dcmread(found[0], stop_before_pixels=True)
    return Series(folder, found, str(first.PatientName), str(first.get("StudyDescription", "")))


# Of pydicom's wheel: signed, RGB, indices of a palette, odd numbers of rows and columns.
KINDS = [
    *("CT_small.dcm", "MR_small.dcm", "SC_rgb_small_odd.dcm"),
    *("examples_rgb_color.dcm", "examples_palette.dcm"),
]

# No stacks of images: a waveform, a report, a dose.
OTHER_KINDS = ["waveform_ecg.dcm", "test-SR.dcm", "rtdose.dcm"]


def samples(folder: Path, names: list[str]) -> dict[str, FileDataset]:
    """These files of pydicom's wheel, copied to ``folder``: SOPInstanceUID → what it holds."""
    folder.mkdir(parents=True)
    paths = [Path(shutil.copyfile(str(get_testdata_file(name)), folder / name)) for name in names]
    return {dataset.SOPInstanceUID: dataset for dataset in map(pydicom.dcmread, paths)}


def hostile(folder: Path) -> Path:
    """Files whose names and values, private ones too, would be HTML if somebody took them for it."""
    for number in (1, 2):
        data = ct(
            number,
            study="666",
            PatientName=NAME,
            PatientID=SCRIPT,
            StudyDescription=SCRIPT,
            SeriesDescription=IMAGE,
            AccessionNumber="<b>A</b>",
            StudyID="<i>1</i>",
            InstitutionName=IMAGE,
            ReferringPhysicianName=NAME,
        )
        block = data.private_block(0x0029, IMAGE, create=True)
        block.add_new(0x10, "LO", SCRIPT)
        block.add_new(0x11, "LT", IMAGE)
        write(folder / f"{IMAGE} {number}.dcm", data)
    # Not DICOM: its name stands among the reasons.
    (folder / f"{IMAGE}.txt").write_text("no DICOM\n")
    return folder
