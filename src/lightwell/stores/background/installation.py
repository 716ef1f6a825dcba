"""Whether a process keeps objects where its database does, and nobody else's.

A folder of one machine looks like any other folder, and a bucket like any other bucket: whoever had another
one would store frames that nobody else finds, and remove what other databases name. So database and storage
have one id, which is made at the first start. A server or worker that finds another does not start, or stops;
a command that reads or removes objects is refused; and nothing is removed from a storage before its id was
looked at. `lightwell data move` gives what it has moved another id, even if only the database or only the
storage was moved: whoever still uses the old place with what the new one has is refused.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from itertools import islice

from sqlalchemy import Connection, delete, insert, select

from lightwell.domain.states import PackState
from lightwell.errors import ConfigurationError, StorageUnavailableError
from lightwell.stores.background import servers
from lightwell.stores.background.servers import Server
from lightwell.stores.db.database import Database, insert_missing
from lightwell.stores.db.schema import MOVING, RESTORING
from lightwell.stores.db.tables import installation, pack
from lightwell.stores.objects import pack_objects, packs
from lightwell.stores.objects.interface import Objects
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.stores.objects.sealed import bare

log = logging.getLogger(__name__)

MARKER = "storage.id"
"""The object with the id."""

_STORAGE = "storage"
# At the first start of several the one that made the id writes it to the storage within this time.
_FIRST_START_SECONDS = 5.0
# So many packs are looked up in the database before a storage counts as another's.
_LOOKED_UP, _BATCH = 5_000, 500


@dataclass(frozen=True, slots=True)
class _Known:
    """The id in the database, and whether it was made just now."""

    id: str
    is_new: bool


def agree_on_storage(db: Database, objects: Objects, new_id: str, one: Server | None = None) -> None:
    """Make sure that ``objects`` are those of the database; ``new_id`` becomes their id if they have none.

    ``one`` is the process itself, None on SQLite, where there are no others. A storage that cannot be reached
    now is taken for the right one, and the log says so. Raises `ConfigurationError` for another storage.
    """
    try:
        found = read_id(objects)
        _check_whole(objects, found)
        known = db.write(partial(_enter, new_id=new_id))
        if found != known.id:
            _settle(db, objects, known, found, one)
    except StorageUnavailableError as error:
        log.warning("whether the storage is that of the database is not known yet: %s", error)


def check_storage(db: Database, objects: Objects) -> None:
    """For commands: as `agree_on_storage`, but changes nothing, and does not wait.

    A storage that has neither an id nor any of a few packs is another one, unless the database has no packs.
    """
    with db.read() as conn:
        known = known_id(conn)
    found = None
    try:
        found = read_id(objects)
        _check_whole(objects, found)
        if known is not None and found is not None:
            if found == known:
                return
        # On SQLite it is rather a disk that is not mounted, which every command tells in its own words.
        elif db.dialect == "sqlite" or _has_packs(db, objects) is not False:
            return
    except StorageUnavailableError as error:
        log.warning("whether the storage is that of the servers is not known yet: %s", error)
        return
    raise _refused(db, objects, None, found)


def check_before_removal(db: Database, objects: Objects) -> None:
    """Make sure that the storage has the id that the database knows.

    Raises `ConfigurationError` if it has another one, or none any more.
    """
    with db.read() as conn:
        known = known_id(conn)
    found = read_id(objects)
    if known != found:
        raise _refused(db, objects, None, found)


def is_of_another(db: Database, objects: Objects) -> bool:
    """Whether the storage has the id of another database or installation now."""
    with db.read() as conn:
        known = known_id(conn)
    return known is not None and read_id(objects) not in (None, known)


def _settle(db: Database, objects: Objects, known: _Known, found: str | None, one: Server | None) -> None:
    """Make the ids of database and storage one, which they are not, if nobody else can be meant."""
    if known.is_new:
        # A database of an earlier release, or restored from one, or a new one, which must not take over what
        # another one names.
        if not _is_ours(db, objects):
            db.write(_forget)
            raise _taken(objects)
        if found is not None:
            # Of an empty storage it may be that of another database, which has stored nothing yet.
            is_known = _has_packs(db, objects) is not None
            is_embedded = db.dialect == "sqlite" and isinstance(bare(objects), LocalObjects)
            if found.startswith(MOVING) or not (is_known or is_embedded):
                db.write(_forget)
                raise _claimed(objects)
            db.write(partial(set_id, id=found))
        elif _has_packs(db, objects) is not False:
            objects.put(MARKER, known.id.encode())
        else:
            db.write(_forget)
            _miss(db, objects, one)
        return
    end = time.monotonic() + _FIRST_START_SECONDS
    while found is None and time.monotonic() < end:
        elsewhere: list[str] = []
        if one is not None:
            with db.read() as conn:
                elsewhere = servers.others(conn, one)
        has_packs = _has_packs(db, objects)
        if has_packs or (has_packs is None and not elsewhere and _is_ours(db, objects)):
            # Restored without its id, or the process that made the id was killed before it wrote it.
            objects.put(MARKER, known.id.encode())
            return
        if db.dialect == "sqlite":
            break
        time.sleep(0.2)
        found = read_id(objects)
    if found is None and _is_ours(db, objects):
        _miss(db, objects, one)
    elif found != known.id:
        raise _refused(db, objects, one, found)


def _miss(db: Database, objects: Objects, one: Server | None) -> None:
    """What to do about an empty storage of a database that has packs."""
    if db.dialect != "sqlite":
        raise _refused(db, objects, one, None)
    # Nothing is written there for as long as this is so: see `packs.check_mounted`.
    log.warning("%s holds nothing of what was stored there: is its disk mounted?", objects.address)


def _is_ours(db: Database, objects: Objects) -> bool:
    """Whether a storage has no packs, or one that the database names."""
    if _has_packs(db, objects):
        return True
    listed = islice(objects.list("packs"), _LOOKED_UP)
    is_empty = True
    while some := list(islice(listed, _BATCH)):
        keys = [key for name, _ in some if (key := pack_objects.key_of(name)) is not None]
        is_empty = is_empty and not keys
        with db.read() as conn:
            if packs.existing_keys(conn, keys):
                return True
    return is_empty


def _has_packs(db: Database, objects: Objects) -> bool | None:
    """Whether the storage has any of a few packs of the database; None if that has none."""
    with db.read() as conn:
        names = [pack_name(key) for key in _some_packs(conn)]
    return any(map(objects.exists, names)) if names else None


def _refused(db: Database, objects: Objects, one: Server | None, found: str | None) -> ConfigurationError:
    elsewhere: list[str] = []
    if one is not None:
        with db.read() as conn:
            elsewhere = servers.others(conn, one)
    used = f", which {' and '.join(elsewhere[:3])} use" if elsewhere else ""
    what = (
        f"It has no {MARKER}"
        if found is None
        else f"Its {MARKER} is that of another database, or `lightwell data move` "
        "has moved one of the two, which gives a new one, so that nobody goes on with the old place"
    )
    return ConfigurationError(
        f"{objects.address} is not the storage of the objects of this database{used}: what is written there, "
        f"nobody else could read, and what others need there could be removed. {what}. Set "
        "LIGHTWELL_DATABASE_URL, LIGHTWELL_STORAGE_URL and LIGHTWELL_STORAGE_ENDPOINT_URL to what all "
        "servers and workers have: an S3 bucket, or a folder that each machine mounts at the same path. If "
        "it is such a folder, check that its disk is mounted"
    )


def _check_whole(objects: Objects, found: str | None) -> None:
    if found is not None and found.startswith(RESTORING):
        raise ConfigurationError(
            f"{objects.address} does not have all of its objects yet, since a restore into it has begun and "
            "not ended: run the same `lightwell data restore` again"
        )


def _taken(objects: Objects) -> ConfigurationError:
    return ConfigurationError(
        f"{objects.address} has objects of another installation, and this database is new: it knows none of "
        "them. Set LIGHTWELL_DATABASE_URL, or --data, to the database that they belong to, or restore that "
        "from a backup; or set LIGHTWELL_STORAGE_URL to an empty storage"
    )


def _claimed(objects: Objects) -> ConfigurationError:
    return ConfigurationError(
        f"{objects.address} is empty, but has the {MARKER} of another installation, and this database is "
        "new: two on one storage would remove each other's objects. Set LIGHTWELL_DATABASE_URL, or --data, "
        "to the database of that installation, or LIGHTWELL_STORAGE_URL to another place; or, if that "
        f"installation was given up, delete the object {MARKER} there"
    )


def read_id(objects: Objects) -> str | None:
    """The id in a storage."""
    data = objects.get(MARKER)
    return None if data is None else data.decode("ascii", "replace").strip()


def known_id(conn: Connection) -> str | None:
    """The id that the database has for its storage."""
    found = conn.execute(select(installation.c.value).where(installation.c.name == _STORAGE)).scalar()
    return None if found is None else str(found)


def set_id(conn: Connection, id: str) -> None:
    """Give the database the id of its storage."""
    _forget(conn)
    conn.execute(insert(installation), [{"name": _STORAGE, "value": id}])


def _forget(conn: Connection) -> None:
    conn.execute(delete(installation).where(installation.c.name == _STORAGE))


def _enter(conn: Connection, new_id: str) -> _Known:
    before = known_id(conn)
    if before is not None:
        return _Known(before, is_new=False)
    insert_missing(conn, installation, [{"name": _STORAGE, "value": new_id}], ["name"])
    now = known_id(conn)
    assert now is not None
    return _Known(now, is_new=now == new_id)


def _some_packs(conn: Connection) -> list[int]:
    """A few packs that must be in the storage, if there are any."""
    live = select(pack.c.key).where(pack.c.state == PackState.LIVE).limit(2)
    return [
        *conn.execute(live.order_by(pack.c.created_at)).scalars(),
        *conn.execute(live.order_by(pack.c.created_at.desc())).scalars(),
    ]
