"""What the ids of a DICOMweb path name: sets of a study or a series, and instances in them.

Source: AWS's dicomweb-retrieve pages. Without ``imageSetId`` only primary image sets are considered, with it
any set; always in the latest version with content. See `stores.image_sets.by_series`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from lightwell.domain.image_sets.dicom_json_lines import instance_path
from lightwell.domain.states import DatastoreStatus
from lightwell.errors import NotFoundError, ValidationError
from lightwell.operations.context import Context
from lightwell.stores.account import datastores
from lightwell.stores.image_sets import by_series, part10_instances
from lightwell.stores.image_sets.by_series import SeriesSet
from lightwell.stores.image_sets.part10_instances import StoredInstance

__all__ = [
    "DicomwebTarget",
    "SeriesSet",
    "StoredInstance",
    "check_ids",
    "check_uids",
    "instance_of",
    "instance_path",
    "note_sets",
    "series_set",
    "study_sets",
]

_ID = re.compile(r"[0-9a-z]{32}")
_UID = re.compile(r"[0-9.]{1,64}")
_LONGEST = 256
_NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True, slots=True)
class DicomwebTarget:
    """What a path names: a study, a series, an instance or a frame; UIDs are percent-decoded.

    ``number`` is the frame's, from 1. ``base`` is the URL of the data store, for links in the answer.
    """

    datastore_id: str
    study: str
    series: str | None = None
    instance: str | None = None
    image_set_id: str | None = None
    number: int | None = None
    base: str = ""


def study_sets(conn: Connection, datastore_id: str, study_uid: str) -> list[SeriesSet]:
    """The primary sets of a study, by SeriesNumber, then by UID; never empty.

    Raises `ValidationError` for malformed ids, `NotFoundError` where the study does not exist.
    """
    _check_text(datastore_id, study_uid)
    found = by_series.of_study(conn, datastore_id, study_uid)
    if not found:
        _check_datastore(conn, datastore_id)
        check_uids(study_uid)
        raise NotFoundError(f"Data store {datastore_id} has no primary image set of study {study_uid}.")
    return found


def series_set(
    conn: Connection, datastore_id: str, study_uid: str, series_uid: str, image_set_id: str | None = None
) -> SeriesSet:
    """The primary set of a series, or the set ``image_set_id`` where it holds that series.

    Raises `ValidationError` for malformed ids, `NotFoundError` where the set does not exist.
    """
    check_ids(datastore_id, image_set_id)
    _check_text(datastore_id, study_uid, series_uid)
    found = by_series.of_series(conn, datastore_id, study_uid, series_uid)
    for each in found:
        if each.is_primary if image_set_id is None else each.id == image_set_id:
            return each
    _check_datastore(conn, datastore_id)
    check_uids(study_uid, series_uid)
    place = f"series {series_uid} of study {study_uid}"
    if image_set_id is not None:
        raise NotFoundError(f"Image set {image_set_id} does not hold {place}.")
    if found:
        raise NotFoundError(
            f"No primary image set holds {place}; name another image set in the query parameter imageSetId."
        )
    raise NotFoundError(f"Data store {datastore_id} has no {place}.")


def instance_of(conn: Connection, found: SeriesSet, sop_instance_uid: str) -> StoredInstance:
    """The instance of a set that has this SOPInstanceUID.

    Raises `ValidationError` for a malformed UID, `NotFoundError` where the set has no such instance.
    """
    _check_text(found.datastore_id, sop_instance_uid)
    instance = part10_instances.find_instance(
        conn, found.key, found.version, found.datastore, sop_instance_uid
    )
    if instance is None:
        check_uids(found.study_instance_uid, found.series_instance_uid, sop_instance_uid)
        raise NotFoundError(
            f"Image set {found.id} of series {found.series_instance_uid} has no instance {sop_instance_uid}."
        )
    return instance


def note_sets(ctx: Context, sets: Iterable[SeriesSet]) -> None:
    """Note for the audit trail whom these sets are about."""
    for each in sets:
        ctx.note.saw(each.id, each.patient_id, each.study_instance_uid, each.series_instance_uid)


def check_uids(*uids: str | None) -> None:
    """Raise `ValidationError` for the first malformed UID of study, series and instance.

    To be called only where nothing was found under them: some files have UIDs that break the rules, are
    imported with a warning, and must be found.
    """
    for name, uid in zip(_NAMES, uids, strict=False):
        if uid is not None and not _UID.fullmatch(uid):
            raise ValidationError(
                f"{name} {uid[:80]!r} is not a UID: a UID has at most 64 characters, digits and dots."
            )


def check_ids(datastore_id: str, image_set_id: str | None = None) -> None:
    """Raise `ValidationError` where a data store id or an image set id is malformed."""
    for name, id in (("data store", datastore_id), ("imageSetId", image_set_id)):
        if id is not None and not _ID.fullmatch(id):
            raise ValidationError(
                f"The {name} {id[:80]!r} is not an id: ids have 32 characters, digits and lower-case letters."
            )


def _check_text(datastore_id: str, *uids: str) -> None:
    """Raise `ValidationError` for text that must not reach the database."""
    check_ids(datastore_id)
    for uid in uids:
        if "\0" in uid or not 0 < len(uid) <= _LONGEST:
            raise ValidationError(
                f"{uid[:80]!r} is not a UID: a UID has at most 64 characters, digits and dots."
            )


def _check_datastore(conn: Connection, datastore_id: str) -> None:
    store = datastores.get(conn, datastore_id)
    if store is None or store.status == DatastoreStatus.DELETED:
        raise NotFoundError(f"Datastore {datastore_id} does not exist.")
