"""What the collector has removed, as records of the audit trail: so many at once, by nobody.

Who had it deleted is on record before, with the patient; by then the database knows no patient of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightwell.domain.imports.uploads import Upload
from lightwell.observe.audit.record import AuditRecord


def of_sets(removed: Sequence[tuple[str, str]]) -> list[AuditRecord]:
    """Of deleted image sets whose attributes and instances are gone: (data store, image set) of each."""
    stores: dict[str, list[str]] = {}
    for store, image_set in removed:
        stores.setdefault(store, []).append(image_set)
    return [_record("RemoveImageSets", store=store, image_sets=tuple(ids)) for store, ids in stores.items()]


def of_packs(names: Sequence[str]) -> AuditRecord:
    """Of packs whose bytes are gone."""
    return _record("RemovePacks", items=tuple(names))


def of_upload(upload: Upload, datastore_id: str, files: int) -> AuditRecord:
    """Of files that somebody had uploaded for an import, and that have served their purpose."""
    return _record(
        "RemoveUploadedFiles", who=upload.caller, store=datastore_id, items=(upload.id,), found=files
    )


def of_rows(removed: Mapping[str, int]) -> AuditRecord:
    """Of rows that were kept for as long as the settings say."""
    return _record("RemoveObsoleteRows", kind="system", query=dict(removed))


def _record(operation: str, kind: str = "change", **members: object) -> AuditRecord:
    return AuditRecord(operation=operation, kind=kind, **members)  # type: ignore[arg-type]
