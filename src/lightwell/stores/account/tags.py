"""Tags of data stores and image sets, stored under the path of the resource's ARN."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, and_, delete, func, or_, select

from lightwell.domain.arn import Resource
from lightwell.domain.states import DatastoreStatus
from lightwell.stores.db.bulk import insert_many
from lightwell.stores.db.tables import datastore, image_set, tag


def exists(conn: Connection, resource: Resource, *, lock: bool = False) -> bool:
    """Whether the resource exists and is not deleted; ``lock`` keeps it and its tags as they are.

    The resource's own row is locked, so that two requests cannot each add a fiftieth tag.
    """
    conditions = [datastore.c.id == resource.datastore_id, datastore.c.status != DatastoreStatus.DELETED]
    if resource.image_set_id is None:
        statement = select(datastore.c.key).where(*conditions)
    else:
        statement = (
            select(image_set.c.key)
            .join(datastore, datastore.c.key == image_set.c.datastore)
            .where(*conditions, image_set.c.id == resource.image_set_id, image_set.c.state != "DELETED")
        )
    if lock:
        statement = statement.with_for_update(of=datastore if resource.image_set_id is None else image_set)
    return conn.execute(statement).first() is not None


def get(conn: Connection, resource: Resource) -> dict[str, str]:
    """Its tags in order of their keys."""
    rows = conn.execute(
        select(tag.c.key, tag.c.value).where(tag.c.resource == resource.path).order_by(tag.c.key)
    )
    return {key: value for key, value in rows}


def put(conn: Connection, resource: Resource, tags: Mapping[str, str]) -> int:
    """Add or overwrite ``tags``; returns how many the resource then has."""
    if tags:
        remove(conn, resource, tags)
        insert_many(
            conn,
            tag,
            [{"resource": resource.path, "key": key, "value": value} for key, value in tags.items()],
        )
    return conn.execute(select(func.count()).where(tag.c.resource == resource.path)).scalar_one()


def remove(conn: Connection, resource: Resource, keys: Iterable[str]) -> None:
    """Remove the tags with these keys, if they exist."""
    conn.execute(delete(tag).where(tag.c.resource == resource.path, tag.c.key.in_(list(keys))))


def drop(conn: Connection, resource: Resource) -> None:
    """Remove all tags of a deleted resource and of everything in it."""
    path = resource.path
    inside = and_(tag.c.resource > path + "/", tag.c.resource < path + "0")  # "0" follows "/"
    conn.execute(delete(tag).where(or_(tag.c.resource == path, inside)))
