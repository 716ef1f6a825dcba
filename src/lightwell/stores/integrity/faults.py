"""What is found to be damaged: a row for each place, and an event with each new row.

Each run of `data verify` that finds a place keeps a row of its own beside that one, with its key and with
`OF_RUN` before the place, so that what another run finds at the same time takes nothing from its report.

A row names nobody: whom it concerns is looked up when it is shown, so that erasing leaves nothing here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, delete, func, select, text

from lightwell.domain.events import EventHeader, integrity_event
from lightwell.domain.integrity import FaultKind
from lightwell.domain.states import ImageSetState
from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.background import outbox
from lightwell.stores.db.bulk import batches
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import datastore, image_set, integrity_fault, pack, record
from lightwell.stores.image_sets.records import level_bodies
from lightwell.stores.keys.job_values import NO_KEY

Found = TypeVar("Found")

_MOST_SETS, _LONGEST = 20, 500
_INSERT = text(
    "INSERT INTO integrity_fault (place, kind, reason, datastore, pack, record, image_set, run, found_at)"
    " VALUES (:place, :kind, :reason, :datastore, :pack, :record, :image_set, :run, :found_at)"
    " ON CONFLICT (place) DO NOTHING"
)
_FOUND_BY_RUN = text(
    "INSERT INTO integrity_fault (place, kind, reason, datastore, pack, record, image_set, run, found_at)"
    " VALUES (:place, :kind, :reason, :datastore, :pack, :record, :image_set, :run, :found_at)"
    " ON CONFLICT (place) DO UPDATE"
    " SET kind = excluded.kind, reason = excluded.reason, found_at = excluded.found_at"
)
OF_RUN = "run {:016x}: "
"""What begins the place of a row of one run; no other place begins with its first word."""
IS_OF_RUN = integrity_fault.c.place.like("run %")
BARE_PLACE = func.substr(integrity_fault.c.place, len(OF_RUN.format(0)) + 1)
"""The place that a row of one run is about."""


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
    concerned: Sequence[str] | None,
) -> bool:
    """Keep a fault; False if its place is known to be damaged already.

    A new one of a data store that exists is an event that names the image sets ``concerned``, unless that is
    None: ``header`` gives its envelope for the data store's id.
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
        "run": None,
        "found_at": now,
    }
    if fault.run is not None:
        own = {"place": OF_RUN.format(fault.run) + fault.place, "run": fault.run}
        conn.execute(_FOUND_BY_RUN, row | own)
    if not conn.execute(_INSERT, row).rowcount:
        return False
    of = select(datastore.c.id).where(datastore.c.key == row["datastore"])
    store = conn.execute(of).scalar()
    if concerned is not None and store is not None and fault.kind is FaultKind.DAMAGED:
        event = integrity_event(header(store), place=fault.place, reason=reason, image_set_ids=concerned)
        outbox.append(conn, event)
    return True


def known(conn: Connection, run: int, after: str, limit: int) -> Sequence[Fault]:
    """The faults that a run has found, by the places of its own rows, after the place ``after``."""
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


def concerned_sets(db: Database, fault: Fault) -> list[str]:
    """The ids of sets that may be concerned: the one that is named, or those of the series in the pack.

    In transactions of their own, since these rows may be damaged, too, or their key not be to be had: a fault
    is told nevertheless, with the sets that can be found. Raises `StorageUnavailableError`.
    """
    found: set[str] = set()
    for store, key in _held_in(db, fault):
        if len(found) >= _MOST_SETS:
            break
        found.update(_readable(db, partial(_of_held, store=store, key=key)))
    return sorted(found)[:_MOST_SETS]


def _held_in(db: Database, fault: Fault) -> Sequence[tuple[int | None, int]]:
    """(data store, series value) of what is in the pack, or (None, the set that is named)."""
    if fault.image_set is not None:
        return [(None, fault.image_set)]
    if fault.pack is None:
        return []
    query = select(record.c.datastore, record.c.series_value).where(record.c.pack == fault.pack).distinct()
    return _readable(db, lambda conn: [(store, value) for store, value in conn.execute(query)])


def _of_held(conn: Connection, store: int | None, key: int) -> list[str]:
    active = image_set.c.state == ImageSetState.ACTIVE
    query = select(image_set.c.id).where(active).order_by(image_set.c.key).limit(_MOST_SETS)
    if store is None:
        return list(conn.execute(query.where(image_set.c.key == key)).scalars())
    body = level_bodies(conn, {key}).get(key)
    series = None if body is None else json.loads(body).get("SeriesInstanceUID")
    if not isinstance(series, str):
        return []
    of_series = query.where(image_set.c.datastore == store, image_set.c.series_instance_uid == series)
    return list(conn.execute(of_series).scalars())


def _readable(db: Database, work: Callable[[Connection], list[Found]]) -> list[Found]:
    """What ``work`` reads; nothing where it is damaged, or its key not to be had."""
    try:
        with db.read() as conn:
            return work(conn)
    except NO_KEY:
        return []
    except StorageUnavailableError:
        raise
    except (StorageError, ValueError):
        return []
