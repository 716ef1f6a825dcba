"""A DICOM Part 10 file built again from its original data set and its stored frames.

Source: PS3.10 §7 (file format), PS3.5 §8 and A.4 (encoding of pixel data). Transcoded frames come out
as native Explicit VR Little Endian; frames that were kept come out as they came.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from lightwell.errors import InputError
from lightwell.imaging.image import ImageDescription

PIXEL_TAGS = {"PixelData": 0x7FE00010, "FloatPixelData": 0x7FE00008, "DoubleFloatPixelData": 0x7FE00009}
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002, 0x7FE00003)
_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
_LONGEST = 0xFFFFFFFE


@dataclass(frozen=True, slots=True)
class PixelValue:
    """The value of the pixel element to write.

    ``pieces`` are its bytes in order; ``length`` is their sum, or None for an encapsulated value: its pieces
    are items and delimiter already. ``syntax`` is the transfer syntax that the file will have.
    """

    keyword: str
    vr: str
    syntax: str
    length: int | None
    pieces: Iterable[bytes]
    image: ImageDescription | None = None


def write_part10(
    out: BinaryIO, original: bytes, pixel: PixelValue | None, override: Mapping[str, Any] | None = None
) -> None:
    """Write preamble, file meta, data set and pixel element to ``out``.

    ``original`` is the file meta group and the data set without its pixel element, in the syntax that the
    file meta names (a deflated one inflated). Raises `InputError` where the value does not fit its syntax.
    """
    meta, data = _read(original)
    source = UID(meta.TransferSyntaxUID)
    syntax = UID(pixel.syntax) if pixel else source
    if syntax == DeflatedExplicitVRLittleEndian:
        syntax = ExplicitVRLittleEndian
    meta.TransferSyntaxUID = syntax
    if pixel and pixel.length is not None and pixel.length > _LONGEST:
        raise InputError(
            f"{pixel.length} bytes of pixel data do not fit a native DICOM file; the most is {_LONGEST}"
        )
    if pixel and pixel.image:
        _describe(data, pixel.image)
    out.write(b"\0" * 128 + b"DICM")
    head = DicomBytesIO()
    write_file_meta_info(head, meta, enforce_standard=False)
    out.write(head.getvalue())
    tag = PIXEL_TAGS[pixel.keyword] if pixel else 0xFFFFFFFF
    _write_elements(out, data[:tag], syntax)
    if pixel:
        for chunk in _element(tag, pixel, syntax):
            out.write(chunk)
        _write_elements(out, data[tag + 1 :], syntax)


def encapsulated(frames: Iterable[tuple[int, Iterable[bytes]]]) -> Iterator[bytes]:
    """Item by item: an empty Basic Offset Table, one fragment a frame, the delimiter (PS3.5 A.4).

    ``frames`` are the length of each frame and its bytes in pieces.
    """
    yield _ITEM + struct.pack("<L", 0)
    for length, pieces in frames:
        odd = length % 2
        yield _ITEM + struct.pack("<L", length + odd)
        yield from pieces
        if odd:
            yield b"\0"
    yield _END


def joined_bits(frames: Iterable[bytes], bits: int) -> Iterator[bytes]:
    """One-bit frames of ``bits`` bits each, joined without the padding between them (PS3.5 §8.1.1)."""
    if bits % 8 == 0:
        yield from frames
        return
    rest: NDArray[np.uint8] = np.empty(0, np.uint8)
    for frame in frames:
        unpacked = np.unpackbits(np.frombuffer(frame, np.uint8), count=bits, bitorder="little")
        rest = np.concatenate([rest, unpacked])
        whole = len(rest) // 8 * 8
        yield np.packbits(rest[:whole], bitorder="little").tobytes()
        rest = rest[whole:]
    if len(rest):
        yield np.packbits(rest, bitorder="little").tobytes()


def _read(original: bytes) -> tuple[pydicom.dataset.FileMetaDataset, Dataset]:
    data = pydicom.dcmread(io.BytesIO(b"\0" * 128 + b"DICM" + _inflated_meta(original)), force=True)
    for tag in _OFFSET_TABLES:
        if tag in data:
            del data[Tag(tag)]
    return data.file_meta, data


def _inflated_meta(original: bytes) -> bytes:
    """A deflated file's data set is kept inflated: its meta must say so before pydicom reads it."""
    deflated = str(DeflatedExplicitVRLittleEndian).encode()
    place = original.find(deflated, 0, 4096)
    if place < 0 or original[place - 4 : place - 2] != b"UI":
        return original
    # The UID element is last of what matters here: same length, padded with NUL as UI allows (PS3.5 §6.2).
    plain = str(ExplicitVRLittleEndian).encode().ljust(len(deflated), b"\0")
    return original[:place] + plain + original[place + len(deflated) :]


def _lay_over(data: Dataset, override: Mapping[str, Any]) -> None:
    """The elements of the DICOM JSON in the place of the file's own; text is UTF-8 from then on."""
    data.decode()
    data.SpecificCharacterSet = "ISO_IR 192"
    for element in Dataset.from_json(dict(override)):
        if element.tag.group != 2 and element.tag not in (0x00080005, *PIXEL_TAGS.values()):
            data[element.tag] = element


def _describe(data: Dataset, image: ImageDescription) -> None:
    """Make the Image Pixel module say what the native frames are."""
    if image.samples > 1:
        data.PlanarConfiguration = image.planar
    data.PhotometricInterpretation = image.photometric


def _write_elements(out: BinaryIO, data: Dataset, syntax: UID) -> None:
    if not len(data):
        return
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    write_dataset(buffer, data)
    out.write(buffer.getvalue())


def _element(tag: int, pixel: PixelValue, syntax: UID) -> Iterator[bytes]:
    order = "<" if syntax.is_little_endian else ">"
    length = 0xFFFFFFFF if pixel.length is None else pixel.length + pixel.length % 2
    yield struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if syntax.is_implicit_VR:
        yield struct.pack(f"{order}L", length)
    else:
        yield pixel.vr.encode() + struct.pack(f"{order}HL", 0, length)
    written = 0
    for piece in pixel.pieces:
        written += len(piece)
        yield piece
    if pixel.length is not None:
        if written != pixel.length:
            raise InputError(f"the stored frames give {written} bytes of pixel data, {pixel.length} are due")
        if written % 2:
            yield b"\0"
