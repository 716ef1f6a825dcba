"""The files that a DICOMDIR lists (PS3.3 Annex F, PS3.10 §8)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError

from lightwell.domain.imports.dicomdir_paths import MOST_BYTES, MOST_FILES, is_file_id
from lightwell.errors import InputError

_PYDICOM_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    ValueError,
    RecursionError,
    AttributeError,
    LookupError,
    TypeError,
    NotImplementedError,
    struct.error,
)


def referenced_files(path: Path, stream: IO[bytes]) -> list[tuple[str, ...]]:
    """The File IDs of all directory records in order, each once. Reads untrusted bytes: those of ``stream``.

    Raises `InputError` if the file is not a DICOMDIR, if a record names a file outside its folder, or if the
    files are more than `MOST_FILES` or their paths longer than `MOST_BYTES`.
    """
    try:
        records = pydicom.dcmread(stream).get("DirectoryRecordSequence")
        listed = None if records is None else [record.get("ReferencedFileID") for record in records]
    except _PYDICOM_ERRORS as error:
        raise InputError(f"{path} is not a DICOMDIR: it cannot be read ({error})") from None
    if listed is None:
        raise InputError(f"{path} is not a DICOMDIR: it has no directory records")
    found: dict[tuple[str, ...], None] = {}
    for parts in listed:
        if not parts:
            continue
        names = (parts,) if isinstance(parts, str) else tuple(map(str, parts))
        if not is_file_id(names):
            raise InputError(f"{path} names a file outside its folder: {_shown(names)}")
        found[names] = None
    if len(found) > MOST_FILES or sum(len(name) + 1 for names in found for name in names) > MOST_BYTES:
        raise InputError(
            f"{path} lists {len(found)} files, more than lightwell reads from a DICOMDIR; import their folder"
        )
    return list(found)


def _shown(names: tuple[str, ...]) -> str:
    return repr(list(names[:8]))[:200]
