"""The attributes by which one frame is shown, wherever a multi-frame image keeps them.

Source: PS3.3 C.7.6.16 (functional groups: per frame, then shared, then the data set itself).
"""

from __future__ import annotations

from pydicom.dataset import Dataset

_MACROS = {
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}


def frame_attributes(data_set: Dataset, frame: int) -> Dataset:
    """A copy of the data set's own elements with the groups' values of ``frame`` (from 0) laid over it.

    The data set itself is not changed; sequences are shared with it.
    """
    found = Dataset()
    found._dict.update(data_set._dict)
    found.set_original_encoding(*data_set.original_encoding)
    for sequence, place in (
        ("SharedFunctionalGroupsSequence", 0),
        ("PerFrameFunctionalGroupsSequence", frame),
    ):
        items = data_set.get(sequence)
        if not items or place >= len(items):
            continue
        for macro, keywords in _MACROS.items():
            inner = items[place].get(macro)
            if not inner:
                continue
            for keyword in keywords:
                if keyword in inner[0]:
                    found[keyword] = inner[0][keyword]
    return found
