"""Roles in the database: who may assume one, and what it may do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, update

from lightwell.stores.db.bulk import insert_missing
from lightwell.stores.db.tables import role

_COLUMNS = (
    role.c.name,
    role.c.trust_policy,
    role.c.policies,
    role.c.created_at,
    role.c.updated_at,
    role.c.max_session_seconds,
    role.c.emergency,
)


@dataclass(frozen=True, slots=True)
class Role:
    """One role; policies are JSON texts, times are milliseconds.

    ``max_session_seconds`` is how long a session of it may last, None for as long as any may.
    ``is_for_emergencies``: it is taken with a reason only, and each use of it is flagged on record.
    """

    name: str
    trust_policy: str
    policies: tuple[str, ...]
    created_at: int
    updated_at: int
    max_session_seconds: int | None = None
    is_for_emergencies: bool = False


def get(conn: Connection, name: str, *, lock: bool = False) -> Role | None:
    """``lock``: nobody else changes it before this transaction ends."""
    statement = select(*_COLUMNS).where(role.c.name == name)
    row = conn.execute(statement.with_for_update() if lock else statement).first()
    return None if row is None else _role(row)


def page(conn: Connection) -> Sequence[Role]:
    """All roles, by name."""
    return [_role(row) for row in conn.execute(select(*_COLUMNS).order_by(role.c.name))]


def following(conn: Connection, after: str | None, limit: int) -> Sequence[Role]:
    """At most ``limit`` roles by name, those after this name."""
    statement = select(*_COLUMNS).order_by(role.c.name).limit(limit)
    if after is not None:
        statement = statement.where(role.c.name > after)
    return [_role(row) for row in conn.execute(statement)]


def create(
    conn: Connection,
    name: str,
    trust_policy: str,
    policies: Sequence[str],
    now: int,
    *,
    max_session: int | None = None,
    emergency: bool | None = None,
) -> bool:
    """Create a role; False if there is one of this name, which stays as it is."""
    values = _values(trust_policy, policies, now, max_session, bool(emergency))
    row = {"name": name, "created_at": now, **values}
    return insert_missing(conn, role, [row], ["name"]) > 0


def put(
    conn: Connection,
    name: str,
    trust_policy: str,
    policies: Sequence[str],
    now: int,
    *,
    max_session: int | None = None,
    emergency: bool | None = None,
) -> bool:
    """Create a role, or replace its policies; True if it is new.

    ``max_session``: how many seconds a session of it may last; ``emergency``: whether it is for emergencies.
    None leaves either as it is.
    """
    while not create(conn, name, trust_policy, policies, now, max_session=max_session, emergency=emergency):
        before = get(conn, name, lock=True)
        if before is not None:  # nobody has deleted it since
            # Each change has a time of its own, by which it is known.
            at = max(now, before.updated_at + 1)
            longest = max_session or before.max_session_seconds
            flag = before.is_for_emergencies if emergency is None else emergency
            values = _values(trust_policy, policies, at, longest, flag)
            conn.execute(update(role).where(role.c.name == name).values(**values))
            return False
    return True


def remove(conn: Connection, name: str) -> bool:
    """Delete a role; False if there is no role of this name."""
    return conn.execute(delete(role).where(role.c.name == name)).rowcount > 0


def _values(
    trust_policy: str, policies: Sequence[str], now: int, max_session: int | None, emergency: bool
) -> dict[str, Any]:
    texts = json.dumps(list(policies))
    return {
        "trust_policy": trust_policy,
        "policies": texts,
        "updated_at": now,
        "max_session_seconds": max_session,
        "emergency": emergency,
    }


def _role(row: Any) -> Role:
    name, trust_policy, policies, created_at, updated_at, max_session, emergency = row
    texts = tuple(json.loads(policies))
    return Role(name, trust_policy, texts, created_at, updated_at, max_session, bool(emergency))
