"""Data stores: their states, and the rules for their names and for deleting them.

Sources: the service model, devguide/create-data-store and devguide/delete-data-store. There is no
UpdateDatastore: everything but tags is fixed at creation.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightwell.domain.states import DatastoreStatus, StorageFormat
from lightwell.errors import ConflictError

# devguide/understanding-image-sets: at most 50 tags per resource, data stores included.
MOST_TAGS = 50


@dataclass(frozen=True, slots=True)
class DataStore:
    """One row of ``datastore``. Times are milliseconds since the epoch."""

    key: int
    id: str
    name: str
    status: DatastoreStatus
    storage_format: StorageFormat
    kms_key_arn: str | None
    lambda_authorizer_arn: str | None
    created_at: int
    updated_at: int


def default_name(datastore_id: str) -> str:
    """The name of a data store that was created without one: in the API every data store has a name."""
    return f"Datastore-{datastore_id[:8]}"


def check_deletable(datastore_id: str, *, has_image_sets: bool, has_running_jobs: bool) -> None:
    """Raises `ConflictError` unless the data store is empty and has no running import jobs."""
    if has_running_jobs:
        raise ConflictError(
            f"Datastore {datastore_id} has import jobs that are submitted or in progress. "
            "Wait for them to end before deleting the datastore."
        )
    if has_image_sets:
        raise ConflictError(
            f"Datastore {datastore_id} is not empty. Delete all image sets before deleting the datastore."
        )
