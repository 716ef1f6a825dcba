"""What one request, command or import job learns of the patients that it concerns, as it goes on.

Whoever finds a row notes what it says at that moment. Nothing is looked up afterwards: by then the image set
may be gone, or another patient's.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from lightwell.observe.audit.record import AuditRecord, Change

# As many as the largest page of a search shows, so that each patient who was shown is on record.
MOST: Final = 1_000


class AuditNote(Struct):
    """Collected along the way, by one thread at a time, and written into a record at the end."""

    store: str | None = None
    version: int | None = None
    instance: str | None = None
    query: dict[str, Any] | None = None
    found: int | None = None
    job: str | None = None
    emergency: bool = False
    reason: str | None = None
    # Of a command: the access key that it was about.
    key: str | None = None
    image_sets: dict[str, None] = {}
    patients: dict[str, None] = {}
    studies: dict[str, None] = {}
    series: dict[str, None] = {}
    items: list[str] = []
    changes: list[Change] = []
    tags: dict[str, tuple[str | None, str | None]] = {}
    more: int = 0

    def saw(
        self,
        image_set: str | None = None,
        patient: str | None = None,
        study: str | None = None,
        series: str | None = None,
    ) -> None:
        """Note what a row says of whom it is about; once, however often it is seen.

        An empty patient id names nobody, and is left out.
        """
        for value, seen in (
            (image_set, self.image_sets),
            (patient, self.patients),
            (study, self.studies),
            (series, self.series),
        ):
            if value and value not in seen:
                if len(seen) < MOST:
                    seen[value] = None
                else:
                    self.more += 1

    def asked_for(self, item: str) -> None:
        """Note a frame, bulk data or transfer syntax that was asked for."""
        if len(self.items) < MOST:
            self.items.append(item)
        else:
            self.more += 1

    def changed(self, what: str, before: str | None = None, after: str | None = None) -> None:
        """Note a change of a key, role, policy, authorizer, data store or setting.

        By digests of it, or by what it was and is if that is short and no secret, such as an ARN or a time.
        """
        self.changes.append(Change(what, before, after))

    def tagged(self, key: str, before: str | None, after: str | None) -> None:
        """Note the values that a tag had and has, None for none.

        They may say anything, so whoever makes the record masks them like what is searched for; `fill` leaves
        them out.
        """
        self.tags[key] = before, after

    def clear(self) -> None:
        """Forget all but the data store: it is on record. Whoever holds the note goes on with it."""
        empty = AuditNote(store=self.store)
        for name in self.__struct_fields__:
            setattr(self, name, getattr(empty, name))

    def fill(self, record: AuditRecord) -> None:
        """Write what was noted into the record; members of it that were not noted stay as they are.

        Of several series none is named: their image sets are.
        """
        if self.store is not None:
            record.store = self.store
        if self.version is not None:
            record.version = self.version
        if self.instance is not None:
            record.instance = self.instance
        if self.query is not None:
            record.query = self.query
        if self.found is not None:
            record.found = self.found
        if self.job is not None:
            record.job = self.job
        if self.key is not None:
            record.key = self.key
        if self.emergency:
            record.emergency = True
        if self.reason is not None:
            record.reason = self.reason
        if self.image_sets:
            record.image_set, record.image_sets = _one_or_many(self.image_sets)
        if self.patients:
            record.patient, record.patients = _one_or_many(self.patients)
        if self.studies:
            record.study, record.studies = _one_or_many(self.studies)
        if self.series:
            record.series = next(iter(self.series)) if len(self.series) == 1 else None
        if self.items:
            record.items = tuple(self.items)
        if self.changes:
            record.change = tuple(self.changes)
        record.more += self.more


def _one_or_many(seen: dict[str, None]) -> tuple[str | None, tuple[str, ...]]:
    return (next(iter(seen)), ()) if len(seen) == 1 else (None, tuple(seen))
