"""Instances that are shown in different ways, in a data store of a running server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from tests.dicomweb.support.javascript_clients import imported
from tests.dicomweb.support.stored_files import StoredFiles
from tests.support.ct_files import ct, write
from tests.support.server import Server

PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"


@dataclass(slots=True)
class RenderableInstances(StoredFiles):
    """``files``: ``slice1`` to ``slice5`` of one series, which has a window; ``inverse`` in MONOCHROME1;
    ``frames`` with three frames; ``palette``; ``jpeg`` kept as it came; ``drawn`` with an overlay; ``wide``
    with pixels that are not square; ``pdf`` alone in a study; ``report`` and ``video`` that cannot be shown.
    """

    def picture(self, path: str) -> NDArray[Any]:
        """The samples of a PNG."""
        reply = self.get(path, "image/png")
        assert reply.status == 200, reply.body
        assert reply.headers["content-type"] == "image/png"
        return np.asarray(imagecodecs.png_decode(reply.body))


def pixels(data: FileDataset) -> NDArray[Any]:
    """The first frame of a CT as it was made."""
    size = data.Rows * data.Columns
    return np.frombuffer(data.PixelData, "<i2", size).reshape(data.Rows, data.Columns).astype(float)


def store_renderable(server: Server) -> RenderableInstances:
    """A new data store with all of them."""
    datastore = server.client().create_datastore(datastoreName="renderable")["datastoreId"]
    files = _files()
    folder = server.data / "buckets" / "in-bucket" / "renderable"
    for name, data in files.items():
        write(folder / f"{name}.dcm", data)
    imported(server, datastore, "renderable/")
    return RenderableInstances(server, datastore, files)


def _files() -> dict[str, FileDataset]:
    window = {"WindowCenter": "40.5", "WindowWidth": "401", "RescaleSlope": "1", "RescaleIntercept": "0"}
    files = {f"slice{n}": ct(n, study="9", size=64, **window) for n in range(1, 6)}
    files["inverse"] = ct(
        1, study="9", series="2", size=64, PhotometricInterpretation="MONOCHROME1", **window
    )
    frames = ct(1, study="9", series="3", size=32, NumberOfFrames=3, **window)
    frames.PixelData = np.repeat(np.array([-160, 40, 240], "<i2"), 32 * 32).tobytes()
    files["frames"] = frames
    files["palette"] = _placed("examples_palette.dcm", "4")
    files["jpeg"] = _placed("SC_rgb_jpeg_dcmtk.dcm", "5")
    files["drawn"] = _drawn()
    files["wide"] = ct(1, study="9", series="7", size=64, PixelSpacing=["0.5", "1"], **window)
    files["pdf"] = _document()
    files["report"] = _placed("reportsi.dcm", "1", study="11")
    files["video"] = _video()
    return files


def _placed(name: str, series: str, study: str = "9") -> FileDataset:
    data = pydicom.dcmread(str(get_testdata_file(name)))
    like = ct(1, study=study, series=series)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID", "PatientName",
                    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "SeriesNumber"):  # fmt: skip
        setattr(data, keyword, getattr(like, keyword))
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    return data


def _drawn() -> FileDataset:
    data = ct(1, study="9", series="6", size=64, WindowCenter="5000", WindowWidth="2")
    plane = np.zeros((64, 64), np.uint8)
    plane[10, 20] = 1
    for element, vr, value in (
        (0x10, "US", 64), (0x11, "US", 64), (0x40, "CS", "G"), (0x50, "SS", [1, 1]), (0x100, "US", 1),
        (0x102, "US", 0), (0x3000, "OW", np.packbits(plane.reshape(-1), bitorder="little").tobytes()),
    ):  # fmt: skip
        data.add_new((0x6000, element), vr, value)
    return data


def _without_pixels(data: FileDataset, sop_class: str) -> FileDataset:
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
                    "SamplesPerPixel", "PhotometricInterpretation", "PixelData"):  # fmt: skip
        delattr(data, keyword)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    return data


def _document() -> FileDataset:
    data = _without_pixels(ct(1, study="10"), "1.2.840.10008.5.1.4.1.1.104.1")
    data.Modality = "DOC"
    data.MIMETypeOfEncapsulatedDocument = "application/pdf"
    data.EncapsulatedDocument = PDF + b"\0" * (len(PDF) % 2)
    data.EncapsulatedDocumentLength = len(PDF)
    return data


def _video() -> FileDataset:
    data = ct(1, study="12", size=16, NumberOfFrames=2)
    data.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.102")
    stream = b"\x00\x00\x00\x18ftypmp42" + b"\0" * 52
    data.PixelData = pydicom.encaps.encapsulate([stream])
    data["PixelData"].is_undefined_length = True
    data["PixelData"].VR = "OB"
    return data
