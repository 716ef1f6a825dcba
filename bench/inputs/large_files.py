"""Multi-frame files of two gigabytes, native, encapsulated (RLE) and deflated: made once, always the same."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from isal import isal_zlib
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from bench.inputs.corpus import file_meta, uid
from bench.inputs.ct_phantom import SIZE, ct_slice
from bench.workspace import buckets_folder

PIXEL_BYTES = 2_000_000_000  # bytes of pixel data, as it lies in the (inflated) data set
KINDS = ("native", "encapsulated", "deflated")
_SYNTAXES = {
    "native": ExplicitVRLittleEndian,
    "encapsulated": RLELossless,
    "deflated": DeflatedExplicitVRLittleEndian,
}
_MULTI_FRAME_WORD = "1.2.840.10008.5.1.4.1.1.7.3"
_DISTINCT = 16  # frames that differ; the file repeats them
_PIXEL_DATA = struct.pack("<HH2sH", 0x7FE0, 0x0010, b"OW", 0)
_ITEM, _END = struct.pack("<HH", 0xFFFE, 0xE000), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def large_file(kind: str, size: int = PIXEL_BYTES) -> tuple[str, int]:
    """(URI of a prefix that holds just this file, number of its frames); ``size`` is of its pixels."""
    bucket = f"bench-{kind}-{size // 1_000_000}"
    folder = buckets_folder() / bucket / "in"
    frames = [ct_slice(11, number, _DISTINCT).tobytes() for number in range(_DISTINCT)]
    if kind == "encapsulated":
        frames = [_rle(frame) for frame in frames]
    count = size * _DISTINCT // sum(map(len, frames))
    if not folder.exists():
        print(f"making a {kind} file of {count} frames in {folder}")
        part = folder.with_name("part")
        part.mkdir(parents=True, exist_ok=True)
        _write(part / "large.dcm", kind, frames, count)
        part.rename(folder)
    return f"s3://{bucket}/in/", count


def _rle(frame: bytes) -> bytes:
    encoded: bytes = RLELosslessEncoder.encode(
        frame,
        rows=SIZE,
        columns=SIZE,
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=16,
        pixel_representation=1,
        photometric_interpretation="MONOCHROME2",
        number_of_frames=1,
    )
    return encoded


def _write(path: Path, kind: str, frames: list[bytes], count: int) -> None:
    data = _attributes(kind, count)
    body = DicomBytesIO()
    body.is_little_endian, body.is_implicit_VR = True, False
    write_dataset(body, data)
    meta = DicomBytesIO()
    write_file_meta_info(meta, file_meta(_MULTI_FRAME_WORD, data.SOPInstanceUID, _SYNTAXES[kind]))
    with path.open("wb") as file:
        file.write(bytes(128) + b"DICM" + meta.getvalue())
        pieces = _dataset(body.getvalue(), kind, frames, count)
        if kind != "deflated":
            file.writelines(pieces)
            return
        deflate = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
        for piece in pieces:
            file.write(deflate.compress(piece))
        file.write(deflate.flush())


def _dataset(attributes: bytes, kind: str, frames: list[bytes], count: int) -> Iterator[bytes]:
    yield attributes
    if kind != "encapsulated":
        yield _PIXEL_DATA + struct.pack("<L", count * len(frames[0]))
        for number in range(count):
            yield frames[number % len(frames)]
        return
    yield _PIXEL_DATA[:4] + b"OB" + _PIXEL_DATA[6:] + b"\xff\xff\xff\xff"
    yield _ITEM + struct.pack("<L", 0)  # no offset table
    for number in range(count):
        frame = frames[number % len(frames)]
        yield _ITEM + struct.pack("<L", len(frame))
        yield frame
    yield _END


def _attributes(kind: str, count: int) -> Dataset:
    """What stands in front of the pixel data."""
    data = Dataset()
    data.SOPClassUID = _MULTI_FRAME_WORD
    data.SOPInstanceUID = uid("giant", kind, count)
    data.StudyInstanceUID, data.SeriesInstanceUID = uid("giant", kind), uid("giant", kind, "series")
    data.PatientID, data.PatientName = "LWB-GIANT", "Giant^Kind"
    data.StudyDate, data.StudyID, data.AccessionNumber = "20251102", "1", "GIANT1"
    data.Modality, data.SeriesNumber, data.InstanceNumber = "OT", 1, 1
    data.ConversionType = "WSD"
    data.Rows = data.Columns = SIZE
    data.NumberOfFrames = count
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "0", "1", "HU"
    return data
