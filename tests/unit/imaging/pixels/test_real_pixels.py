"""Every real file against pydicom's own reading of it, sample by sample."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array

from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.transfer_syntaxes import EXPLICIT_LITTLE, HTJ2K_RPCL, JPEG2000_LOSSLESS
from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.checksum import bytes_checksum, frame_checksum
from lightwell.imaging.pixels.frame_stream import FrameStream, open_frame_stream
from lightwell.imaging.pixels.stored_frames import decode_verified
from tests.support.shared_data import SHARED, needs_shared
from tests.unit.imaging.pixel_files import WHEEL, opened_dataset, read_dataset

FOLDER = SHARED / "syntaxes"
DICOM = "1.2.840.10008.1.2."

REFUSED = {
    "MR_truncated.dcm": "FramesExtractionFailure",
    "966.dcm": "TranscodingException",
    "rtdose_expb.dcm": "TranscodingException",
    "rtdose_expb_1frame.dcm": "TranscodingException",
}
"""Damaged on purpose, or 32 bits in big endian order, and the warning that each becomes."""

WITHOUT_REFERENCE = {
    "JPEG-lossy.dcm",  # 12-bit lossy JPEG: no decoder that pydicom can ask reads it
    "JPGExtended.dcm",
    "RG2_JPLY.dcm",
    "liver_deflate.dcm",  # deflated image frames: pydicom has no decoder
    "liver_nonbyte_aligned_deflate.dcm",
    "liver_nonbyte_aligned_rle.dcm",  # 1-bit RLE: refused by the decoders pydicom asks
    "liver_rle.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm",  # damaged, but kept as it is
}


def has_pixels(path: Path) -> bool:
    try:
        data = read_dataset(path)
    except Exception:  # not one that pydicom opens
        return False
    names = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    return any(name in data for name in names) and "Rows" in data and "TransferSyntaxUID" in data.file_meta


def paths(folder: Path) -> list[Any]:
    """Every file with each store; the larger ones with HTJ2K alone, since JPEG 2000 is slow."""
    found = sorted(path for path in folder.glob("*.dcm") if path.name != "badVR.dcm" and has_pixels(path))
    return [
        pytest.param(path, store, id=f"{path.name}-{store}")
        for path in found
        for store in ("HTJ2K", "JPEG_2000_LOSSLESS")
        if store == "HTJ2K" or path.stat().st_size < 300_000
    ]


def stored(path: Path, store: str) -> tuple[FrameStream, ImageDescription]:
    part10, image, pixel = opened_dataset(read_dataset(path))
    return open_frame_stream(part10, image, pixel, store), image


def reference(path: Path, image: ImageDescription) -> list[NDArray[Any]]:
    """The frames by pydicom, colours unconverted, as they lie in their containers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = pixel_array(read_dataset(path), raw=True)
    return list(samples) if image.frames > 1 else [samples]


def significant(samples: NDArray[Any], image: ImageDescription) -> NDArray[Any]:
    """Samples without what stands above BitsStored, which pydicom clears and we keep."""
    spare = samples.dtype.itemsize * 8 - image.bits_stored
    if samples.dtype.kind not in "iu" or spare <= 0 or image.bits_allocated == 1:
        return samples
    return (samples << spare) >> spare


def check_frames(path: Path, store: str) -> None:
    if path.name in REFUSED:
        with pytest.raises(PixelFailure) as failure:
            list(stored(path, store)[0])
        assert failure.value.warning.type == REFUSED[path.name]
        return
    stream, image = stored(path, store)
    frames = list(stream)
    syntax = stream.stored.stored_syntax
    assert len(frames) == stream.stored.frame_count == image.frames
    for frame in frames:
        if stream.stored.checksum_type == "COMPRESSED":
            assert frame.checksum == bytes_checksum([frame.data])
            assert frame.low is frame.high is None
            continue
        samples = decode_verified(frame.data, frame.head, syntax, image, frame.checksum)
        assert (frame.low, frame.high) == (samples.min(), samples.max())
        independent = imagecodecs.jpeg2k_decode(frame.data, planar=False)
        assert frame.checksum == frame_checksum(independent)
        if syntax == HTJ2K_RPCL:
            assert independent.dtype == samples.dtype
            assert np.array_equal(independent, samples)
    if path.name in WITHOUT_REFERENCE:
        return
    expected = reference(path, image)
    assert len(expected) == len(frames)
    for frame, wanted in zip(frames, expected, strict=True):
        found = decode_verified(frame.data, frame.head, syntax, image, frame.checksum)
        assert np.array_equal(significant(found, image), significant(wanted, image))


@pytest.mark.parametrize(("path", "store"), paths(WHEEL))
def test_equals_pydicoms_samples_in_its_own_files(path: Path, store: str) -> None:
    check_frames(path, store)


@needs_shared
@pytest.mark.parametrize(("path", "store"), paths(FOLDER))
def test_equals_pydicoms_samples_in_other_files(path: Path, store: str) -> None:
    check_frames(path, store)


@needs_shared
@pytest.mark.parametrize("folder", ["ct-head-phantom", "mr-sagittal", "enhanced-mr"])
def test_equals_pydicoms_samples_in_series(folder: str) -> None:
    for path in sorted((SHARED / folder).rglob("*.dcm"))[::20]:
        check_frames(path, "HTJ2K")


@needs_shared
@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("RG3_J2KI.dcm", "4.91"),
        ("HTJ2K_08_RGB.dcm", "4.203"),
        ("HTJ2KLossless_08_RGB.dcm", "4.202"),
        ("693_J2KR.dcm", "4.202"),
        ("RG2_JPLY.dcm", "4.202"),
        ("liver_j2k.dcm", "1"),
        ("liver_rle.dcm", "1"),
        ("parametric_map_float.dcm", "1"),
        ("gdcm-US-ALOKA-16.dcm", "4.202"),
    ],
)
def test_stores_each_syntax_as_the_table_says(name: str, tail: str) -> None:
    assert stored(FOLDER / name, "HTJ2K")[0].stored.stored_syntax == DICOM + tail


@needs_shared
@pytest.mark.parametrize("name", ["RG3_J2KI.dcm", "HTJ2K_08_RGB.dcm", "MAROTECH_CT_JP2Lossy.dcm"])
def test_keeps_the_bytes_of_kept_frames(name: str) -> None:
    data = read_dataset(FOLDER / name)
    (frame,) = stored(FOLDER / name, "HTJ2K")[0]
    assert frame.data == next(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=1))


@needs_shared
def test_reads_one_segmentation_the_same_from_every_coding() -> None:
    def segments(name: str) -> list[bytes]:
        stream, image = stored(FOLDER / name, "HTJ2K")
        assert stream.stored.stored_syntax == EXPLICIT_LITTLE
        return [decode_verified(f.data, f.head, EXPLICIT_LITTLE, image, f.checksum).tobytes() for f in stream]

    plain = segments("liver_nonbyte_aligned.dcm")
    for coding in ("deflate", "j2k", "rle"):
        assert segments(f"liver_nonbyte_aligned_{coding}.dcm") == plain
    assert segments("liver_deflate.dcm") == segments("liver_j2k.dcm") == segments("liver_rle.dcm")


@needs_shared
def test_keeps_jpeg_2000_lossless_in_its_own_store() -> None:
    data = read_dataset(FOLDER / "RG3_J2KR.dcm")
    stream, _ = stored(FOLDER / "RG3_J2KR.dcm", "JPEG_2000_LOSSLESS")
    (frame,) = stream
    assert stream.stored.stored_syntax == JPEG2000_LOSSLESS
    assert frame.data == next(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=1))


def test_finds_more_frames_than_a_broken_number_says() -> None:
    part10, image, pixel = opened_dataset(read_dataset(WHEEL / "rtdose.dcm"))
    for frames, type in ((1, "FrameNumberMismatch"), (16, "FramesExtractionFailure")):
        wrong = replace(image, frames=frames)
        with pytest.raises(PixelFailure) as failure:
            open_frame_stream(part10, wrong, pixel, "HTJ2K")
        assert failure.value.warning.type == type


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm"])
def test_reads_twelve_bit_lossy_jpeg(name: str) -> None:
    stream, _ = stored(WHEEL / name, "HTJ2K")
    (frame,) = stream
    assert stream.stored.decoder.startswith("imagecodecs")
    assert (frame.low, frame.high) == (0, 264)
