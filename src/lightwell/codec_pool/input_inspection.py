"""What a codec worker reads for the *list* phase of a job: directories of zip files, DICOMDIRs, overrides.

Each can be made to take any amount of memory and time, so the work process does not touch them.
"""

from __future__ import annotations

import itertools
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lightwell.codec_pool.messages import InputInspected, InspectInput
from lightwell.codec_pool.sources import Sources
from lightwell.domain.imports.dicomdir_paths import MOST_FILES
from lightwell.errors import InputError
from lightwell.imaging.dataset.dicomdir import referenced_files
from lightwell.ingest import overrides

# Entries of a page.
_PAGE = 500


def inspect(asked: InspectInput, sources: Sources) -> Iterator[InputInspected]:
    """What the file lists, in pages. Raises `InputError` saying what is wrong, and `StorageError`."""
    name = os.fsdecode(asked.path)
    path = Path(name)
    if asked.kind == "zip":
        with sources.stream(name) as stream:
            members = _members(path, stream)
            while page := list(itertools.islice(members, _PAGE)):
                yield InputInspected(asked.task, members=page)
    elif asked.kind == "dicomdir":
        with sources.stream(name) as stream:
            files = iter(referenced_files(path, stream))
        while listed := list(itertools.islice(files, _PAGE)):
            yield InputInspected(asked.task, files=[list(names) for names in listed])
    else:
        overrides.check(sources.document(asked.bucket, name), name)


def _members(path: Path, stream: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """(name, bytes, index) of the members that may be instances."""
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a zip file: {error}") from None
    if len(members) > MOST_FILES:
        raise InputError(
            f"{path} has {len(members)} members, more than {MOST_FILES}: import it unzipped or in parts"
        )
    for index, member in enumerate(members):
        last = member.filename.rsplit("/", 1)[-1]
        # Until Python 3.12 `is_dir` fails for a member without a name.
        is_folder = member.filename.endswith("/")
        if not (is_folder or last.upper() == "DICOMDIR" or member.filename.startswith("__MACOSX/")):
            yield member.filename, member.file_size, index
