"""Keys of rows, each a type of its own, so that a type checker finds one given for another.

All are 63-bit integers; see docs/design/versions.md for what they identify.
"""

from __future__ import annotations

from typing import NewType

StudyKey = NewType("StudyKey", int)
ImageSetKey = NewType("ImageSetKey", int)
InstanceKey = NewType("InstanceKey", int)
RecordKey = NewType("RecordKey", int)
PixelsKey = NewType("PixelsKey", int)
