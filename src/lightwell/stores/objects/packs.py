"""Packs: an object with the frames and originals of one series of one chunk, and its row.

The order is: the row is inserted as *open* before the first byte is written; the bytes are written and
fsynced; whoever refers to the pack finds it *open* or *live* in the same transaction and makes it *live*.
The collector makes packs *doomed* that nothing refers to, in a transaction of its own, and only then
removes their bytes. So a writer that was suspended through all of this cannot commit a pack that is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, func, or_, select, union, update

from lightwell.domain.keys import ImageSetKey
from lightwell.domain.states import PackState
from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.db.bulk import insert_many
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import member, pack, pixels, record
from lightwell.stores.objects.interface import Objects
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.stores.objects.sealed import bare

_USABLE = (PackState.OPEN, PackState.LIVE)
_MAKE_LIVE = (
    update(pack)
    .where(pack.c.key == bindparam("of_pack"), pack.c.state.in_(_USABLE))
    .values(
        state=PackState.LIVE,
        size=bindparam("bytes"),
        checksum=bindparam("crc"),
        seal=bindparam("its_seal"),
    )
)

# Any instance of a pack tells its place, since a pack holds neighbours.
_MEMBERS = (
    select(member.c.pixels, member.c.record)
    .where(member.c.image_set == bindparam("set"), member.c.valid_to.is_(None))
    .limit(20_000)
    .subquery()
)
_PACKS = (
    select(pixels.c.pack, func.min(_MEMBERS.c.record).label("record"))
    .join(_MEMBERS, _MEMBERS.c.pixels == pixels.c.key)
    .group_by(pixels.c.pack)
    .subquery()
)
_IN_ORDER: Select[Any] = (
    select(pack.c.key, pack.c.size)
    .join(_PACKS, _PACKS.c.pack == pack.c.key)
    .join(record, record.c.key == _PACKS.c.record)
    .where(pack.c.state == PackState.LIVE)
    .order_by(record.c.instance_number.is_(None), record.c.instance_number, pack.c.key)
    .limit(1024)
)


def check_mounted(db: Database, objects: Objects) -> None:
    """Raise `StorageUnavailableError` if the folder of packs is gone although there are packs.

    A disk that is not mounted leaves an empty folder: whatever was written there would be hidden as soon as
    the disk is back. The database is asked only if the folder is missing.
    """
    objects = bare(objects)
    if not isinstance(objects, LocalObjects):
        return
    folder = objects.root / "packs"
    try:
        if folder.is_dir():
            return
    except OSError as error:  # a network's folder that is gone, or a disk that fails
        raise StorageUnavailableError(f"{folder} cannot be looked at: {error.strerror}") from error
    with db.read() as conn:
        live = select(pack.c.key).where(pack.c.state == PackState.LIVE).limit(1)
        if conn.execute(live).first() is not None:
            raise StorageUnavailableError(
                f"{objects.root} holds nothing of what was stored there: is its disk mounted, or was it "
                f"moved? If it is lost for good, make the folder {objects.root / 'packs'} and import again"
            )


def in_order(conn: Connection, image_set: ImageSetKey) -> list[tuple[str, int]]:
    """The objects, and their bytes, with the frames of the newest version of a set, by InstanceNumber.

    Of very large sets not all of them.
    """
    return [(pack_name(key), size) for key, size in conn.execute(_IN_ORDER, {"set": image_set})]


def insert_open(
    conn: Connection, keys: Sequence[int], datastore: int, now: int, data_key: int | None = None
) -> None:
    """Insert the rows of packs that are about to be written; `stores.keys.ring` says which and how.

    ``now`` is ms since the epoch by the database's clock, which the collector goes by, too. ``data_key`` is
    what they are sealed with.
    """
    insert_many(
        conn,
        pack,
        [
            {
                "key": key,
                "datastore": datastore,
                "state": PackState.OPEN,
                "size": None,
                "checksum": None,
                "created_at": now,
                "data_key": data_key,
            }
            for key in keys
        ],
    )


def make_live(
    conn: Connection, packs: dict[int, tuple[int, int]], seals: Mapping[int, bytes] | None = None
) -> None:
    """Make packs *live*, ``{key: (size, CRC-32)}``, in the transaction that refers to them.

    ``seals`` are those of the packs that are sealed.

    Raises `StorageError` if one is doomed or gone: its bytes may have been removed, so the transaction must
    not commit and its work has to be done again.
    """
    for key in sorted(packs):
        size, checksum = packs[key]
        seal = (seals or {}).get(key)
        values = {"of_pack": key, "bytes": size, "crc": checksum, "its_seal": seal}
        found = conn.execute(_MAKE_LIVE, values).rowcount
        if found != 1:
            raise StorageError(
                f"The pack {key:016x} was collected before it was used: its writer had paused for longer "
                "than the grace period. The work has to be done again."
            )


def lock_live(conn: Connection, keys: Sequence[int]) -> None:
    """Lock the rows of packs that another record or pixels row is about to refer to.

    Raises `StorageError` as `make_live` does.
    """
    for key in sorted(set(keys)):
        state = conn.execute(select(pack.c.state).where(pack.c.key == key).with_for_update()).scalar()
        if state not in _USABLE:
            raise StorageError(f"The pack {key:016x} was collected before it was used.")


def open_before(conn: Connection, before: int, limit: int) -> list[int]:
    """Packs that were inserted before a time, ms since the epoch, and are still *open*."""
    rows = conn.execute(
        select(pack.c.key)
        .where(pack.c.state == PackState.OPEN, pack.c.created_at < before)
        .order_by(pack.c.created_at)
        .limit(limit)
    )
    return list(rows.scalars())


@dataclass(frozen=True, slots=True)
class DoomResult:
    """What `doom` did: the packs that are doomed now, and those that are settled either way."""

    doomed: list[int]
    settled: list[int]


def doom(conn: Connection, keys: Sequence[int], before: int, *, live_at_once: bool = False) -> DoomResult:
    """Make those packs *doomed* that are older than ``before`` and that no row refers to.

    With ``live_at_once``, those that are *live* may be younger: their writer has committed, and only a pack
    that is *open* needs the time. Whoever would refer to one now finds it doomed, as after the grace period,
    and does its work again.

    In a transaction of its own. Packs that another transaction has locked, or that are younger, are left
    alone.
    """
    # They are locked first, then looked at by a later statement: a transaction that refers to one has
    # committed by then, and one that wants to later finds it doomed.
    is_old = pack.c.created_at < before
    if live_at_once:
        is_old = or_(is_old, pack.c.state == PackState.LIVE)
    rows = conn.execute(
        select(pack.c.key)
        .where(pack.c.key.in_(keys), pack.c.state.in_(_USABLE), is_old)
        .order_by(pack.c.key)
        .with_for_update(skip_locked=True)
    )
    held = set(rows.scalars())
    names = union(
        select(record.c.pack).where(record.c.pack.in_(held)),
        select(pixels.c.pack).where(pixels.c.pack.in_(held)),
    )
    doomed = sorted(held - set(conn.execute(names).scalars()))
    conn.execute(update(pack).where(pack.c.key.in_(doomed)).values(state=PackState.DOOMED))
    waiting = set(
        conn.execute(select(pack.c.key).where(pack.c.key.in_(keys), pack.c.state.in_(_USABLE))).scalars()
    )
    return DoomResult(doomed, [key for key in keys if key in held or key not in waiting])


def doomed_keys(conn: Connection, limit: int) -> list[int]:
    """The keys of packs whose bytes are to be removed."""
    doomed = select(pack.c.key).where(pack.c.state == PackState.DOOMED).limit(limit)
    return list(conn.execute(doomed).scalars())


def delete_doomed(conn: Connection, keys: Sequence[int]) -> None:
    """Delete the rows of doomed packs whose bytes are gone."""
    conn.execute(delete(pack).where(pack.c.key.in_(keys), pack.c.state == PackState.DOOMED))


def oldest(conn: Connection) -> int | None:
    """When the oldest live pack was made, in ms; None if there is none."""
    t = pack.c
    query = select(t.created_at).where(t.state == PackState.LIVE).order_by(t.created_at).limit(1)
    found = conn.execute(query).scalar()
    return None if found is None else int(found)


def existing_keys(conn: Connection, keys: Sequence[int]) -> set[int]:
    """Which of these packs have a row."""
    return set(conn.execute(select(pack.c.key).where(pack.c.key.in_(keys))).scalars())
