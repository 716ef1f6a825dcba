"""The 500 CT slices that every import of the benchmarks reads; made once, always the same bytes.

One series of 512x512 int16, Explicit VR Little Endian, some 130 attributes with sequences and a private
block, as a scanner writes them: most are the same in each slice, a dozen are not. Lossless HTJ2K makes them
2.4 times smaller.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from bench.inputs.ct_phantom import SIZE, ct_slice
from bench.workspace import buckets_folder

COUNT = 500
SEED = 7
REVISION = 1  # raise it whenever the bytes change
_ROOT = "1.2.826.0.1.3680043.8.498.77"
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


@dataclass(frozen=True, slots=True)
class Slice:
    """One file of the corpus; ``pixel_offset`` is where its pixel bytes start, they end with the file."""

    name: str
    sop_instance_uid: str
    size: int
    pixel_offset: int


@dataclass(frozen=True, slots=True)
class Corpus:
    """``folder`` is ``bucket`` of the server's buckets folder; the files lie below ``prefix`` there."""

    bucket: str
    prefix: str
    folder: Path
    slices: tuple[Slice, ...]

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(item.size for item in self.slices)

    def paths(self) -> list[Path]:
        return [self.folder / item.name for item in self.slices]

    def pixels(self, index: int) -> bytes:
        """The pixel bytes of one slice, as in its file."""
        item = self.slices[index]
        return (self.folder / item.name).read_bytes()[item.pixel_offset :]


def uid(*parts: object) -> str:
    """A UID that depends on ``parts`` alone."""
    digest = int(hashlib.sha256(repr((SEED, *parts)).encode()).hexdigest()[:16], 16)
    return f"{_ROOT}.{digest}"


def ct(count: int = COUNT, name: str = "ct") -> Corpus:
    """The corpus of ``count`` slices, made now if it is not there in this revision."""
    bucket = f"bench-{name}-{count}"
    folder = buckets_folder() / bucket / "in"
    manifest = buckets_folder() / f"{bucket}.json"
    if manifest.exists():
        stored = json.loads(manifest.read_text())
        if stored["revision"] == REVISION:
            return Corpus(bucket, "in/", folder, tuple(Slice(**item) for item in stored["slices"]))
    print(f"making {count} CT slices in {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder, name, number, count) for number in range(count)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        slices = list(pool.map(_write, jobs, chunksize=16))
    manifest.write_text(json.dumps({"revision": REVISION, "slices": [asdict(item) for item in slices]}))
    return Corpus(bucket, "in/", folder, tuple(slices))


def _write(job: tuple[Path, str, int, int]) -> Slice:
    folder, name, number, count = job
    data, pixels = ct_file(name, number, count)
    path = folder / f"{number:05d}.dcm"
    dcmwrite(path, data, enforce_file_format=True)
    size = path.stat().st_size
    return Slice(path.name, str(data.SOPInstanceUID), size, size - len(pixels))


def ct_file(name: str, number: int, count: int) -> tuple[Dataset, bytes]:
    """One slice of the corpus ``name`` with file meta, and its pixels; ``number`` may exceed ``count``."""
    data = dataset(name, number, count)
    pixels = ct_slice(SEED, number % count, count).tobytes()
    data.PixelData = pixels
    data["PixelData"].VR = "OW"
    data.file_meta = file_meta(CT_STORAGE, data.SOPInstanceUID, ExplicitVRLittleEndian)
    return data, pixels


def file_meta(sop_class: str, sop_instance: str, syntax: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance)
    meta.TransferSyntaxUID = UID(syntax)
    meta.ImplementationClassUID = UID(f"{_ROOT}.1")
    meta.ImplementationVersionName = "LWBENCH_1"
    meta.SourceApplicationEntityTitle = "CT01"
    return meta


def dataset(name: str, number: int, count: int) -> Dataset:
    """The attributes of one slice, without pixels."""
    data = Dataset()
    for keyword, value in (*_PATIENT_AND_STUDY.items(), *_EQUIPMENT.items(), *_SERIES.items()):
        setattr(data, keyword, value)
    data.StudyInstanceUID = uid(name, "study")
    data.SeriesInstanceUID = uid(name, "series")
    data.FrameOfReferenceUID = uid(name, "frame of reference")
    data.SOPInstanceUID = uid(name, "slice", number)
    data.InstanceNumber = number + 1
    position = round(-250 + 0.625 * number, 3)
    data.ImagePositionPatient = ["-179.648438", "-299.648438", f"{position}"]
    data.SliceLocation = f"{position}"
    second = 15 * (number % count) // count
    for keyword in ("AcquisitionTime", "ContentTime"):
        setattr(data, keyword, f"1014{10 + second}.{number * 2017 % 1000000:06d}")
    data.InstanceCreationTime = f"1015{10 + second}"
    data.AcquisitionNumber = 3
    tube = 180 + number * 37 % 160
    data.XRayTubeCurrent = tube
    data.Exposure = tube // 2
    data.CTDIvol = 6.5 + tube / 100
    data.WindowCenter, data.WindowWidth = ["40", "-600"], ["400", "1500"]
    data.SmallestImagePixelValue = -1024
    data["SmallestImagePixelValue"].VR = "SS"
    data.LargestImagePixelValue = 1300 + number * 11 % 130
    data["LargestImagePixelValue"].VR = "SS"
    data.SpecificCharacterSet = "ISO_IR 100"
    _sequences(data, name)
    block = data.private_block(0x0029, "LIGHTWELL BENCH HEADER", create=True)
    block.add_new(0x08, "CS", "IMAGE NUM 4")
    block.add_new(0x09, "LO", "20260101")
    block.add_new(0x10, "OB", hashlib.sha256(str(number).encode()).digest() * 24)
    block.add_new(0x20, "DS", ["1.5", "-2.25", "3"])
    block.add_new(0x21, "FD", number / 7)
    return data


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _sequences(data: Dataset, name: str) -> None:
    data.ProcedureCodeSequence = [_code("CTCHEST", "99LWB", "CT chest with contrast")]
    data.AnatomicRegionSequence = [_code("51185008", "SCT", "Chest")]
    data.ReferencedStudySequence = [
        _item(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=uid(name, "study"))
    ]
    data.ReferencedImageSequence = [
        _item(ReferencedSOPClassUID=CT_STORAGE, ReferencedSOPInstanceUID=uid(name, "scout", which))
        for which in range(2)
    ]
    data.RequestAttributesSequence = [
        _item(
            RequestedProcedureDescription="CT chest",
            RequestedProcedureID="RP20417",
            ScheduledProcedureStepDescription="Chest routine",
            ScheduledProcedureStepID="SPS20417",
            ScheduledProtocolCodeSequence=[_code("CHEST1", "99LWB", "Chest routine")],
        )
    ]


_PATIENT_AND_STUDY: dict[str, object] = {
    "PatientName": "Lindqvist^Märta^Elisabet",
    "PatientID": "LWB-204177",
    "IssuerOfPatientID": "LWB",
    "PatientBirthDate": "19610317",
    "PatientSex": "F",
    "PatientAge": "064Y",
    "PatientSize": "1.68",
    "PatientWeight": "71.5",
    "OtherPatientIDs": ["204177", "X-88120"],
    "EthnicGroup": "",
    "Occupation": "Teacher",
    "AdditionalPatientHistory": "Cough for six weeks, no fever.",
    "PregnancyStatus": 4,
    "StudyDate": "20251102",
    "StudyTime": "101102.512000",
    "StudyID": "20417",
    "AccessionNumber": "ACC0020417",
    "StudyDescription": "CT Thorax m. KM",
    "ReferringPhysicianName": "Osei^Kwame^^Dr.",
    "PhysiciansOfRecord": "Osei^Kwame^^Dr.",
    "NameOfPhysiciansReadingStudy": "Tanaka^Yui",
    "AdmittingDiagnosesDescription": "Chronic cough",
    "RequestingPhysician": "Osei^Kwame^^Dr.",
    "RequestedProcedureDescription": "CT chest",
    "CurrentPatientLocation": "OPD 2",
    "TimezoneOffsetFromUTC": "+0100",
}

_EQUIPMENT: dict[str, object] = {
    "Manufacturer": "Fjord Imaging",
    "ManufacturerModelName": "Aurora 128",
    "InstitutionName": "Sankt Göran Lungklinik",
    "InstitutionAddress": "Hamngatan 4, Uppsala",
    "InstitutionalDepartmentName": "Radiology",
    "StationName": "CT01",
    "DeviceSerialNumber": "A128-00417",
    "SoftwareVersions": ["VB20A", "SP2"],
    "DateOfLastCalibration": "20251101",
    "TimeOfLastCalibration": "063000",
    "SpatialResolution": "0.35",
    "PixelPaddingValue": -1024,
    "OperatorsName": "Berg^Nils",
    "PerformingPhysicianName": "Tanaka^Yui",
}

_SERIES: dict[str, object] = {
    "SOPClassUID": CT_STORAGE,
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
    "Modality": "CT",
    "SeriesNumber": 4,
    "SeriesDescription": "Thorax 0.6 Br40 S3",
    "SeriesDate": "20251102",
    "SeriesTime": "101355.204000",
    "AcquisitionDate": "20251102",
    "ContentDate": "20251102",
    "InstanceCreationDate": "20251102",
    "ProtocolName": "Thorax Routine",
    "BodyPartExamined": "CHEST",
    "PatientPosition": "HFS",
    "Laterality": "",
    "PositionReferenceIndicator": "SN",
    "ContrastBolusAgent": "APPLIED",
    "ContrastBolusRoute": "Intravenous",
    "ContrastBolusVolume": "80",
    "ScanOptions": "SPIRAL MODE",
    "KVP": "110",
    "SliceThickness": "0.6",
    "DataCollectionDiameter": "500",
    "ReconstructionDiameter": "360",
    "DistanceSourceToDetector": "1085.6",
    "DistanceSourceToPatient": "595",
    "GantryDetectorTilt": "0",
    "TableHeight": "157",
    "RotationDirection": "CW",
    "ExposureTime": 500,
    "FilterType": "FLAT",
    "GeneratorPower": "36",
    "FocalSpots": "1.2",
    "ConvolutionKernel": ["Br40f", "3"],
    "SingleCollimationWidth": 0.6,
    "TotalCollimationWidth": 38.4,
    "TableSpeed": 46.0,
    "TableFeedPerRotation": 23.0,
    "SpiralPitchFactor": 0.6,
    "ExposureModulationType": "XYZ_EC",
    "EstimatedDoseSaving": 38.5,
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
    "PixelSpacing": ["0.703125", "0.703125"],
    "ImageComments": "",
    "BurnedInAnnotation": "NO",
    "LossyImageCompression": "00",
    "PerformedProcedureStepStartDate": "20251102",
    "PerformedProcedureStepStartTime": "101102.512000",
    "PerformedProcedureStepID": "PPS20417",
    "PerformedProcedureStepDescription": "Thorax Routine",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": SIZE,
    "Columns": SIZE,
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 1,
    "RescaleIntercept": "0",
    "RescaleSlope": "1",
    "RescaleType": "HU",
    "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"],
}


if __name__ == "__main__":
    made = ct()
    print(f"{len(made.slices)} files, {made.size / 1e6:.0f} MB, {made.uri}")
