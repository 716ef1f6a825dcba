"""The files that a DICOMDIR lists (PS3.3 Annex F, PS3.10 §8)."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from lightwell.errors import InputError


def referenced_files(path: Path) -> list[Path]:
    """The files of all directory records in their order, each once.

    A File ID is looked for in the case that it has and in lower case, as many media are copied so. Raises
    `InputError` if the file is no DICOMDIR, or if a record leads out of its folder.
    """
    try:
        records = pydicom.dcmread(path).get("DirectoryRecordSequence")
    except (InvalidDicomError, OSError, ValueError, RecursionError, AttributeError, KeyError) as error:
        raise InputError(f"{path} is no DICOMDIR that can be read: {error}") from None
    if records is None:
        raise InputError(f"{path} is no DICOMDIR: it has no directory records")
    found: dict[Path, None] = {}
    for record in records:
        parts = record.get("ReferencedFileID")
        if not parts:
            continue
        names = [parts] if isinstance(parts, str) else list(parts)
        if any(name in ("", ".", "..") or "/" in name or "\0" in name for name in names):
            raise InputError(f"{path} names a file outside of its folder: {names!r}")
        file = path.parent.joinpath(*names)
        lower = path.parent.joinpath(*(name.lower() for name in names))
        found[lower if not file.exists() and lower.exists() else file] = None
    return list(found)
