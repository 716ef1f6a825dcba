"""An image set and its versions as rows of the tables, and what is derived from them.

Source: docs/design/versions.md; devguide/understanding-image-sets and /cost-optimization.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lightwell.domain.image_sets.grouping import Grouping
from lightwell.domain.keys import ImageSetKey, StudyKey
from lightwell.domain.states import ImageSetState, Origin, StorageTier, WorkflowStatus

_ARCHIVE_AFTER = 30 * 24 * 3600 * 1000
"""Milliseconds without an access after which a set counts as archived (devguide/cost-optimization)."""


@dataclass(frozen=True, slots=True)
class ImageSet:
    """One row of ``image_set`` without its search columns. Times are milliseconds since the epoch.

    ``readable_version`` is the newest version with content, 0 if none has; ``series_instance_uid`` is None
    once the set is deleted.
    """

    key: ImageSetKey
    id: str
    datastore: int
    study: StudyKey
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
        return self.state == ImageSetState.DELETED


@dataclass(frozen=True, slots=True)
class Version:
    """One row of ``version``.

    ``workflow_status`` is final, ``caller`` the ARN of the principal that made it. ``reverted_to`` is the
    version whose content it has again, ``copied_from`` the id of the set that was copied; None too for
    versions made before these were kept.
    """

    number: int
    workflow_status: WorkflowStatus
    message: str | None
    forced: bool | None
    caller: str
    created_at: int
    reverted_to: int | None = None
    copied_from: str | None = None


class Identity(NamedTuple):
    """Whom a version is about: the id of its image set, and the PatientID and UIDs that it has."""

    image_set: str
    patient: str | None
    study: str | None
    series: str | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What a search shows of a set: the attributes of its readable version, None where absent or empty."""

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
        """The grouping values with which an import would add an instance to this set."""
        return Grouping(
            self.study_instance_uid or "",
            self.series_instance_uid or "",
            self.patient_id or "",
            self.study_date or "",
            self.accession_number or "",
            self.study_id or "",
            self.series_number or "",
        )


def storage_tier(last_accessed_at: int, now: int) -> StorageTier:
    """Archived after 30 days without an access; an access restores the set at once."""
    is_archived = now - last_accessed_at > _ARCHIVE_AFTER
    return StorageTier.ARCHIVE_INSTANT_ACCESS if is_archived else StorageTier.FREQUENT_ACCESS
