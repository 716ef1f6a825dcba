"""An image set and its versions: what the tables say of them, and what is derived.

Source: docs/design/versions.md; devguide/understanding-image-sets and /cost-optimization.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from lightwell.domain.image_sets.grouping import Grouping

ImageSetState: TypeAlias = Literal["ACTIVE", "DELETED"]
ACTIVE: Final = "ACTIVE"
DELETED: Final = "DELETED"
LOCKED: Final = "LOCKED"
"""Shown by answers and events of operations; never a state that is kept."""
IMPORTING: Final = "IMPORTING"

Origin: TypeAlias = Literal["import", "copy"]
"""How an image set was made. Imports put instances into sets of origin import only."""

FinalWorkflowStatus: TypeAlias = Literal[
    "CREATED", "IMPORTED", "IMPORT_FAILED", "COPIED", "COPY_FAILED", "UPDATED", "UPDATE_FAILED"
]
"""How the making of a version ended."""

_ARCHIVE_AFTER = 30 * 24 * 3600 * 1000
"""Milliseconds without an access after which a set counts as archived (devguide/cost-optimization)."""


@dataclass(frozen=True, slots=True)
class ImageSet:
    """One row of ``image_set`` without its search columns. Times are milliseconds since the epoch.

    ``readable_version`` is the newest version with content, 0 where none has; ``series_instance_uid`` is None
    once the set is deleted.
    """

    key: int
    id: str
    datastore: int
    study: int
    series_instance_uid: str | None
    origin: Origin
    is_primary: bool
    state: ImageSetState
    latest_version: int
    readable_version: int
    created_at: int
    updated_at: int
    deleted_at: int | None
    last_accessed_at: int

    @property
    def deleted(self) -> bool:
        return self.state == DELETED


@dataclass(frozen=True, slots=True)
class Version:
    """One row of ``version``; ``workflow_status`` is a final one, ``caller`` the ARN of who made it."""

    number: int
    workflow_status: FinalWorkflowStatus
    message: str | None
    forced: bool | None
    caller: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a search shows of one set: the attributes of its readable version, None where absent or empty."""

    id: str
    version: int
    is_primary: bool
    created_at: int
    updated_at: int
    last_accessed_at: int
    patient_id: str | None
    patient_name: str | None
    patient_birth_date: str | None
    patient_sex: str | None
    study_instance_uid: str | None
    study_id: str | None
    study_description: str | None
    accession_number: str | None
    study_date: str | None
    study_time: str | None
    series_instance_uid: str | None
    series_number: str | None
    modality: str | None
    body_part_examined: str | None
    instance_count: int

    @property
    def grouping(self) -> Grouping:
        """The values by which an instance would be put into this set."""
        return Grouping(
            self.study_instance_uid or "",
            self.series_instance_uid or "",
            self.patient_id or "",
            self.study_date or "",
            self.accession_number or "",
            self.study_id or "",
            self.series_number or "",
        )


def storage_tier(last_accessed_at: int, now: int) -> str:
    """Archived after 30 days without an access; an access brings the set back at once."""
    return "ARCHIVE_INSTANT_ACCESS" if now - last_accessed_at > _ARCHIVE_AFTER else "FREQUENT_ACCESS"
