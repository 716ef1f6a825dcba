"""Whom a version of an image set is about, for the audit trail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from lightwell.documents.metadata_documents import edited_level
from lightwell.domain.image_sets.image_set import Identity
from lightwell.domain.keys import ImageSetKey
from lightwell.observe.audit.note import AuditNote
from lightwell.stores.image_sets import lookups, native_instances

if TYPE_CHECKING:
    from lightwell.stores import Stores


def identity_of_version(conn: Connection, key: ImageSetKey, version: int) -> Identity:
    """Whom that version is about, which may be another patient than the set is about by now.

    Raises `StorageError` where the version's attributes are lost.
    """
    readable, identity = lookups.identity_of(conn, key)
    if version == readable:
        return identity
    patient, study, series = (edited_level(level) for level in native_instances.levels(conn, key, version))
    return Identity(
        identity.image_set,
        _text(patient.get("PatientID")),
        _text(study.get("StudyInstanceUID")) or identity.study,
        _text(series.get("SeriesInstanceUID")) or identity.series,
    )


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def note_image_sets(stores: Stores, note: AuditNote, datastore_id: str, ids: Sequence[str]) -> None:
    """Note whom these sets of a data store are about now; those that do not exist are left out."""
    with stores.db.read() as conn:
        for id in ids:
            found = lookups.identity(conn, datastore_id, id)
            if found is not None:
                note.saw(*found[1])
