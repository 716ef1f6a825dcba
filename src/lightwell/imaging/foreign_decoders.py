"""Keeps decoders that happen to be installed out of a process that reads untrusted bytes.

pydicom looks for every package that could decode for it as soon as it is imported, and loads those that are
there. lightwell decodes by its own choice of codecs (`imaging.pixels.decode`): the others, and what pydicom
downloads its samples with, would be a quarter of a codec worker's start, and C code that nothing is to reach.
"""

from __future__ import annotations

import sys

PACKAGES = ("gdcm", "libjpeg", "openjpeg", "PIL", "pylibjpeg", "requests", "rle")


def keep_out() -> None:
    """Have each of them look as if it were not installed; to be called before pydicom is imported."""
    for name in PACKAGES:
        # What Python's import system documents for a module that must not be found.
        sys.modules[name] = None  # type: ignore[assignment]
