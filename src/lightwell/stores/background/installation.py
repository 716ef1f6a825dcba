"""Whether a process keeps objects where the other processes of its database do.

A folder of one machine looks like any other folder, and a bucket like any other bucket: whoever had another
one would store frames that nobody else finds. So the database and the storage have one id, which is made at
the first start, and a server or worker that finds another does not start, nor does a command that reads or
removes objects. On SQLite there is only one server.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, select, update

from lightwell.domain.states import PackState
from lightwell.errors import ConfigurationError, StorageUnavailableError
from lightwell.stores.background import servers
from lightwell.stores.background.servers import Server
from lightwell.stores.db.database import Database, insert_missing
from lightwell.stores.db.tables import installation, pack
from lightwell.stores.objects.interface import Objects
from lightwell.stores.objects.packs import pack_name

log = logging.getLogger(__name__)

MARKER = "storage.id"
"""The object with the id."""

_STORAGE = "storage"
_ID = select(installation.c.value).where(installation.c.name == _STORAGE)
# At the first start of several the one that made the id writes it to the storage within this time.
_FIRST_START_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Known:
    """The id in the database, and whether it was made just now."""

    id: str
    is_new: bool


def agree_on_storage(db: Database, objects: Objects, new_id: str, one: Server | None = None) -> None:
    """Make sure that ``objects`` are those of the database; ``new_id`` becomes their id if they have none.

    ``one`` is the process itself. A storage that cannot be reached now is taken for the right one, and the
    log says so. Raises `ConfigurationError` for another storage.
    """
    if db.dialect == "sqlite":
        return
    known = db.write(lambda conn: _enter(conn, new_id))
    try:
        _compare(db, objects, known, one)
    except StorageUnavailableError as error:
        log.warning("whether the storage is that of the other servers is not known yet: %s", error)


def check_storage(db: Database, objects: Objects) -> None:
    """For commands: as `agree_on_storage`, but changes nothing, and does not wait.

    A storage that has neither an id nor any of a few packs is another one, unless the database has no packs.
    """
    if db.dialect == "sqlite":
        return
    with db.read() as conn:
        known = conn.execute(_ID).scalar()
    try:
        found = _read(objects)
        if known is not None and found is not None:
            if found == known:
                return
        elif _has_packs(db, objects) is not False:
            return
    except StorageUnavailableError as error:
        log.warning("whether the storage is that of the servers is not known yet: %s", error)
        return
    raise _refused(db, objects, None)


def _compare(db: Database, objects: Objects, known: _Known, one: Server | None) -> None:
    found = _read(objects)
    if found == known.id:
        return
    if known.is_new:
        if found is None:
            # A database of an earlier release has packs, but neither it nor its storage has an id yet.
            if _has_packs(db, objects) is False:
                raise _refused(db, objects, one)
            objects.put(MARKER, known.id.encode())
        else:
            db.write(partial(_change, id=found))
        return
    end = time.monotonic() + _FIRST_START_SECONDS
    while found is None and time.monotonic() < end:
        with db.read() as conn:
            elsewhere = [] if one is None else servers.others(conn, one)
        has_packs = _has_packs(db, objects)
        if has_packs or (has_packs is None and not elsewhere):
            # Restored without its id, or the process that made the id was killed before it wrote it.
            objects.put(MARKER, known.id.encode())
            return
        time.sleep(0.2)
        found = _read(objects)
    if found != known.id:
        raise _refused(db, objects, one)


def _refused(db: Database, objects: Objects, one: Server | None) -> ConfigurationError:
    with db.read() as conn:
        elsewhere = [] if one is None else servers.others(conn, one)
    used = f", which {' and '.join(elsewhere[:3])} use" if elsewhere else ""
    return ConfigurationError(
        f"{objects.address} is not the storage of the objects of this database{used}: what is written there, "
        "nobody else could read. Set LIGHTWELL_STORAGE_URL, and LIGHTWELL_STORAGE_ENDPOINT_URL, to what all "
        "servers and workers of the database have: an S3 bucket, or a folder that each machine mounts at the "
        "same path. If it is such a folder, check that its disk is mounted"
    )


def _has_packs(db: Database, objects: Objects) -> bool | None:
    """Whether the storage has any of a few packs of the database; None if that has none."""
    with db.read() as conn:
        names = [pack_name(key) for key in _some_packs(conn)]
    return any(map(objects.exists, names)) if names else None


def _read(objects: Objects) -> str | None:
    data = objects.get(MARKER)
    return None if data is None else data.decode("ascii", "replace").strip()


def _enter(conn: Connection, new_id: str) -> _Known:
    before = conn.execute(_ID).scalar()
    if before is not None:
        return _Known(before, is_new=False)
    insert_missing(conn, installation, [{"name": _STORAGE, "value": new_id}], ["name"])
    now = conn.execute(_ID).scalar_one()
    return _Known(now, is_new=now == new_id)


def _change(conn: Connection, id: str) -> None:
    conn.execute(update(installation).where(installation.c.name == _STORAGE).values(value=id))


def _some_packs(conn: Connection) -> list[int]:
    """A few packs that must be in the storage, if there are any."""
    live = select(pack.c.key).where(pack.c.state == PackState.LIVE).limit(2)
    return [
        *conn.execute(live.order_by(pack.c.created_at)).scalars(),
        *conn.execute(live.order_by(pack.c.created_at.desc())).scalars(),
    ]
