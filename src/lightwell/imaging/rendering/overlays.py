"""Drawing the overlay planes of an image into its picture.

Source: PS3.3 C.9.2 and C.9.3 (multi-frame). Overlays in unused bits of the samples are retired, and omitted.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from lightwell.imaging.rendering.scaling import Bytes

_GROUPS = range(0x6000, 0x601F, 2)


def draw_overlays(picture: Bytes, data_set: Dataset, frame: int) -> tuple[Bytes, list[str]]:
    """The picture with its overlays in white, and notes on overlays that cannot be drawn.

    ``frame`` counts from 0; ``data_set`` is that of the instance.
    """
    notes = []
    result = picture
    for group in _GROUPS:
        if (group, 0x3000) not in data_set:
            continue
        overlay_type = data_set.get((group, 0x0040))
        if overlay_type is not None and overlay_type.value == "R":
            continue  # a region of interest is for measurements, not for display
        try:
            planes = data_set.overlay_array(group)
            index = _plane_index(data_set, group, frame)
            if planes.ndim == 3:
                if index >= len(planes):
                    continue
                planes = planes[index]
            elif index > 0 and (group, 0x0015) in data_set:
                continue
            origin = data_set.get((group, 0x0050))
            row, column = (int(value) - 1 for value in origin.value) if origin and origin.value else (0, 0)
        except (ValueError, AttributeError, TypeError) as error:
            notes.append(f"The overlay {group:04X} cannot be drawn: {error}")
            continue
        if result is picture:
            result = picture.copy()
        _draw(result, planes, row, column)
    return result, notes


def _plane_index(data_set: Dataset, group: int, frame: int) -> int:
    """The index of the overlay plane of a frame of the image; beyond the last plane if it has none."""
    first = data_set.get((group, 0x0051))
    index = frame - (int(first.value) - 1 if first and first.value else 0)
    return index if index >= 0 else 1 << 31


def _draw(picture: Bytes, plane: Bytes, row: int, column: int) -> None:
    rows, columns = picture.shape[:2]
    top, left = max(row, 0), max(column, 0)
    bottom, right = min(row + plane.shape[0], rows), min(column + plane.shape[1], columns)
    if top < bottom and left < right:
        mask = plane[top - row : bottom - row, left - column : right - column] != 0
        picture[top:bottom, left:right][mask] = 255
