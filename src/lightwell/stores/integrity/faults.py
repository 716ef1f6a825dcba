"""What is found to be damaged: a row for each place, and an event with each new row.

A row names nobody: whom it concerns is looked up when it is shown, so that erasing leaves nothing here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, text

from lightwell.domain.events import EventHeader, integrity_event
from lightwell.domain.integrity import FaultKind
from lightwell.domain.states import ImageSetState
from lightwell.stores.background import outbox
from lightwell.stores.db.bulk import batches
from lightwell.stores.db.tables import datastore, image_set, integrity_fault, pack, record
from lightwell.stores.image_sets.records import level_bodies

_MOST_SETS, _LONGEST = 20, 500
_INSERT = text(
    "INSERT INTO integrity_fault (place, kind, reason, datastore, pack, record, image_set, run, found_at)"
    " VALUES (:place, :kind, :reason, :datastore, :pack, :record, :image_set, :run, :found_at)"
    " ON CONFLICT (place) DO NOTHING"
)
_FOUND_AGAIN = text(
    "UPDATE integrity_fault SET run = :run, reason = :reason, kind = :kind WHERE place = :place"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One place that is damaged; what is not known is None.

    ``place`` says where, the same each time. ``datastore``, ``pack``, ``record``, ``image_set`` are keys of
    rows; ``run`` is that of `data verify` which found it.
    """

    place: str
    reason: str
    kind: FaultKind = FaultKind.DAMAGED
    datastore: int | None = None
    pack: int | None = None
    record: int | None = None
    image_set: int | None = None
    run: int | None = None


def place_in_pack(name: str, offset: int) -> str:
    """The place of what begins at a byte of a pack."""
    return f"{name} {offset}"


def note(
    conn: Connection,
    fault: Fault,
    now: int,
    header: Callable[[str], EventHeader],
    *,
    is_event: bool = True,
) -> bool:
    """Keep a fault; False if its place is known to be damaged already.

    A new one of a data store that exists is an event, unless ``is_event`` is False: ``header`` gives its
    envelope for the data store's id.
    """
    # It may end with what an exception says, which may be what a file holds.
    reason = fault.reason if len(fault.reason) <= _LONGEST else f"{fault.reason[:_LONGEST]}…"
    row = {
        "place": fault.place,
        "kind": fault.kind.value,
        "reason": reason,
        "datastore": _datastore(conn, fault),
        "pack": fault.pack,
        "record": fault.record,
        "image_set": fault.image_set,
        "run": fault.run,
        "found_at": now,
    }
    if not conn.execute(_INSERT, row).rowcount:
        if fault.run is not None:
            conn.execute(_FOUND_AGAIN, row)
        return False
    of = select(datastore.c.id).where(datastore.c.key == row["datastore"])
    store = conn.execute(of).scalar()
    if is_event and store is not None and fault.kind is FaultKind.DAMAGED:
        event = integrity_event(
            header(store), place=fault.place, reason=reason, image_set_ids=_sets(conn, fault)
        )
        outbox.append(conn, event)
    return True


def known(conn: Connection, run: int, after: str, limit: int) -> Sequence[Fault]:
    """The faults that a run has found, by their places, after the place ``after``."""
    rows = conn.execute(
        select(integrity_fault)
        .where(integrity_fault.c.run == run, integrity_fault.c.place > after)
        .order_by(integrity_fault.c.place)
        .limit(limit)
    )
    return [
        Fault(
            place=row.place,
            reason=row.reason,
            kind=FaultKind(row.kind),
            datastore=row.datastore,
            pack=row.pack,
            record=row.record,
            image_set=row.image_set,
            run=row.run,
        )
        for row in rows
    ]


def forget(conn: Connection, places: Iterable[str]) -> None:
    """Drop faults that are no more, so that the next one there is told again."""
    for some in batches(places):
        conn.execute(delete(integrity_fault).where(integrity_fault.c.place.in_(some)))


def forget_pack(conn: Connection, pack_key: int) -> None:
    """Drop what was wrong with a pack and with what lies in it: it has been put back."""
    conn.execute(delete(integrity_fault).where(integrity_fault.c.pack == pack_key))


def forget_set(conn: Connection, image_set_key: int) -> None:
    """Drop what was wrong with the rows of an image set: they have been made anew."""
    conn.execute(delete(integrity_fault).where(integrity_fault.c.image_set == image_set_key))


def _datastore(conn: Connection, fault: Fault) -> int | None:
    if fault.datastore is not None:
        return fault.datastore
    of, key = (pack, fault.pack) if fault.image_set is None else (image_set, fault.image_set)
    found = None if key is None else conn.execute(select(of.c.datastore).where(of.c.key == key)).scalar()
    return None if found is None else int(found)


def _sets(conn: Connection, fault: Fault) -> list[str]:
    """The ids of sets that may be concerned: the one that is named, or those of the series in the pack."""
    active = image_set.c.state == ImageSetState.ACTIVE
    query = select(image_set.c.id).where(active).order_by(image_set.c.key).limit(_MOST_SETS)
    if fault.image_set is not None:
        return list(conn.execute(query.where(image_set.c.key == fault.image_set)).scalars())
    if fault.pack is None:
        return []
    held = conn.execute(
        select(record.c.datastore, record.c.series_value).where(record.c.pack == fault.pack).distinct()
    ).all()
    found: set[str] = set()
    bodies = level_bodies(conn, {value for _, value in held})
    for store, value in held:
        series = json.loads(bodies[value]).get("SeriesInstanceUID") if value in bodies else None
        if isinstance(series, str):
            of_series = query.where(image_set.c.datastore == store, image_set.c.series_instance_uid == series)
            found |= set(conn.execute(of_series).scalars())
    return sorted(found)[:_MOST_SETS]
