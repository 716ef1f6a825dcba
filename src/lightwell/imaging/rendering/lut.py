"""Lookup tables of a data set, normalized for pydicom's functions.

In data sets they are US, SS or OW, of 8 to 16 bits, one or two entries per word. Source: PS3.3 C.11.1.1,
C.11.2.1.1, C.7.6.3.1.5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from lightwell.imaging.errors import RenderFailure

_DESCRIPTOR, _DATA = 0x00283002, 0x00283006


def lut_item(data_set: Dataset, sequence: str) -> Dataset | None:
    """The first item of a sequence of lookup tables, None if there is none or it is empty."""
    items = data_set.get(sequence)
    if not items or not items[0].get("LUTDescriptor") or items[0].get("LUTData") in (None, b""):
        return None
    first: Dataset = items[0]
    return first


def normalized_table(item: Dataset, *, big: bool) -> tuple[Dataset, int]:
    """An item of a Modality or VOI LUT Sequence with entries of 16 bits, and the bits that they use.

    pydicom indexes with the type of the entries, which wraps for more than 256 entries of 8 bits. ``big``:
    the data set is big endian. Raises `RenderFailure`.
    """
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    try:
        count, first, bits = (int(value) for value in descriptor)
    except (TypeError, ValueError):
        raise RenderFailure("The LUTDescriptor of a lookup table does not have three numbers.") from None
    count = count or 1 << 16
    if not 1 <= bits <= 16 or not 0 < count <= 1 << 16:
        raise RenderFailure(f"A lookup table of {count} entries of {bits} bits is not supported.")
    entries = _entries(data, count, big=big)
    normalized = Dataset()
    normalized.add(DataElement(_DESCRIPTOR, "SS", [count, first, 16], already_converted=True))
    normalized.add(DataElement(_DATA, "US", [int(value) for value in entries], already_converted=True))
    return normalized, bits


def _entries(data: Any, count: int, *, big: bool) -> NDArray[Any]:
    entries: NDArray[Any]
    if isinstance(data, bytes):
        if len(data) >= 2 * count:
            entries = np.frombuffer(data, ">u2" if big else "<u2", count)
        else:
            entries = np.frombuffer(data, np.uint8)
            if big and len(entries) % 2 == 0:
                entries = entries.reshape(-1, 2)[:, ::-1].reshape(-1)
    else:
        values = [] if data is None else [data] if isinstance(data, int) else list(data)
        entries = np.array([int(value) & 0xFFFF for value in values], np.uint16)
    if len(entries) < count:
        raise RenderFailure(f"A lookup table has {len(entries)} entries, but its descriptor says {count}.")
    return entries[:count]
