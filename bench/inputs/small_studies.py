"""Many small studies of one file each, for search: made once, always the same bytes."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from bench.inputs.corpus import file_meta, uid
from bench.inputs.filled_store import FAMILY, GIVEN
from bench.workspace import buckets_folder

REVISION = 2  # raise it whenever the bytes change
DAYS = 3650
_FIRST_DAY = date(2015, 1, 1)
_CR = "1.2.840.10008.5.1.4.1.1.1"
_KEPT = 200  # values of each kind, for the queries


@dataclass(frozen=True, slots=True)
class Studies:
    """``folder`` holds ``count`` files; the values occur in it, in the same order."""

    bucket: str
    folder: Path
    count: int
    patients: list[str]
    accessions: list[str]
    studies: list[str]
    dates: list[str]

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/in/"


def studies(count: int) -> Studies:
    """The folder with ``count`` studies, made now if it is not there in this revision."""
    bucket = f"bench-studies-{count}"
    folder = buckets_folder() / bucket / "in"
    notes = buckets_folder() / f"{bucket}.json"
    if notes.exists():
        known = json.loads(notes.read_text())
        if known.pop("revision") == REVISION:
            return Studies(**{**known, "folder": folder})
    print(f"making {count:,} studies in {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    found = Studies(bucket, folder, count, [], [], [], [])
    random_ = random.Random(count)
    for number in range(count):
        data = _file(random_, number)
        dcmwrite(folder / f"{number:06d}.dcm", data, enforce_file_format=True)
        if number % max(1, count // _KEPT) == 0:
            found.patients.append(str(data.PatientID))
            found.accessions.append(str(data.AccessionNumber))
            found.studies.append(str(data.StudyInstanceUID))
            found.dates.append(str(data.StudyDate))
    notes.write_text(json.dumps({**asdict(found), "folder": str(folder), "revision": REVISION}))
    return found


def _file(random_: random.Random, number: int) -> Dataset:
    data = Dataset()
    data.SOPClassUID = _CR
    data.SOPInstanceUID, data.StudyInstanceUID = uid("many", number), uid("many", number, "study")
    data.SeriesInstanceUID = uid("many", number, "series")
    data.PatientName = f"{random_.choice(FAMILY)}^{random_.choice(GIVEN)}"
    data.PatientID, data.PatientBirthDate = f"P{number:08d}", f"19{random_.randint(30, 99)}0715"
    data.PatientSex = random_.choice("FMO")
    data.StudyDate = (_FIRST_DAY + timedelta(days=random_.randrange(DAYS))).strftime("%Y%m%d")
    data.StudyTime, data.StudyID = f"{random_.randrange(24):02d}1500", str(number % 100_000)
    data.AccessionNumber, data.StudyDescription = f"ACC{number:09d}", "Chest two views"
    data.ReferringPhysicianName = f"{random_.choice(FAMILY)}^Dr"
    data.Modality, data.SeriesNumber, data.InstanceNumber = "CR", 1, 1
    data.SeriesDescription, data.ProtocolName = random_.choice(("Chest pa", "Chest lateral")), "Chest"
    data.BodyPartExamined, data.StationName = "CHEST", f"CR{random_.randint(1, 20):03d}"
    data.Manufacturer, data.ManufacturerModelName = random_.choice(("ACME", "Emca")), "Plate 3"
    data.InstitutionName, data.OperatorsName = "St. Elsewhere", f"{random_.choice(FAMILY)}^Op"
    data.SeriesDate, data.SeriesTime = data.StudyDate, data.StudyTime
    data.Rows = data.Columns = 16
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = bytes(512)
    data["PixelData"].VR = "OW"
    data.file_meta = file_meta(_CR, data.SOPInstanceUID, ExplicitVRLittleEndian)
    return data
