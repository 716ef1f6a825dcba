"""A data store of a running server with a few instances of each kind, and the ways to get them back."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from typing import Any

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID
from sqlalchemy import select

from lightwell.stores.db.tables import image_set
from tests.dicomweb.support.javascript_clients import imported
from tests.dicomweb.support.stored_files import StoredFiles
from tests.support.ct_files import ROOT, ct, write
from tests.support.server import Reply, Server

EXPLICIT = "1.2.840.10008.1.2.1"
HTJ2K = "1.2.840.10008.1.2.4.202"
JPEG2000 = "1.2.840.10008.1.2.4.90"
JPEG = "1.2.840.10008.1.2.4.50"
H264 = "1.2.840.10008.1.2.4.102"
VIDEO = b"\0\0\0\1" + np.random.default_rng(9).bytes(5_000_000)
FRAMES = 'multipart/related; type="application/octet-stream"; transfer-syntax='


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body; header names in lower case."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class SampleDatastore(StoredFiles):
    """The data store.

    ``files`` are the files as they were imported, by name: ``ct1``, ``ct2`` and ``ct3`` of one series;
    ``frames`` with four frames, ``colour`` in RGB, ``jpeg`` kept as it came, ``bits`` with one bit a pixel,
    ``report`` without pixels, ``large`` with a private value of 1.5 MB, ``blob`` whose pixels could not be
    split into frames, ``video`` of 5 MB that is none inside, each in a series of its own. ``other`` is of the
    series of ``ct1`` and contradicts it: it lies in the set ``non_primary`` (its id).
    """

    non_primary: str = ""


def parts(reply: Reply) -> list[Part]:
    """The parts of a multipart answer, whose every line has to end as clients need it."""
    kind, _, rest = reply.headers["content-type"].partition(";")
    assert kind == "multipart/related"
    boundary = rest.rpartition("boundary=")[2].encode()
    assert b'"' not in boundary
    marker = b"\r\n--" + boundary
    first, *others = (b"\r\n" + reply.body).split(marker)
    assert first == b"" and others[-1] == b"--\r\n"
    found = []
    for other in others[:-1]:
        head, _, body = other.partition(b"\r\n\r\n")
        assert head.startswith(b"\r\nContent-Type: ") and b'"' not in head
        headers = BytesParser().parsebytes(head[2:] + b"\r\n\r\n")
        found.append(Part({name.lower(): value for name, value in headers.items()}, body))
    return found


def read(data: bytes) -> FileDataset:
    return pydicom.dcmread(io.BytesIO(data))


def fill(server: Server) -> SampleDatastore:
    """A new data store of the server with all of it."""
    datastore = server.client().create_datastore(datastoreName="sample")["datastoreId"]
    files = _files()
    folder = server.data / "buckets" / "in-bucket" / "sample"
    for number, (name, data) in enumerate(files.items()):
        write(folder / f"{number:02}-{name}.dcm", data)
    imported(server, datastore, "sample/")
    made = SampleDatastore(server, datastore, files)
    with server.database() as db, db.read() as conn:
        (made.non_primary,) = conn.execute(select(image_set.c.id).where(~image_set.c.is_primary)).scalars()
    return made


def _files() -> dict[str, FileDataset]:
    files = {f"ct{number}": ct(number, size=70) for number in (1, 2, 3)}
    frames = ct(1, series="2", size=70, NumberOfFrames=4)
    pixels = np.random.default_rng(2).integers(-1000, 2000, (4, 70, 70), np.int16)
    frames.PixelData = pixels.tobytes()
    files["frames"] = frames
    eight: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    colour = ct(1, series="3", size=66, SamplesPerPixel=3, PhotometricInterpretation="RGB", **eight)
    colour.PlanarConfiguration = 1
    colour.PixelData = np.random.default_rng(3).integers(0, 256, (3, 66, 66), np.uint8).tobytes()
    files["colour"] = colour
    jpeg = pydicom.dcmread(str(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm")))
    _place(jpeg, "4")
    files["jpeg"] = jpeg
    bits = ct(1, series="5", size=12, BitsAllocated=1, BitsStored=1, HighBit=0, PixelRepresentation=0)
    bits.PixelData = np.random.default_rng(5).integers(0, 256, 18, np.uint8).tobytes()
    files["bits"] = bits
    report = pydicom.dcmread(str(get_testdata_file("reportsi.dcm")))
    _place(report, "6")
    files["report"] = report
    large = ct(1, series="7", size=16)
    block = large.private_block(0x0019, "LIGHT", create=True)
    block.add_new(0x01, "OB", bytes(range(256)) * 6144)
    files["large"] = large
    blob = ct(1, series="8", size=16, NumberOfFrames=3)
    files["blob"] = blob
    video = ct(
        1, series="9", size=16, SamplesPerPixel=3, PhotometricInterpretation="YBR_PARTIAL_420", **eight
    )
    video.PlanarConfiguration, video.NumberOfFrames = 0, 25
    video.file_meta.TransferSyntaxUID = UID(H264)
    video.PixelData = encapsulate([VIDEO], has_bot=False)
    video["PixelData"].is_undefined_length = True
    files["video"] = video
    files["other"] = ct(9, PatientID="P2", size=16)
    return files


def _place(data: FileDataset, series: str) -> None:
    """Put a file into the study of the others."""
    like = ct(1, series=series)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID", "PatientName",
                    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "SeriesNumber"):  # fmt: skip
        setattr(data, keyword, getattr(like, keyword))
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    assert data.StudyInstanceUID.startswith(ROOT)
