"""How far the listing of a job's input has come, so that another attempt goes on there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class ListingProgress:
    """What stands in the chunks that are written: everything up to the key ``after`` below ``prefix``.

    ``files``, ``size`` in bytes and ``folders`` count towards the limits of a job; ``folder`` is that of the
    last file. ``chunks``: how many there are.
    """

    prefix: str
    after: str
    files: int
    size: int
    folders: int
    folder: tuple[str, ...]
    chunks: int

    def pack(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def unpack(cls, data: bytes | None) -> ListingProgress | None:
        if data is None:
            return None
        values = json.loads(data)
        return cls(**{**values, "folder": tuple(values["folder"])})
