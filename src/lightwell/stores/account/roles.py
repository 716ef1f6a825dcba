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
)


@dataclass(frozen=True, slots=True)
class Role:
    """One role; policies are JSON texts, times are milliseconds.

    ``max_session_seconds`` is how long a session of it may last, None for as long as any may.
    """

    name: str
    trust_policy: str
    policies: tuple[str, ...]
    created_at: int
    updated_at: int
    max_session_seconds: int | None = None


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
) -> bool:
    """Create a role; False if there is one of this name, which stays as it is."""
    row = {"name": name, "created_at": now, **_values(trust_policy, policies, now, max_session)}
    return insert_missing(conn, role, [row], ["name"]) > 0


def put(
    conn: Connection,
    name: str,
    trust_policy: str,
    policies: Sequence[str],
    now: int,
    *,
    max_session: int | None = None,
) -> bool:
    """Create a role, or replace its policies; True if it is new.

    ``max_session``: how many seconds a session of it may last; None leaves that as it is.
    """
    while not create(conn, name, trust_policy, policies, now, max_session=max_session):
        before = get(conn, name, lock=True)
        if before is not None:  # nobody has deleted it since
            # Each change has a time of its own, by which it is known.
            at = max(now, before.updated_at + 1)
            values = _values(trust_policy, policies, at, max_session or before.max_session_seconds)
            conn.execute(update(role).where(role.c.name == name).values(**values))
            return False
    return True


def remove(conn: Connection, name: str) -> bool:
    """Delete a role; False if there is no role of this name."""
    return conn.execute(delete(role).where(role.c.name == name)).rowcount > 0


def _values(trust_policy: str, policies: Sequence[str], now: int, max_session: int | None) -> dict[str, Any]:
    texts = json.dumps(list(policies))
    return {
        "trust_policy": trust_policy,
        "policies": texts,
        "updated_at": now,
        "max_session_seconds": max_session,
    }


def _role(row: Any) -> Role:
    name, trust_policy, policies, created_at, updated_at, max_session = row
    return Role(name, trust_policy, tuple(json.loads(policies)), created_at, updated_at, max_session)
