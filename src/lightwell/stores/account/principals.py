"""Access keys in the database. Secrets are encrypted here; `auth.principals` holds the key to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, or_, select, text, update

from lightwell.stores.db.bulk import insert_many, insert_missing
from lightwell.stores.db.tables import access_key, role

_COLUMNS = (
    access_key.c.id,
    access_key.c.name,
    access_key.c.secret,
    access_key.c.session_token,
    access_key.c.is_root,
    access_key.c.created_at,
    access_key.c.expires_at,
    access_key.c.revoked_at,
    access_key.c.policies,
    access_key.c.role,
    access_key.c.session_name,
    access_key.c.parent,
    access_key.c.provider,
    access_key.c.subject,
    access_key.c.taken_by,
    access_key.c.last_used_at,
    access_key.c.last_used_from,
    access_key.c.disabled_at,
    access_key.c.updated_at,
    access_key.c.replaced_by,
    access_key.c.emergency,
)
_GET = select(*_COLUMNS).where(access_key.c.id == bindparam("access_key_id"))

_SET_USED = (
    update(access_key)
    .where(
        access_key.c.id == bindparam("access_key_id"),
        or_(access_key.c.last_used_at.is_(None), access_key.c.last_used_at < bindparam("at")),
    )
    .values(last_used_at=bindparam("at"), last_used_from=bindparam("place"))
)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """One access key; ``secret`` and ``session_token`` are encrypted, times are milliseconds.

    ``policies`` are JSON texts: of a user's key its identity policies, None for one that may do everything;
    of temporary credentials, which have a ``role`` and a ``session_name``, the session's, None for none.
    Those without a role stand for the key ``parent`` and end with it. ``provider`` and ``subject`` say who
    took the role, if that was somebody with a token of an OpenID provider, else ``taken_by`` does: the
    `Principal.owner` of who did. ``last_used_at`` is exact to a minute, ``last_used_from`` the address;
    a key that is ``disabled_at`` some time is refused until it is enabled. ``updated_at`` is when its
    policies were changed, ``replaced_by`` the key that it was rotated to. ``emergency``: when the session was
    taken, its role was one for emergencies, or the session that took it was such a session; of a key, such a
    session has made it.
    """

    id: str
    name: str
    secret: bytes
    session_token: bytes | None
    is_root: bool
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    policies: tuple[str, ...] | None = None
    role: str | None = None
    session_name: str | None = None
    parent: str | None = None
    provider: str | None = None
    subject: str | None = None
    taken_by: str | None = None
    last_used_at: int | None = None
    last_used_from: str | None = None
    disabled_at: int | None = None
    updated_at: int | None = None
    replaced_by: str | None = None
    emergency: bool | None = None


def get(conn: Connection, id: str, *, lock: bool = False) -> AccessKey | None:
    """The access key with this id, revoked ones too. ``lock``: nobody else changes it in this transaction."""
    row = conn.execute(_GET.with_for_update() if lock else _GET, {"access_key_id": id}).first()
    return None if row is None else _key(row)


def insert(conn: Connection, key: AccessKey) -> None:
    insert_many(conn, access_key, [_values(key)])


def insert_once(conn: Connection, key: AccessKey) -> bool:
    """Insert the key unless there is, or was, one with its id; False if there is."""
    return insert_missing(conn, access_key, [_values(key)], ["id"]) > 0


def sessions(
    conn: Connection, now: int, limit: int, after: tuple[int, str] | None = None
) -> Sequence[AccessKey]:
    """Temporary credentials that are good, newest first, after this (created_at, id).

    Neither they nor the key or the role that they depend on are revoked, disabled, deleted or over.
    """
    parent = access_key.alias()
    has_parent = exists().where(
        parent.c.id == access_key.c.parent,
        parent.c.revoked_at.is_(None),
        parent.c.disabled_at.is_(None),
        or_(parent.c.expires_at.is_(None), parent.c.expires_at > now),
    )
    has_role = exists().where(role.c.name == access_key.c.role, role.c.created_at <= access_key.c.created_at)
    statement = (
        select(*_COLUMNS)
        .where(
            access_key.c.revoked_at.is_(None),
            access_key.c.session_token.is_not(None),
            access_key.c.expires_at > now,
            or_(access_key.c.parent.is_(None), has_parent),
            or_(access_key.c.role.is_(None), has_role),
        )
        .order_by(access_key.c.created_at.desc(), access_key.c.id.desc())
        .limit(limit)
    )
    if after is not None:
        at, id = after
        before = and_(access_key.c.created_at == at, access_key.c.id < id)
        statement = statement.where(or_(access_key.c.created_at < at, before))
    return [_key(row) for row in conn.execute(statement)]


def page(conn: Connection) -> Sequence[AccessKey]:
    """All access keys that are not revoked, oldest first; not the temporary ones."""
    rows = conn.execute(
        select(*_COLUMNS)
        .where(access_key.c.revoked_at.is_(None), access_key.c.session_token.is_(None))
        .order_by(access_key.c.created_at, access_key.c.id)
    )
    return [_key(row) for row in rows]


def newest(conn: Connection, after: tuple[int, str] | None, limit: int) -> Sequence[AccessKey]:
    """At most ``limit`` of those, newest first: those after ``after`` = (created_at, id) of another."""
    statement = (
        select(*_COLUMNS)
        .where(access_key.c.revoked_at.is_(None), access_key.c.session_token.is_(None))
        .order_by(access_key.c.created_at.desc(), access_key.c.id.desc())
        .limit(limit)
    )
    if after is not None:
        created_at, id = after
        same = and_(access_key.c.created_at == created_at, access_key.c.id < id)
        statement = statement.where(or_(access_key.c.created_at < created_at, same))
    return [_key(row) for row in conn.execute(statement)]


def has_name(conn: Connection, name: str) -> bool:
    """Whether a key that is not revoked and not temporary bears this name."""
    found = select(access_key.c.id).where(
        access_key.c.name == name, access_key.c.revoked_at.is_(None), access_key.c.session_token.is_(None)
    )
    return conn.execute(found.limit(1)).first() is not None


def root(conn: Connection, now: int) -> AccessKey | None:
    """The current root key: the newest of those that are good at ``now``, ms since the epoch."""
    row = conn.execute(
        select(*_COLUMNS)
        .where(
            access_key.c.is_root,
            access_key.c.revoked_at.is_(None),
            or_(access_key.c.expires_at.is_(None), access_key.c.expires_at > now),
        )
        .order_by(access_key.c.created_at.desc())
    ).first()
    return None if row is None else _key(row)


def holding(conn: Connection) -> AccessKey | None:
    """Some valid access key, to try the secret key on: the root key before others, no temporary one."""
    row = conn.execute(
        select(*_COLUMNS)
        .where(access_key.c.revoked_at.is_(None), access_key.c.session_token.is_(None))
        .order_by(access_key.c.is_root.desc(), access_key.c.created_at)
        .limit(1)
    ).first()
    return None if row is None else _key(row)


def revoke(conn: Connection, id: str, now: int) -> bool:
    """Revoke a key for good; False if there is no valid key with this id."""
    done = conn.execute(
        update(access_key)
        .where(access_key.c.id == id, access_key.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return done.rowcount > 0


def set_disabled(conn: Connection, id: str, at: int | None) -> None:
    """Disable a key from this moment, ms since the epoch, or enable it with None."""
    conn.execute(update(access_key).where(access_key.c.id == id).values(disabled_at=at))


def set_policies(conn: Connection, id: str, policies: Sequence[str] | None, now: int) -> None:
    """Replace a key's policies, and what sessions of it have for servers that do not know `parent`."""
    texts = None if policies is None else json.dumps(list(policies))
    conn.execute(update(access_key).where(access_key.c.id == id).values(policies=texts, updated_at=now))
    conn.execute(update(access_key).where(access_key.c.parent == id).values(policies=texts or "[]"))


def set_replaced(conn: Connection, id: str, by: str, end: int) -> None:
    """Note a key's successor, and let the key and its sessions end then, ms since the epoch."""
    conn.execute(update(access_key).where(access_key.c.id == id).values(replaced_by=by, expires_at=end))
    conn.execute(
        update(access_key)
        .where(access_key.c.parent == id, access_key.c.expires_at > end)
        .values(expires_at=end)
    )


@dataclass(frozen=True, slots=True)
class Sealed:
    """What of a key or a session is encrypted. ``is_key``: it is no session, and not revoked."""

    id: str
    secret: bytes
    session_token: bytes | None
    is_key: bool


def sealed(
    conn: Connection, after: str, limit: int, *, lock: bool = False, with_sessions: bool = True
) -> Sequence[Sealed]:
    """The secrets of at most ``limit`` keys and sessions by id, those after it, of revoked ones, too.

    ``lock``: nobody else changes them before the transaction ends.
    """
    columns = (access_key.c.id, access_key.c.secret, access_key.c.session_token, access_key.c.revoked_at)
    statement = select(*columns).where(access_key.c.id > after).order_by(access_key.c.id).limit(limit)
    if not with_sessions:
        statement = statement.where(access_key.c.session_token.is_(None))
    rows = conn.execute(statement.with_for_update() if lock else statement)
    return [Sealed(row[0], row[1], row[2], row[2] is None and row[3] is None) for row in rows]


def set_sealed(conn: Connection, changed: Sequence[Sealed]) -> None:
    """Put the same secrets in another encryption."""
    conn.execute(
        update(access_key)
        .where(access_key.c.id == bindparam("access_key_id"))
        .values(secret=bindparam("sealed_secret"), session_token=bindparam("sealed_token")),
        [
            {"access_key_id": each.id, "sealed_secret": each.secret, "sealed_token": each.session_token}
            for each in changed
        ],
    )


def set_used(conn: Connection, uses: Mapping[str, tuple[int, str | None]]) -> None:
    """Note when keys were last used, ms since the epoch, and from which address; never an earlier use."""
    conn.execute(
        _SET_USED,
        # In the order of their ids, so that two servers do not wait for each other's rows.
        [{"access_key_id": id, "at": at, "place": place} for id, (at, place) in sorted(uses.items())],
    )


def revoke_other_roots(conn: Connection, id: str, now: int) -> None:
    """Revoke all root keys but ``id``."""
    conn.execute(
        update(access_key)
        .where(access_key.c.is_root, access_key.c.id != id, access_key.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )


def put(conn: Connection, key: AccessKey) -> None:
    """Insert the key, or overwrite the one with its id."""
    done = conn.execute(update(access_key).where(access_key.c.id == key.id).values(**_values(key)))
    if done.rowcount == 0:
        insert(conn, key)


def lock_all(conn: Connection) -> None:
    """Keep others from writing access keys until the transaction ends; SQLite has one writer anyway."""
    if conn.dialect.name == "postgresql":
        conn.execute(text("LOCK TABLE access_key IN SHARE ROW EXCLUSIVE MODE"))


def is_full(conn: Connection, now: int, most: int, of: AccessKey) -> bool:
    """Whether a key, or somebody whom a provider vouches for, has so many sessions that are good.

    ``of`` is another session of the same ``parent``, or else of the same ``provider`` and ``subject``.
    """
    if of.parent is not None:
        is_same = access_key.c.parent == of.parent
    else:
        is_same = and_(access_key.c.provider == of.provider, access_key.c.subject == of.subject)
    good = (
        select(access_key.c.id)
        .where(is_same, access_key.c.revoked_at.is_(None), access_key.c.expires_at > now)
        .limit(most)
        .subquery()
    )
    return conn.execute(select(func.count()).select_from(good)).scalar_one() >= most


def remove_ended(conn: Connection, before: int) -> None:
    """Delete temporary credentials whose session ended before this moment."""
    conn.execute(
        delete(access_key).where(access_key.c.session_token.is_not(None), access_key.c.expires_at < before)
    )


def _key(row: Any) -> AccessKey:
    key = AccessKey(*row)
    # The column is a JSON array.
    return key if key.policies is None else replace(key, policies=tuple(json.loads(str(key.policies))))


def _values(key: AccessKey) -> dict[str, Any]:
    values = {column.name: getattr(key, column.name) for column in _COLUMNS}
    values["policies"] = None if key.policies is None else json.dumps(list(key.policies))
    return values
