"""States, statuses, phases and kinds: as the service model names them, and as rows keep them.

Each member equals its text, so rows, JSON and log lines hold the text alone.
"""

from __future__ import annotations

from enum import StrEnum


class ServerRole(StrEnum):
    """What a process tree does: HTTP and work, HTTP alone, or work alone."""

    SERVE = "serve"
    HTTP = "http"
    WORKER = "worker"


class DatastoreStatus(StrEnum):
    """The service model's statuses; CREATE_FAILED never occurs here."""

    CREATING = "CREATING"
    CREATE_FAILED = "CREATE_FAILED"
    ACTIVE = "ACTIVE"
    DELETING = "DELETING"
    DELETED = "DELETED"


class StorageFormat(StrEnum):
    """How lossless frames are stored."""

    HTJ2K = "HTJ2K"
    JPEG_2000_LOSSLESS = "JPEG_2000_LOSSLESS"


class ImageSetState(StrEnum):
    """The service model's states. LOCKED appears in answers and events only; no row has it."""

    ACTIVE = "ACTIVE"
    LOCKED = "LOCKED"
    DELETED = "DELETED"


class WorkflowStatus(StrEnum):
    """The service model's statuses. Versions have final ones; answers and events have the others too."""

    CREATED = "CREATED"
    COPYING = "COPYING"
    COPYING_WITH_READ_ONLY_ACCESS = "COPYING_WITH_READ_ONLY_ACCESS"
    COPIED = "COPIED"
    COPY_FAILED = "COPY_FAILED"
    UPDATING = "UPDATING"
    UPDATING_FOR_STUDY_CONSISTENCY = "UPDATING_FOR_STUDY_CONSISTENCY"
    UPDATED = "UPDATED"
    UPDATE_FAILED = "UPDATE_FAILED"
    DELETING = "DELETING"
    DELETED = "DELETED"
    IMPORTING = "IMPORTING"
    IMPORTED = "IMPORTED"
    IMPORT_FAILED = "IMPORT_FAILED"

    @property
    def is_failure(self) -> bool:
        """Whether the operation that should have created the version failed, so that it added no content."""
        return self in (self.COPY_FAILED, self.UPDATE_FAILED, self.IMPORT_FAILED)


class Origin(StrEnum):
    """What created an image set. Imports add instances only to sets that an import created."""

    IMPORT = "import"
    COPY = "copy"


class StorageTier(StrEnum):
    """Where the service would keep an image set (devguide/cost-optimization)."""

    FREQUENT_ACCESS = "FREQUENT_ACCESS"
    ARCHIVE_INSTANT_ACCESS = "ARCHIVE_INSTANT_ACCESS"


class JobStatus(StrEnum):
    """The service model's statuses of an import job."""

    SUBMITTED = "SUBMITTED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class JobPhase(StrEnum):
    """The phases of an import job, in order."""

    LIST = "list"
    READ = "read"
    COMMIT = "commit"
    REPORT = "report"
    DONE = "done"


class UnitState(StrEnum):
    """READY units wait for a worker, CLAIMED ones have one; DEAD ones were given up."""

    READY = "ready"
    CLAIMED = "claimed"
    DONE = "done"
    DEAD = "dead"


class PackState(StrEnum):
    """OPEN packs are being written, LIVE ones are referred to, DOOMED ones lose their bytes."""

    OPEN = "open"
    LIVE = "live"
    DOOMED = "doomed"


class OutcomeKind(StrEnum):
    """Whether a file was imported, or whose error prevented that."""

    IMPORTED = "imported"
    CUSTOMER = "customer"
    SERVER = "server"
