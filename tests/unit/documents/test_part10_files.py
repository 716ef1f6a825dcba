"""How the frames of a written file are described."""

from __future__ import annotations

import numpy as np

from lightwell.documents.part10_files import _encoded_pixels
from lightwell.imaging.dataset.transfer_syntaxes import JPEG2000_LOSSLESS
from tests.unit.imaging.pixel_files import image_of


def test_names_a_colour_transform_only_where_there_are_colours() -> None:
    for shape, photometric, named in (
        ((4, 6, 3), "RGB", "YBR_RCT"),
        ((4, 6), "MONOCHROME2", "MONOCHROME2"),
        ((4, 6), "RGB", "RGB"),
    ):
        samples = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        described = image_of(samples, photometric=photometric)
        found = _encoded_pixels(described, iter([samples]), JPEG2000_LOSSLESS)
        assert found.image is not None and found.image.photometric == named
