"""Stored values of a monochrome frame → greys of 8 bits.

The steps are those of PS3.4 N.2.1, by pydicom: modality LUT, VOI LUT, and the photometric interpretation as
presentation LUT. They map single samples, so a frame of up to 16 bits is mapped through a table of its
values, and only larger samples one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

from lightwell.domain.rendering import FUNCTIONS, Window
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.pixels.samples import Samples
from lightwell.imaging.rendering.lut import lut_item, normalized_table
from lightwell.imaging.rendering.scaling import Bytes

_STRIPE = 1 << 20
_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def greys(samples: Samples, image: ImageDescription, attributes: Dataset, window: Window | None) -> Bytes:
    """(rows, columns) of 0 (black) to 255 (white).

    ``attributes`` are those of the frame (`frame_attributes`). ``window`` takes precedence over the VOI LUT
    and windows of the data set; without any of them, greys span the values of the frame, or all values of
    8-bit samples. Raises `RenderFailure`.
    """
    pipeline = _Pipeline(image, attributes, window)
    if samples.dtype.kind in "iu" and samples.dtype.itemsize <= 2:
        pixels = _mask_stored_bits(samples, image)
        low, high = int(np.min(pixels)), int(np.max(pixels))
        values = np.arange(low, high + 1, dtype=np.int32)
        if pipeline.needs_range:
            pipeline.set_range(values[np.bincount((pixels - low).reshape(-1), minlength=len(values)) > 0])
        table = pipeline.apply(values)
        return table[pixels - low]
    flat = samples.reshape(-1)
    if pipeline.needs_range:
        pipeline.set_range(flat)
    out = np.empty(flat.shape, np.uint8)
    for start in range(0, len(flat), _STRIPE):
        out[start : start + _STRIPE] = pipeline.apply(flat[start : start + _STRIPE])
    return out.reshape(samples.shape)


def _mask_stored_bits(samples: Samples, image: ImageDescription) -> NDArray[np.int32]:
    """Values without other bits in the words of the samples, such as those of old overlays (PS3.5 8.1.1)."""
    values = samples.astype(np.int32)
    unused_bits = 32 - image.bits_stored
    if not 1 <= image.bits_stored < 8 * samples.dtype.itemsize:
        return values
    if image.signed:
        return (values << unused_bits) >> unused_bits
    return values & ((1 << image.bits_stored) - 1)


class _Pipeline:
    """The transformations of one frame, for arrays of stored values."""

    def __init__(self, image: ImageDescription, attributes: Dataset, window: Window | None) -> None:
        # Not by PresentationLUTShape: in an image it has to say the same, and is known to be wrong where it
        # does not. The viewer does as this: greyscale.ts. PS3.3 C.7.6.1, C.7.6.3.1.2.
        self._inverse = image.photometric == "MONOCHROME1"
        self._modality = _modality(attributes)
        self._padding = _padding(attributes)
        self._window: Dataset | None = None
        self._table: Dataset | None = None
        self._largest = 255.0
        self._range = _fixed_range(image, attributes) if not self._modality else None
        if window is not None:
            self._window = _window(window.center, window.width, window.function)
        elif (voi := lut_item(attributes, "VOILUTSequence")) is not None:
            item, bits = normalized_table(voi, big=not _is_little(attributes))
            self._table, self._largest = Dataset(), float((1 << bits) - 1)
            self._table.VOILUTSequence = [item]
        else:
            self._window = _dataset_window(attributes)

    @property
    def needs_range(self) -> bool:
        return self._window is None and self._table is None and self._range is None

    def set_range(self, values: NDArray[Any]) -> None:
        """Let greys span the least to the greatest of these stored values, without the padding."""
        if self._padding is not None:
            low, high = self._padding
            unpadded = values[(values < low) | (values > high)]
            values = unpadded if unpadded.size else values
        least, greatest = values.min(), values.max()
        if values.dtype.kind == "f" and not np.isfinite([least, greatest]).all():
            finite = values[np.isfinite(values)]
            least, greatest = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
        ends = values if self._modality and "ModalityLUTSequence" in self._modality else [least, greatest]
        mapped = self._apply_modality_lut(np.array(ends, values.dtype))
        self._range = float(mapped.min()), float(mapped.max())

    def apply(self, values: NDArray[Any]) -> Bytes:
        mapped = self._apply_modality_lut(values)
        if self._window is not None:
            with np.errstate(over="ignore"):  # far from the centre the exponential of a sigmoid is infinite
                output = apply_windowing(mapped, self._window)
        elif self._table is not None:
            # The input of a LUT is an integer; rescaled values may not be.
            whole = np.floor(mapped + 0.5).astype(np.int64) if mapped.dtype.kind == "f" else mapped
            output = apply_voi(whole, self._table) * (255.0 / self._largest)
        else:
            assert self._range is not None, "the range was taken from the frame"
            low, high = self._range
            above = mapped.astype(np.float64) - low
            output = above * 255.0 / (high - low) if high > low else above * 0.0
        if self._inverse:
            output = 255.0 - output
        if output.dtype.kind == "f":
            output = np.nan_to_num(output, nan=0.0, posinf=255.0, neginf=0.0)
        return np.floor(output + 0.5).clip(0, 255).astype(np.uint8)

    def _apply_modality_lut(self, values: NDArray[Any]) -> NDArray[Any]:
        return apply_modality_lut(values, self._modality) if self._modality else values


def _modality(attributes: Dataset) -> Dataset | None:
    """The attributes for `apply_modality_lut`, None if the modality LUT is the identity."""
    modality = Dataset()
    if (table := lut_item(attributes, "ModalityLUTSequence")) is not None:
        item, _ = normalized_table(table, big=not _is_little(attributes))
        modality.ModalityLUTSequence = [item]
        return modality
    slope, intercept = _number(attributes.get("RescaleSlope")), _number(attributes.get("RescaleIntercept"))
    if slope is None or intercept is None or (slope, intercept) == (1.0, 0.0):
        return None
    modality.add(DataElement(0x00281052, "DS", intercept, already_converted=True))
    modality.add(DataElement(0x00281053, "DS", slope, already_converted=True))
    return modality


def _dataset_window(attributes: Dataset) -> Dataset | None:
    """The first window of a data set, None if it has no valid one."""
    center, width = _number(attributes.get("WindowCenter")), _number(attributes.get("WindowWidth"))
    function = str(attributes.get("VOILUTFunction") or "LINEAR").upper()
    if center is None or width is None or function not in FUNCTIONS.values():
        return None
    if width < 1 if function == "LINEAR" else width <= 0:
        return None
    return _window(center, width, function)


def _window(center: float, width: float, function: str) -> Dataset:
    """A data set with which `apply_windowing` maps to 0 to 255, the range of 8 bits."""
    window = Dataset()
    window.PhotometricInterpretation = "MONOCHROME2"
    window.PixelRepresentation = 0
    window.BitsStored = 8
    window.VOILUTFunction = function
    # Not by keyword: a DS has at most 16 characters, and these values are from a URL.
    window.add(DataElement(0x00281050, "DS", center, already_converted=True))
    window.add(DataElement(0x00281051, "DS", width, already_converted=True))
    return window


def _fixed_range(image: ImageDescription, attributes: Dataset) -> tuple[float, float] | None:
    """The range of the samples whatever the frame: of segmentations, and of 8-bit images."""
    if image.bits_stored == 1:
        return 0.0, 1.0
    if str(attributes.get("SOPClassUID", "")) == _SEGMENTATION:
        maximum = _number(attributes.get("MaximumFractionalValue"))
        return (0.0, maximum) if maximum and maximum > 0 else None
    if image.bits_allocated == 8 and not image.signed and image.pixel_keyword == "PixelData":
        return 0.0, float((1 << min(max(image.bits_stored, 1), 8)) - 1)
    return None


def _padding(attributes: Dataset) -> tuple[float, float] | None:
    value = _number(attributes.get("PixelPaddingValue"))
    limit = _number(attributes.get("PixelPaddingRangeLimit"))
    if value is None:
        return None
    return min(value, value if limit is None else limit), max(value, value if limit is None else limit)


def _number(value: Any) -> float | None:
    """The first value as a finite number."""
    if value is not None and not isinstance(value, (str, bytes, int, float)):
        try:
            value = value[0] if len(value) else None
        except TypeError:
            return None
    try:
        number = float(value) if value is not None else None
    except (TypeError, ValueError):
        return None
    return number if number is not None and np.isfinite(number) else None


def _is_little(attributes: Dataset) -> bool:
    return attributes.original_encoding[1] is not False
