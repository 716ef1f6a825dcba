"""The files of the random runs: small CT slices with what makes image sets differ."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from random import Random
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from tests.support.ct_files import ROOT, ct

STUDIES, SERIES, PLACES = ("1", "2"), ("1", "2"), range(1, 7)

#: What makes another group of a series, by one value each.
_GROUPS: tuple[Mapping[str, Any], ...] = (
    *({},) * 6,
    {"PatientID": "P2"},
    {"StudyDate": "20231231"},
    {"AccessionNumber": "A2"},
    {"StudyID": "S2"},
    {"SeriesNumber": "77"},
    {"PatientID": ""},
)
#: What differs between instances of one set.
_ODD: tuple[Mapping[str, Any], ...] = (
    *({},) * 5,
    {"PatientName": "DÖE^JANE", "PatientWeight": "61.5"},
    {"StudyDescription": "other", "PatientAge": None},
    {"Manufacturer": "Other", "SoftwareVersions": ["2", "b"]},
    {"SeriesDescription": None, "StationName": "CT02"},
)


def study_uid(study: str) -> str:
    return f"{ROOT}.{study}"


def series_uid(study: str, series: str) -> str:
    return f"{ROOT}.{study}.{series}"


def batch(chance: Random, first_number: int) -> dict[str, bytes]:
    """Some files of one job by name. InstanceNumbers begin at ``first_number`` and are never reused."""
    files: dict[str, bytes] = {}
    for part in range(chance.choice((1, 1, 1, 2))):
        study, series = chance.choice(STUDIES), chance.choice(SERIES)
        group = chance.choice(_GROUPS)
        for _ in range(chance.randint(1, 3)):
            more = {**chance.choice(_ODD), **group}
            number = first_number + len(files)
            files[f"{part}-{len(files)}.dcm"] = _file(chance, number, study, series, more)
    return files


def _file(chance: Random, number: int, study: str, series: str, more: Mapping[str, Any]) -> bytes:
    uid = f"{series_uid(study, series)}.{chance.choice(PLACES)}"
    data = ct(number, series=series, study=study, size=8, SOPInstanceUID=uid)
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientBirthDate, data.PatientSex, data.PatientWeight = "19700203", "F", "61"
    data.StudyDescription, data.ReferringPhysicianName, data.PatientAge = "Kopf nativ", "", "054Y"
    data.Manufacturer, data.SoftwareVersions, data.SeriesDescription = "Maker", ["1"], "head"
    data.BodyPartExamined, data.StationName = "HEAD", "CT01"
    data.ImageType = ["ORIGINAL", "PRIMARY", "", "AXIAL"]
    data.WindowCenter, data.WindowWidth = ["40", "600"], ["80", "2800"]
    data.PixelSpacing, data.SliceLocation, data.RescaleSlope = ["0.5", "0.50"], f"{number}.5", "1"
    data.ImageComments, data.KVP, data.ReferencePixelX0 = f"slice {number}", "120", -number
    data.TableSpeed = 0.1 * number
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-A0100", "SRT", "Brain"
    data.AnatomicRegionSequence = [code]
    block = data.private_block(0x0009, "LIGHTWELL TEST", create=True)
    block.add_new(0x01, "LO", f"private {number}")
    block.add_new(0x02, "UN", bytes((number % 256, 1)))
    for keyword, value in more.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    data.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    out = BytesIO()
    pydicom.dcmwrite(out, data, enforce_file_format=True)
    return out.getvalue()
