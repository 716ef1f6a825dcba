"""Pictures of every real file against pydicom's own pipeline, and against dcmtk's."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space
from pydicom.uid import UID

from lightwell.domain.rendering import Rendering, Window
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.frame_stream import open_frame_stream
from lightwell.imaging.pixels.samples import Samples, to_native
from lightwell.imaging.pixels.stored_frames import decode_verified, decoded_photometric
from lightwell.imaging.rendering.frame_attributes import frame_attributes
from lightwell.imaging.rendering.render import full_picture
from tests.support.shared_data import SHARED, needs_shared
from tests.unit.imaging.pixel_files import EXPLICIT, WHEEL, opened_dataset, read_dataset
from tests.unit.imaging.pixels.test_real_pixels import has_pixels

PNG = Rendering("image/png")
HALF = 0.5 + 1e-6


def loaded(path: Path) -> tuple[pydicom.Dataset, ImageDescription, Samples, str]:
    """A file, and the first frame that a data store would keep of it; skips what it would not."""
    data = read_dataset(path)
    try:
        part10, image, pixel = opened_dataset(data)
        stream = open_frame_stream(part10, image, pixel, "HTJ2K")
        frame = next(iter(stream))
        samples = decode_verified(frame.data, frame.head, stream.stored.stored_syntax, image, frame.checksum)
    except (StopIteration, AttributeError, PixelFailure) as error:
        pytest.skip(f"no frames: {error}")
    return data, image, samples, decoded_photometric(image)


def by_pydicom(samples: Samples, image: ImageDescription, data: pydicom.Dataset, photometric: str) -> Any:
    """Greys or colours as pydicom's documentation puts its functions together, not yet rounded."""
    if photometric == "PALETTE COLOR":
        return apply_color_lut(samples, data) >> (data.RedPaletteColorLookupTableDescriptor[2] - 8)
    if image.samples == 3:
        narrow = samples if samples.dtype == np.uint8 else samples // (np.iinfo(samples.dtype).max // 255)
        return convert_color_space(
            narrow.astype(np.uint8), "RGB" if photometric == "RGB" else "YBR_FULL", "RGB"
        )
    data.PhotometricInterpretation = "MONOCHROME2"
    if image.signed and image.bits_stored < 16:
        samples = (samples << (16 - image.bits_stored)) >> (16 - image.bits_stored)
    values = apply_modality_lut(samples, data)
    if data.get("VOILUTSequence"):
        most = (1 << data.VOILUTSequence[0].LUTDescriptor[2]) - 1
        shades = apply_voi_lut(values.astype(np.int64), data) * (255.0 / most)
    elif data.get("WindowWidth"):
        # Its range is that of the stored bits, rescaled: where a window is wider than anything can be.
        shown = apply_voi_lut(values, data)
        low, high = apply_voi_lut(np.array([-1e9, 1e9]), data)
        shades = (shown - low) * (255.0 / (high - low))
    else:
        low, high = limits(values, image)
        shades = (values.astype(float) - low) * (255.0 / (high - low) if high > low else 0.0)
    return 255.0 - shades if image.photometric == "MONOCHROME1" else shades


def limits(values: NDArray[Any], image: ImageDescription) -> tuple[float, float]:
    if image.bits_stored <= 8 and not image.signed:
        return 0.0, float((1 << image.bits_stored) - 1)
    return float(values.min()), float(values.max())


def files(*folders: Path) -> list[Any]:
    """Each name once."""
    found = {path.name: path for folder in folders if folder.exists() for path in folder.glob("*.dcm")}
    found = {name: path for name, path in found.items() if name != "badVR.dcm" and has_pixels(path)}
    return [pytest.param(found[name], id=name) for name in sorted(found)]


@pytest.mark.parametrize("path", files(WHEEL, SHARED / "syntaxes"))
def test_shows_real_files_as_pydicom_does(path: Path) -> None:
    data, image, samples, photometric = loaded(path)
    if data.get("SharedFunctionalGroupsSequence") and data.Modality != "SEG":
        pytest.skip("pydicom knows nothing of the windows in functional groups")
    if "VOILUTSequence" in data and not data.VOILUTSequence[0].get("LUTDescriptor"):
        pytest.skip("pydicom stumbles over empty lookup tables")
    if data.get("PixelPaddingValue") is not None and not data.get("WindowWidth"):
        pytest.skip("the padding is left out of the range, which pydicom knows nothing of")
    picture, _ = full_picture(samples, image, photometric, frame_attributes(data, 0), PNG)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = by_pydicom(samples, image, data, photometric)
    assert np.abs(picture.astype(float) - np.nan_to_num(expected).clip(0, 255)).max() <= HALF


DCMTK = [
    ("CT_small.dcm", Window(40.0, 400.0, "LINEAR"), ["+Ww", "40", "400"]),
    ("CT_small.dcm", Window(100.0, 300.0, "SIGMOID"), ["+Ww", "100", "300", "+Wfs"]),
    ("MR_small.dcm", None, ["+Wi", "1"]),
    ("MR_small_bigendian.dcm", None, ["+Wi", "1"]),
    ("RG3_J2KR.dcm", None, ["+Wi", "1"]),  # MONOCHROME1
    ("693_J2KR.dcm", None, ["+Wi", "1"]),  # signed
    ("mlut_18.dcm", None, ["+Wm"]),
    ("vlut_04.dcm", None, ["+Wl", "1"]),
    ("JPEG-LL.dcm", None, ["+Wm"]),
    ("examples_palette.dcm", None, []),
    ("US1_UNCR.dcm", None, []),
    ("examples_ybr_color.dcm", None, []),
    ("JPEGExtended_3s_1f_u_08_08.dcm", None, []),
]


@needs_shared
@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize(("name", "window", "options"), DCMTK)
def test_is_within_one_grey_of_dcmtk(
    name: str, window: Window | None, options: list[str], tmp_path: Path
) -> None:
    path = WHEEL / name if (WHEEL / name).exists() else SHARED / "syntaxes" / name
    data, image, samples, photometric = loaded(path)
    asked = Rendering("image/png", window)
    picture, _ = full_picture(samples, image, photometric, frame_attributes(data, 0), asked)
    native(data, image, samples, photometric).save_as(tmp_path / "native.dcm")
    subprocess.run(
        ["dcmj2pnm", "-O", "+on", *options, tmp_path / "native.dcm", tmp_path / "out.png"],
        check=True,
        capture_output=True,
    )
    theirs = imagecodecs.png_decode((tmp_path / "out.png").read_bytes())
    assert theirs.shape == picture.shape
    # It rounds each of three products of YCbCr, where the standard's matrix is rounded once.
    most = 2 if photometric.startswith("YBR") else 1
    assert np.abs(theirs.astype(int) - picture.astype(int)).max() <= most


def native(
    data: pydicom.Dataset, image: ImageDescription, samples: Samples, photometric: str
) -> pydicom.Dataset:
    """The file with its first frame alone, in a syntax that this dcmtk reads whatever it was."""
    value = to_native(samples, image)
    data.PixelData = value + b"\0" * (len(value) % 2)
    data["PixelData"].is_undefined_length = False
    data["PixelData"].VR = "OW" if image.bits_allocated > 8 else "OB"
    data.NumberOfFrames = 1
    data.PhotometricInterpretation = photometric
    data.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    if image.samples > 1:
        data.PlanarConfiguration = image.planar
    if not data.is_little_endian:
        data = pydicom.Dataset(data)
    data.set_original_encoding(False, True)
    return data
