"""The replacements of the Lambda functions that authorize bearer tokens."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select, update

from lightwell.domain.states import DatastoreStatus
from lightwell.stores.db.bulk import insert_missing
from lightwell.stores.db.tables import authorizer, datastore

_COLUMNS = (authorizer.c.arn, authorizer.c.target, authorizer.c.created_at, authorizer.c.updated_at)
_NAMED = select(datastore.c.lambda_authorizer_arn, datastore.c.updated_at).where(
    datastore.c.id == bindparam("datastore_id"), datastore.c.status != DatastoreStatus.DELETED
)
_GET = select(*_COLUMNS).where(authorizer.c.arn == bindparam("function_arn"))


@dataclass(frozen=True, slots=True)
class Authorizer:
    """The replacement ``target`` of the function ``arn``. Times are milliseconds."""

    arn: str
    target: str
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class NamedAuthorizer:
    """The function that a data store names, None without one, and when the data store changed last."""

    arn: str | None
    revision: int


def get(conn: Connection, arn: str) -> Authorizer | None:
    row = conn.execute(_GET, {"function_arn": arn}).first()
    return None if row is None else Authorizer(*row)


def put(conn: Connection, arn: str, target: str, now: int) -> None:
    """Create or change the replacement of a function; ``updated_at`` increases in any case."""
    row = {"arn": arn, "target": target, "created_at": now, "updated_at": now}
    insert_missing(conn, authorizer, [row], ["arn"])
    # The times of two changes differ even if the clock was set back.
    known = conn.execute(select(authorizer.c.updated_at).where(authorizer.c.arn == arn)).scalar_one()
    conn.execute(
        update(authorizer)
        .where(authorizer.c.arn == arn)
        .values(target=target, updated_at=max(now, known + 1))
    )


def remove(conn: Connection, arn: str) -> str | None:
    """Remove the replacement of a function, and return its target; None if there was none."""
    removed = delete(authorizer).where(authorizer.c.arn == arn).returning(authorizer.c.target)
    return conn.execute(removed).scalar()


def page(conn: Connection) -> list[Authorizer]:
    """All of them, by ARN."""
    return [Authorizer(*row) for row in conn.execute(select(*_COLUMNS).order_by(authorizer.c.arn))]


def named_by(conn: Connection, datastore_id: str) -> NamedAuthorizer | None:
    """What a data store names as its authorizer; None if there is no such data store."""
    row = conn.execute(_NAMED, {"datastore_id": datastore_id}).first()
    return None if row is None else NamedAuthorizer(*row)
