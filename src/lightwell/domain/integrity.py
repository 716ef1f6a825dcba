"""What `lightwell data verify` looks at: packs, the records in them, and what is wrong with either."""

from __future__ import annotations

from dataclasses import dataclass

DAMAGED = "damaged"
"""Not as it was written."""
UNREADABLE = "unreadable"
"""Not to be read now, by this user or at all: nothing is known of it, and nothing need be lost."""


@dataclass(frozen=True, slots=True)
class IntegrityFault:
    """One thing that is wrong; ``kind`` is `DAMAGED` or `UNREADABLE`."""

    reason: str
    kind: str = DAMAGED


@dataclass(frozen=True, slots=True)
class HeldPack:
    """A live pack; ``checksum`` is the CRC-32 of its ``size`` bytes."""

    key: int
    datastore: int
    size: int
    checksum: int


@dataclass(frozen=True, slots=True)
class HeldPixels:
    """The pixels of a record; ``pages`` are the rows of their frame table in order."""

    pack: int
    stored_syntax: str
    frame_count: int
    checksum_type: str
    image: bytes
    pages: list[bytes]


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """A record as it is kept, and its pixels. ``lost`` says what it names and is not there.

    Records from before DICOMweb have no ``dicom_z``.
    """

    key: int
    sop_instance_uid: str
    pack: int
    original_offset: int
    original_length: int
    override_z: bytes | None
    fragment_z: bytes
    dictionary: int | None
    dicom_z: bytes | None
    dicom_dictionary: int | None
    levels: tuple[int, int, int]
    pixels: HeldPixels | None
    lost: list[str]


@dataclass(frozen=True, slots=True)
class HeldBodies:
    """What records share: dictionaries, and level values still compressed, by key."""

    dictionaries: dict[int, bytes]
    levels: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong. What it concerns is None where that is not known."""

    reason: str
    datastore_id: str | None = None
    image_set_id: str | None = None
    sop_instance_uid: str | None = None
    pack: str | None = None
    kind: str = DAMAGED
