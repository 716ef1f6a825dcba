"""What `lightwell data verify` checks: packs, the records in them, and the faults of either."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """DAMAGED: not as it was written. UNREADABLE: could not be read this time, by this user or at all, so
    nothing is known about it and nothing need be lost. WITHOUT_KEY: encrypted, and the key is not to be had.
    DROPPED: a cached copy that was cut off or changed, and is made again when it is wanted.
    """

    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    WITHOUT_KEY = "without-key"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class IntegrityFault:
    """One fault of a pack or a record."""

    reason: str
    kind: FaultKind = FaultKind.DAMAGED


@dataclass(frozen=True, slots=True)
class PackToVerify:
    """A live pack; ``checksum`` is the CRC-32 of its ``size`` bytes."""

    key: int
    datastore: int
    size: int
    checksum: int


@dataclass(frozen=True, slots=True)
class PixelsToVerify:
    """The pixels of a record. ``pages`` are the rows of their frame table in order, from frame ``first`` on;
    ``checks`` as `domain.imports.records.StoredPixels` has them.
    """

    key: int
    pack: int
    stored_syntax: str
    frame_count: int
    checksum_type: str
    image: bytes
    pages: list[bytes]
    checks: list[bytes | None]
    first: int = 0
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class MadeChecks:
    """The checks of a row of the frame table, made of bytes that decode to what was imported."""

    pixels: int
    first_frame: int
    checks: bytes


@dataclass(frozen=True, slots=True)
class RecordToVerify:
    """A record as it is stored, and its pixels. ``lost`` lists what it refers to and does not exist.

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
    pixels: PixelsToVerify | None
    lost: list[str]
    sop_class_uid: str | None = None
    instance_number: int | None = None


@dataclass(frozen=True, slots=True)
class SharedValues:
    """Values that records share: dictionaries, and compressed level values, by key."""

    dictionaries: dict[int, bytes]
    levels: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault that is reported. Fields that do not apply or are not known are None.

    ``patient_id`` and ``study_instance_uid`` are for the person who asked, on that person's terminal, and for
    the audit trail.
    ``concerns``: of a pack, the image sets with something in it, each as (data store id, id, PatientID,
    StudyInstanceUID).
    """

    reason: str
    datastore_id: str | None = None
    image_set_id: str | None = None
    sop_instance_uid: str | None = None
    pack: str | None = None
    kind: FaultKind = FaultKind.DAMAGED
    patient_id: str | None = None
    study_instance_uid: str | None = None
    concerns: tuple[tuple[str, str, str | None, str | None], ...] = ()
