"""The attributes that apply to one frame of a multi-frame image.

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
    """A copy of the data set in which the functional groups of ``frame`` (from 0) replace top-level elements.

    The data set itself is not changed; the copy shares its sequences.
    """
    attributes = Dataset()
    attributes._dict.update(data_set._dict)
    attributes.set_original_encoding(*data_set.original_encoding)
    for sequence, index in (
        ("SharedFunctionalGroupsSequence", 0),
        ("PerFrameFunctionalGroupsSequence", frame),
    ):
        items = data_set.get(sequence)
        if not items or index >= len(items):
            continue
        for macro, keywords in _MACROS.items():
            macro_items = items[index].get(macro)
            if not macro_items:
                continue
            for keyword in keywords:
                if keyword in macro_items[0]:
                    attributes[keyword] = macro_items[0][keyword]
    return attributes
