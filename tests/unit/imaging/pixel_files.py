"""Pixel elements for tests: built by hand, or taken out of real files."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from lightwell.imaging.dataset.byte_source import BytesSource
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.part10 import Part10
from lightwell.imaging.instances.parse import PixelElement
from lightwell.imaging.pixels.frame_stream import FrameStream, open_frame_stream

EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"
DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"


def image(**changes: Any) -> ImageDescription:
    """A 4 × 6 image of unsigned 16-bit grey values, 12 of them in use."""
    values: dict[str, Any] = {
        "rows": 4,
        "columns": 6,
        "samples": 1,
        "bits_allocated": 16,
        "bits_stored": 12,
        "signed": False,
        "photometric": "MONOCHROME2",
        "planar": 0,
        "frames": 1,
        "frames_declared": True,
        "pixel_keyword": "PixelData",
    }
    return ImageDescription(**(values | changes))


def image_of(samples: NDArray[Any], **changes: Any) -> ImageDescription:
    """The description of one frame of ``samples``."""
    bits = samples.dtype.itemsize * 8
    values = {
        "rows": samples.shape[0],
        "columns": samples.shape[1],
        "samples": samples.shape[2] if samples.ndim == 3 else 1,
        "bits_allocated": bits,
        "bits_stored": bits,
        "signed": samples.dtype.kind == "i",
        "photometric": "RGB" if samples.ndim == 3 else "MONOCHROME2",
    }
    return image(**(values | changes))


def item(value: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(value)) + value


def items(*fragments: bytes, table: tuple[int, ...] = (), end: bytes = DELIMITER) -> bytes:
    """The value of an encapsulated element."""
    return item(struct.pack(f"<{len(table)}I", *table)) + b"".join(map(item, fragments)) + end


def opened(
    value: bytes,
    syntax: str,
    *,
    encapsulated: bool,
    vr: str = "OW",
    keyword: str = "PixelData",
    **places: Any,
) -> tuple[Part10, PixelElement]:
    """A file that is nothing but the value of its pixel element."""
    big = syntax == BIG
    part10 = Part10(BytesSource(value), syntax, b"", 0, not big, syntax == "1.2.840.10008.1.2")
    return part10, PixelElement(keyword, vr, 0, -1 if encapsulated else len(value), **places)


def store_native(
    value: bytes, description: ImageDescription, syntax: str = EXPLICIT, vr: str = "OW", store: str = "HTJ2K"
) -> FrameStream:
    part10, pixel = opened(value, syntax, encapsulated=False, vr=vr, keyword=description.pixel_keyword)
    return open_frame_stream(part10, description, pixel, store)


def store_encapsulated(
    value: bytes, description: ImageDescription, syntax: str, store: str = "HTJ2K", **more: Any
) -> FrameStream:
    part10, pixel = opened(value, syntax, encapsulated=True, vr="OB")
    return open_frame_stream(part10, description, pixel, store, **more)


def read_dataset(path: Path) -> pydicom.Dataset:
    """A file as pydicom reads it; the files of these tests give it much to warn about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, force=True)


def opened_dataset(data: pydicom.Dataset) -> tuple[Part10, ImageDescription, PixelElement]:
    """The pixel element of ``data`` and its description, by pydicom's reading."""
    names = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    keyword = next(name for name in names if name in data)
    element = data[keyword]
    syntax = str(data.file_meta.TransferSyntaxUID)
    value = bytes(element.value)
    part10, pixel = opened(
        value, syntax, encapsulated=bool(element.is_undefined_length), vr=element.VR, keyword=keyword
    )
    bits = int(data.BitsAllocated)
    description = ImageDescription(
        rows=data.Rows,
        columns=data.Columns,
        samples=data.SamplesPerPixel,
        bits_allocated=bits,
        bits_stored=data.get("BitsStored", bits),
        signed=bool(data.get("PixelRepresentation", 0)),
        photometric=data.PhotometricInterpretation,
        planar=data.get("PlanarConfiguration") or 0,
        frames=int(data.get("NumberOfFrames") or 1),
        frames_declared="NumberOfFrames" in data,
        pixel_keyword=keyword,
    )
    return part10, description, pixel


def noise(shape: tuple[int, ...], kind: str, seed: int = 7) -> NDArray[Any]:
    """Random values over the whole range of the integer type ``kind``."""
    limits = np.iinfo(kind)
    random = np.random.default_rng(seed)
    return random.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def slope(shape: tuple[int, ...], kind: str) -> NDArray[Any]:
    """Values that rise and wrap, as smooth as images are."""
    return np.arange(np.prod(shape)).reshape(shape).astype(kind)
