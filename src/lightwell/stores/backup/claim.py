"""The row with which a running backup keeps others away, and packs in the storage while it needs them.

A backup copies packs first, then takes a snapshot of the database, then copies what packs the snapshot names
that came since. Between the snapshot and the last of these copies no pack may be removed that the snapshot
names: so long the claim *holds* them. The collector looks for doomed packs and for the hold in one read. If
it sees no hold, every pack that it sees doomed was doomed before the snapshot, which therefore does not name
it: so no lock is needed.

A claim lasts `VALID_MS` from its last renewal, by the database's clock, so one whose backup was killed ends
by itself. ``lightwell erase --now`` ends it at once; the backup notices, since it must have it in the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update

from lightwell.errors import LightwellError
from lightwell.stores.db.bulk import insert_missing
from lightwell.stores.db.now import read_now
from lightwell.stores.db.server_tables import installation

VALID_MS = 90_000
"""How long a claim lasts if it is not renewed."""

RENEW_SECONDS = 20.0
"""How often it is renewed."""

_NAME = "backup"
_HOLDS, _COPIES = "holds", "copies"


@dataclass(frozen=True, slots=True)
class _Claim:
    id: str
    until: int
    holds: bool

    def __str__(self) -> str:
        return f"{self.until} {self.id} {_HOLDS if self.holds else _COPIES}"


def take(conn: Connection, id: str) -> None:
    """Claim the installation for the backup ``id``, a word. Raises `LightwellError` if another one runs."""
    insert_missing(conn, installation, [{"name": _NAME, "value": str(_Claim(id, 0, holds=False))}], ["name"])
    found, time = _locked(conn), read_now(conn)
    # A claim that ends later than one made now was made before the clock was set back: if its backup still
    # runs, it notices that the claim is not its own any more.
    if found is not None and found.id != id and time < found.until <= time + VALID_MS:
        raise LightwellError(
            "Another backup of this installation is running: let it end. If it was killed, this one can run "
            f"in {(found.until - time) // 1000 + 1} seconds"
        )
    _put(conn, _Claim(id, time + VALID_MS, holds=False))


def renew(conn: Connection, id: str, *, holds: bool) -> bool:
    """Have the claim last longer; from now on it ``holds`` packs or not. False if it has ended."""
    found, time = _locked(conn), read_now(conn)
    if found is None or found.id != id or found.until <= time:
        return False
    _put(conn, _Claim(id, time + VALID_MS, holds=holds))
    return True


def release(conn: Connection, id: str) -> None:
    """End the claim of the backup ``id``, if it is still there."""
    found = _locked(conn)
    if found is not None and found.id == id:
        conn.execute(delete(installation).where(installation.c.name == _NAME))


def is_held(conn: Connection) -> bool:
    """Whether a backup needs packs now that its snapshot names, so that none may be removed."""
    found = _read(conn)
    return found is not None and found.holds and found.until > read_now(conn)


def cancel_hold(conn: Connection) -> None:
    """End a claim that holds packs: the backup fails, or begins again."""
    found = _locked(conn)
    if found is not None and found.holds:
        conn.execute(delete(installation).where(installation.c.name == _NAME))


def _locked(conn: Connection) -> _Claim | None:
    query = select(installation.c.value).where(installation.c.name == _NAME).with_for_update()
    return _parsed(conn.execute(query).scalar())


def _read(conn: Connection) -> _Claim | None:
    return _parsed(conn.execute(select(installation.c.value).where(installation.c.name == _NAME)).scalar())


def _parsed(value: str | None) -> _Claim | None:
    if value is None:
        return None
    until, id, stage = value.split(" ")
    return _Claim(id, int(until), stage == _HOLDS)


def _put(conn: Connection, claim: _Claim) -> None:
    conn.execute(update(installation).where(installation.c.name == _NAME).values(value=str(claim)))
