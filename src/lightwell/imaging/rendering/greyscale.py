"""Stored values of a monochrome frame → greys of 8 bits.

The steps are those of PS3.4 N.2.1: modality transformation, VOI transformation, and the photometric
interpretation as presentation transformation; each done by pydicom. They look at one sample at a time, so a
frame of up to 16 bits is mapped through a table of its values, and only larger samples one by one.
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
from lightwell.imaging.rendering.lut import plain_table, table_item
from lightwell.imaging.rendering.scaling import Bytes

_STRIPE = 1 << 20
_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def greys(samples: Samples, image: ImageDescription, attributes: Dataset, window: Window | None) -> Bytes:
    """(rows, columns) of 0 (black) to 255 (white).

    ``attributes`` are those of the frame (`frame_attributes`). ``window`` goes before the data set's own VOI
    LUT and windows; where there is neither, greys span the frame's values, or all values that 8-bit samples
    may have. Raises `RenderFailure`.
    """
    pipeline = _Pipeline(image, attributes, window)
    if samples.dtype.kind in "iu" and samples.dtype.itemsize <= 2:
        pixels = _true_bits(samples, image)
        low, high = int(np.min(pixels)), int(np.max(pixels))
        values = np.arange(low, high + 1, dtype=np.int32)
        if pipeline.needs_range:
            pipeline.span(values[np.bincount((pixels - low).reshape(-1), minlength=len(values)) > 0])
        table = pipeline.run(values)
        return table[pixels - low]
    flat = samples.reshape(-1)
    if pipeline.needs_range:
        pipeline.span(flat)
    out = np.empty(flat.shape, np.uint8)
    for start in range(0, len(flat), _STRIPE):
        out[start : start + _STRIPE] = pipeline.run(flat[start : start + _STRIPE])
    return out.reshape(samples.shape)


def _true_bits(samples: Samples, image: ImageDescription) -> NDArray[np.int32]:
    """Values without what else lies in the words of a sample, such as an old overlay's bits (PS3.5 8.1.1)."""
    wide = samples.astype(np.int32)
    spare = 32 - image.bits_stored
    if not 1 <= image.bits_stored < 8 * samples.dtype.itemsize:
        return wide
    if image.signed:
        return (wide << spare) >> spare
    return wide & ((1 << image.bits_stored) - 1)


class _Pipeline:
    """The transformations of one frame, for arrays of stored values."""

    def __init__(self, image: ImageDescription, attributes: Dataset, window: Window | None) -> None:
        self._inverse = image.photometric == "MONOCHROME1"
        self._modality = _modality(attributes)
        self._padding = _padding(attributes)
        self._window: Dataset | None = None
        self._table: Dataset | None = None
        self._largest = 255.0
        self._range = _fixed_range(image, attributes) if not self._modality else None
        if window is not None:
            self._window = _window(window.center, window.width, window.function)
        elif (voi := table_item(attributes, "VOILUTSequence")) is not None:
            item, bits = plain_table(voi, big=not _is_little(attributes))
            self._table, self._largest = Dataset(), float((1 << bits) - 1)
            self._table.VOILUTSequence = [item]
        else:
            self._window = _own_window(attributes)

    @property
    def needs_range(self) -> bool:
        return self._window is None and self._table is None and self._range is None

    def span(self, values: NDArray[Any]) -> None:
        """Show greys from the least to the greatest of these stored values, the padding left out."""
        if self._padding is not None:
            low, high = self._padding
            within = values[(values < low) | (values > high)]
            values = within if within.size else values
        least, greatest = values.min(), values.max()
        if values.dtype.kind == "f" and not np.isfinite([least, greatest]).all():
            finite = values[np.isfinite(values)]
            least, greatest = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
        ends = values if self._modality and "ModalityLUTSequence" in self._modality else [least, greatest]
        mapped = self._modal(np.array(ends, values.dtype))
        self._range = float(mapped.min()), float(mapped.max())

    def run(self, values: NDArray[Any]) -> Bytes:
        mapped = self._modal(values)
        if self._window is not None:
            with np.errstate(over="ignore"):  # far from the centre a sigmoid's exponential is infinite
                shades = apply_windowing(mapped, self._window)
        elif self._table is not None:
            # Its input are whole numbers; a rescaled one may not be.
            whole = np.floor(mapped + 0.5).astype(np.int64) if mapped.dtype.kind == "f" else mapped
            shades = apply_voi(whole, self._table) * (255.0 / self._largest)
        else:
            assert self._range is not None, "the range was taken from the frame"
            low, high = self._range
            above = mapped.astype(np.float64) - low
            shades = above * 255.0 / (high - low) if high > low else above * 0.0
        if self._inverse:
            shades = 255.0 - shades
        if shades.dtype.kind == "f":
            shades = np.nan_to_num(shades, nan=0.0, posinf=255.0, neginf=0.0)
        return np.floor(shades + 0.5).clip(0, 255).astype(np.uint8)

    def _modal(self, values: NDArray[Any]) -> NDArray[Any]:
        return apply_modality_lut(values, self._modality) if self._modality else values


def _modality(attributes: Dataset) -> Dataset | None:
    """What `apply_modality_lut` needs, None where stored values are what is measured."""
    found = Dataset()
    if (table := table_item(attributes, "ModalityLUTSequence")) is not None:
        item, _ = plain_table(table, big=not _is_little(attributes))
        found.ModalityLUTSequence = [item]
        return found
    slope, intercept = _number(attributes.get("RescaleSlope")), _number(attributes.get("RescaleIntercept"))
    if slope is None or intercept is None or (slope, intercept) == (1.0, 0.0):
        return None
    found.add(DataElement(0x00281052, "DS", intercept, already_converted=True))
    found.add(DataElement(0x00281053, "DS", slope, already_converted=True))
    return found


def _own_window(attributes: Dataset) -> Dataset | None:
    """The first window of a data set, None where it has none that can be used."""
    center, width = _number(attributes.get("WindowCenter")), _number(attributes.get("WindowWidth"))
    function = str(attributes.get("VOILUTFunction") or "LINEAR").upper()
    if center is None or width is None or function not in FUNCTIONS.values():
        return None
    if width < 1 if function == "LINEAR" else width <= 0:
        return None
    return _window(center, width, function)


def _window(center: float, width: float, function: str) -> Dataset:
    """A data set by which `apply_windowing` gives shades from 0 to 255, the range of 8 bits."""
    window = Dataset()
    window.PhotometricInterpretation = "MONOCHROME2"
    window.PixelRepresentation = 0
    window.BitsStored = 8
    window.VOILUTFunction = function
    # Not by name: a decimal string holds 16 characters, and these come from a URL.
    window.add(DataElement(0x00281050, "DS", center, already_converted=True))
    window.add(DataElement(0x00281051, "DS", width, already_converted=True))
    return window


def _fixed_range(image: ImageDescription, attributes: Dataset) -> tuple[float, float] | None:
    """The range that samples have whatever is in the frame: of segments, and of values that are greys."""
    if image.bits_stored == 1:
        return 0.0, 1.0
    if str(attributes.get("SOPClassUID", "")) == _SEGMENTATION:
        most = _number(attributes.get("MaximumFractionalValue"))
        return (0.0, most) if most and most > 0 else None
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
    """The first of the values as a finite number."""
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
