"""An instance that is in an image set when a file with its UIDs comes, and what the two are compared by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExistingPixels:
    """A row of ``pixels`` with its frame table; see `domain.imports.records.NewPixels`."""

    key: int
    pack: int
    stored_syntax: str
    frame_count: int
    checksum_type: str
    width: int
    height: int
    image: bytes
    pages: list[bytes]


@dataclass(frozen=True, slots=True)
class ExistingInstance:
    """How an instance of an image set came.

    The original lies in ``pack``. ``levels`` are the hashes of its patient, study and series blocks,
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
    pixels: ExistingPixels | None
