"""Whom a version of an image set is about, for the audit trail."""

from __future__ import annotations

from sqlalchemy import Connection

from lightwell.documents.metadata_documents import edited_level
from lightwell.domain.image_sets.image_set import Identity
from lightwell.domain.keys import ImageSetKey
from lightwell.stores.image_sets import lookups, native_instances


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
