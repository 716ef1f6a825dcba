"""What an operation works with: the stores, the clock, new ids, the settings and the caller."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightwell.clock import Clock, Ids
from lightwell.domain.events import EventHeader
from lightwell.observe.audit.note import AuditNote

if TYPE_CHECKING:
    from lightwell.codec_pool.client import CodecPoolClient
    from lightwell.settings import Settings
    from lightwell.stores import Stores


@dataclass(frozen=True, slots=True)
class Caller:
    """The principal that signed the request; ``whose`` as `Principal.owner`, if not the ARN; ``emergency`` as
    there."""

    account: str
    arn: str
    access_key_id: str
    whose: str | None = None
    emergency: bool = False

    @property
    def owner(self) -> str:
        """Whose something is that nobody else may have."""
        return self.whose or self.arn


@dataclass(frozen=True, slots=True)
class Context:
    """Passed to every operation, and to nothing below `operations`.

    ``pool`` sends requests to codec workers; None in commands, which have no work process.
    ``authorized_image_sets`` are the ids of the image sets that the caller's policies let the operation
    change although the request does not name them; None for all. ``note`` is for the audit trail:
    whoever finds a row of a patient notes it there, at that moment.
    """

    stores: Stores
    settings: Settings
    clock: Clock
    ids: Ids
    caller: Caller
    pool: CodecPoolClient | None = None
    authorized_image_sets: frozenset[str] | None = None
    note: AuditNote = field(default_factory=AuditNote)

    @property
    def is_restricted(self) -> bool:
        """Whether policies restrict the caller."""
        return self.authorized_image_sets is not None

    def event_header(self, id: str, now: int, datastore_id: str) -> EventHeader:
        """The header of an event in a data store of this server's account and Region."""
        return EventHeader(
            id=id,
            now=now,
            region=self.settings.region,
            account=self.settings.account_id,
            datastore_id=datastore_id,
        )
