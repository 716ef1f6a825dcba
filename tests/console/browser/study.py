"""A study of what is no plain stack of images: a volume, segments on it, documents, a curve, a slide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID

from tests.support.ct_files import ROOT, ct, write

STUDY = "1100"
# Odd, so that the middle of each axis is the middle of a voxel.
SLICES, ROWS, COLUMNS = 25, 41, 57
# Millimetres from slice to slice, along a column, along a row.
SPACING = (2.0, 1.25, 0.8)
ORIGIN = (-10.0, -20.0, 30.0)
WINDOW = (200.0, 1001.0)
PLACED: dict[str, Any] = {
    "FrameOfReferenceUID": f"{ROOT}.{STUDY}.0",
    "PatientID": "WALK",
    "PatientName": "Walk^Study",
}
TILE = 64
TILES = (2, 3)
FINDING = "A block that nobody has in the head"


@dataclass(frozen=True, slots=True)
class Study:
    """Files in ``folder``; ``series`` by what they are: volume, seg, report, pdf, ecg, slide."""

    folder: Path
    series: dict[str, list[FileDataset]]
    #: (slice, row, column): the values after the modality LUT, the lowest slice first.
    volume: NDArray[np.int16]
    #: (segment, slice, row, column)
    masks: NDArray[np.bool_]
    #: (row, column, sample) of the largest level of the slide.
    slide: NDArray[np.uint8]

    @property
    def files(self) -> list[FileDataset]:
        return [data for several in self.series.values() for data in several]


def write_study(folder: Path) -> Study:
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, count) for count in (SLICES, ROWS, COLUMNS)), indexing="ij")
    # No two of its axes can be taken for each other, nor one for itself from behind.
    hill = np.exp(-6 * ((x - 0.3) ** 2 + (y + 0.4) ** 2 + (z - 0.5) ** 2))
    volume = (250 * x + 120 * y + 60 * z + 200 * hill).astype(np.int16)
    masks = np.zeros((2, SLICES, ROWS, COLUMNS), bool)
    masks[0, 4:8, 5:20, 10:30] = True
    masks[1, 6:10, 15:33, 25:28] = True
    masks[1, 6:10, 30, 3:50] = True
    slide = _slide_pixels()
    slices = [_slice(number, volume[number]) for number in range(SLICES)]
    series = {
        "volume": slices,
        "seg": [_segmentation(masks, slices)],
        "report": [_report(slices[11])],
        "pdf": [_document(number) for number in (1, 2)],
        "ecg": [_ecg()],
        "slide": _slide(slide),
    }
    for name, several in series.items():
        for number, data in enumerate(several, 1):
            write(folder / name / f"{number:03}.dcm", data)
    return Study(folder, series, volume, masks, slide)


def _slice(number: int, values: NDArray[np.int16]) -> FileDataset:
    return ct(
        number + 1,
        study=STUDY,
        Rows=ROWS,
        Columns=COLUMNS,
        # From -1000, as CT has it.
        PixelData=(values + 1000).astype("<i2").tobytes(),
        RescaleIntercept="-1000",
        RescaleSlope="1",
        WindowCenter=str(WINDOW[0]),
        WindowWidth=str(WINDOW[1]),
        ImageOrientationPatient=["1", "0", "0", "0", "1", "0"],
        ImagePositionPatient=[str(ORIGIN[0]), str(ORIGIN[1]), str(ORIGIN[2] + SPACING[0] * number)],
        PixelSpacing=[str(SPACING[1]), str(SPACING[2])],
        SliceThickness=str(SPACING[0]),
        SeriesDescription="Volume",
        StudyDescription="Everything but stacks",
        **PLACED,
    )


def _of_class(sop_class: str, series: str, number: int = 1, **attributes: Any) -> FileDataset:
    """An instance of the study without pixels."""
    data = ct(number, study=STUDY, series=series, StudyDescription="Everything but stacks", **PLACED)
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
                    "SamplesPerPixel", "PhotometricInterpretation", "PixelData"):  # fmt: skip
        delattr(data, keyword)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    return data


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def code(meaning: str, value: str = "1", scheme: str = "99WALK") -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _segmentation(masks: NDArray[np.bool_], slices: list[FileDataset]) -> FileDataset:
    frames = [(segment, at) for segment, at in np.ndindex(len(masks), SLICES) if masks[segment, at].any()]
    bits = np.concatenate([masks[segment, at].reshape(-1) for segment, at in frames])
    packed = np.packbits(bits, bitorder="little").tobytes()
    return _of_class(
        "1.2.840.10008.5.1.4.1.1.66.4",
        "2",
        Modality="SEG",
        SeriesDescription="Segments",
        SegmentationType="BINARY",
        ImageType=["DERIVED", "PRIMARY"],
        ContentLabel="SEGMENTS",
        Rows=ROWS,
        Columns=COLUMNS,
        NumberOfFrames=len(frames),
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        LossyImageCompression="00",
        PixelData=packed + b"\0" * (len(packed) % 2),
        ReferencedSeriesSequence=[item(SeriesInstanceUID=slices[0].SeriesInstanceUID)],
        SegmentSequence=[
            item(SegmentNumber=number, SegmentLabel=label, SegmentAlgorithmType="MANUAL")
            for number, label in enumerate(("Block", "Cross"), 1)
        ],
        SharedFunctionalGroupsSequence=[
            item(
                PlaneOrientationSequence=[item(ImageOrientationPatient=slices[0].ImageOrientationPatient)],
                PixelMeasuresSequence=[item(PixelSpacing=slices[0].PixelSpacing, SliceThickness=SPACING[0])],
            )
        ],
        PerFrameFunctionalGroupsSequence=[
            item(
                SegmentIdentificationSequence=[item(ReferencedSegmentNumber=segment + 1)],
                PlanePositionSequence=[item(ImagePositionPatient=slices[at].ImagePositionPatient)],
            )
            for segment, at in frames
        ],
    )


def _report(image: FileDataset) -> FileDataset:
    reference = item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
    return _of_class(
        "1.2.840.10008.5.1.4.1.1.88.22",
        "3",
        Modality="SR",
        SeriesDescription="Report",
        ValueType="CONTAINER",
        ContinuityOfContent="SEPARATE",
        CompletionFlag="COMPLETE",
        VerificationFlag="UNVERIFIED",
        ConceptNameCodeSequence=[code("Report of the walk")],
        ContentSequence=[
            item(
                RelationshipType="CONTAINS",
                ValueType="TEXT",
                ConceptNameCodeSequence=[code("Finding")],
                TextValue=FINDING,
            ),
            item(
                RelationshipType="CONTAINS",
                ValueType="NUM",
                ConceptNameCodeSequence=[code("Length")],
                MeasuredValueSequence=[
                    item(NumericValue="12.5", MeasurementUnitsCodeSequence=[code("millimetre", "mm", "UCUM")])
                ],
            ),
            item(
                RelationshipType="CONTAINS",
                ValueType="IMAGE",
                ConceptNameCodeSequence=[code("Best seen on")],
                ReferencedSOPSequence=[reference],
            ),
        ],
    )


def pdf(text: str) -> bytes:
    """One page, which says ``text`` in large letters."""
    drawn = f"BT /F1 48 Tf 60 400 Td ({text}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 500 500]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, each in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def _document(number: int) -> FileDataset:
    data = pdf(f"Letter {number}")
    return _of_class(
        "1.2.840.10008.5.1.4.1.1.104.1",
        "4",
        number,
        Modality="DOC",
        SeriesDescription="Letters",
        DocumentTitle=f"Letter {number}",
        BurnedInAnnotation="NO",
        MIMETypeOfEncapsulatedDocument="application/pdf",
        EncapsulatedDocument=data + b"\0" * (len(data) % 2),
        EncapsulatedDocumentLength=len(data),
    )


def _ecg() -> FileDataset:
    data = pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))
    like = _of_class(data.SOPClassUID, "5")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID", "PatientName",
                    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "SeriesNumber"):  # fmt: skip
        setattr(data, keyword, getattr(like, keyword))
    data.StudyDescription = "Everything but stacks"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    return data


def _slide_pixels() -> NDArray[np.uint8]:
    rows, columns = (count * TILE for count in TILES)
    y, x = np.mgrid[0:rows, 0:columns]
    squares = np.where((x // 32 + y // 32) % 2, 230, 40)
    return np.stack([x * 255 // columns, y * 255 // rows, squares], -1).astype(np.uint8)


def _slide(base: NDArray[np.uint8]) -> list[FileDataset]:
    """Two levels in tiles; those at the edge of the smaller are not full."""
    levels = []
    for number, pixels in enumerate((base, base[::2, ::2]), 1):
        rows, columns = pixels.shape[:2]
        padded = np.pad(pixels, ((0, -rows % TILE), (0, -columns % TILE), (0, 0)))
        down, across = padded.shape[0] // TILE, padded.shape[1] // TILE
        tiles = padded.reshape(down, TILE, across, TILE, 3).swapaxes(1, 2)
        levels.append(
            _of_class(
                "1.2.840.10008.5.1.4.1.1.77.1.6",
                "6",
                number,
                Modality="SM",
                SeriesDescription="Slide",
                ImageType=["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"],
                ContainerIdentifier="C-1",
                TotalPixelMatrixRows=rows,
                TotalPixelMatrixColumns=columns,
                DimensionOrganizationType="TILED_FULL",
                Rows=TILE,
                Columns=TILE,
                NumberOfFrames=down * across,
                BitsAllocated=8,
                BitsStored=8,
                HighBit=7,
                PixelRepresentation=0,
                SamplesPerPixel=3,
                PlanarConfiguration=0,
                PhotometricInterpretation="RGB",
                LossyImageCompression="00",
                NumberOfOpticalPaths=1,
                TotalPixelMatrixFocalPlanes=1,
                SharedFunctionalGroupsSequence=[
                    item(PixelMeasuresSequence=[item(PixelSpacing=[0.001 * number, 0.001 * number])])
                ],
                PixelData=np.ascontiguousarray(tiles).tobytes(),
            )
        )
    return levels
