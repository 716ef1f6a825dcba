"""An instance that is in an image set when its file is imported again: what the two are compared by."""

from __future__ import annotations

from dataclasses import dataclass

from lightwell.domain.imports.records import StoredPixels


@dataclass(frozen=True, slots=True)
class ExistingInstance:
    """An instance of an image set as it was imported.

    The original is in ``pack``. ``levels`` are the hashes of its patient, study and series blocks,
    ``fragment`` and ``dicom`` the SHA-256 of its attributes as the database has them: empty where they cannot
    be read, and ``dicom`` None where they are to be derived from the original.
    """

    pack: int
    original_offset: int
    original_length: int
    override_z: bytes | None
    levels: list[bytes]
    fragment: bytes
    dicom: bytes | None
    pixels: StoredPixels | None
