"""CRC-32 of frames: the checksum that HealthImaging's clients recompute (IFRC).

Source: devguide/pixel-data-verification and the buffer layout of AWS's own client samples: samples
interleaved by pixel, row by row, little endian, each in as many whole bytes as the precision of the
codestream needs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import numpy as np
from isal import isal_zlib

from lightwell.imaging.pixels.samples import Samples


def frame_checksum(samples: Samples) -> int:
    """Unsigned CRC-32 over decoded ``samples``, (rows, columns) or (rows, columns, samples per pixel)."""
    if sys.byteorder == "big" or samples.dtype.byteorder == ">":
        samples = samples.astype(samples.dtype.newbyteorder("<"))
    return int(isal_zlib.crc32(np.ascontiguousarray(samples).data))


def bytes_checksum(chunks: Iterable[bytes], value: int = 0) -> int:
    """Unsigned CRC-32 over bytes in pieces; ``value`` is the CRC-32 of the preceding bytes."""
    for chunk in chunks:
        value = isal_zlib.crc32(chunk, value)
    return int(value)
