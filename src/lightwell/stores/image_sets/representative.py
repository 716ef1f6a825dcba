"""Which instance represents an image set when a single image of it is requested."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, select

from lightwell.domain.keys import ImageSetKey
from lightwell.stores.db.tables import instance, member, pixels, record
from lightwell.stores.db.validity import holds_in

_MEMBERS = (
    select(instance.c.sop_instance_uid)
    .select_from(member)
    .join(instance, instance.c.key == member.c.instance)
    .join(record, record.c.key == member.c.record)
    .where(
        member.c.image_set == bindparam("set"),
        holds_in(member, bindparam("version")),
    )
)
_IMAGES = _MEMBERS.join(pixels, pixels.c.key == member.c.pixels).where(pixels.c.frame_count > 0)
_ORDER = (record.c.instance_number.is_(None), record.c.instance_number, record.c.key)
_COUNT = select(func.count()).select_from(_IMAGES.subquery())
_IMAGE = _IMAGES.order_by(*_ORDER).limit(1).offset(bindparam("place"))
_FIRST = _MEMBERS.order_by(*_ORDER).limit(1)


def middle_image(conn: Connection, image_set_key: ImageSetKey, version: int) -> str | None:
    """SOPInstanceUID of a version's middle image by InstanceNumber; None if it has no images."""
    at = {"set": image_set_key, "version": version}
    count = conn.execute(_COUNT, at).scalar_one()
    if not count:
        return None
    uid: str = conn.execute(_IMAGE, {**at, "place": count // 2}).scalar_one()
    return uid


def first_member(conn: Connection, image_set_key: ImageSetKey, version: int) -> str | None:
    """SOPInstanceUID of the first instance of a version by InstanceNumber, image or not."""
    return conn.execute(_FIRST, {"set": image_set_key, "version": version}).scalar_one_or_none()
