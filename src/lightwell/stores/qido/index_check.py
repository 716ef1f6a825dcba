"""Compares the search index of DICOMweb with what it is derived from: `lightwell data verify`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, func, not_, or_, select

from lightwell.domain.image_sets.search_columns import integer
from lightwell.domain.qido.index_columns import series_columns
from lightwell.domain.states import ImageSetState
from lightwell.stores.db.qido_tables import UNNUMBERED
from lightwell.stores.db.tables import image_set, member, primary_instance, primary_series, record, study
from lightwell.stores.db.validity import is_open
from lightwell.stores.qido import grams_check, index

_AS_SET = (
    *("listed_in", "study", "series_instance_uid", "modality", "requests"),
    *("series_description", "body_part_examined"),
)
_SHOWN = ("record", "sop_instance_uid", "sop_class_uid", "number", "warnings", "listed_in")


def faults_of_set(conn: Connection, row: Any) -> list[str]:
    """What a search would show wrongly of the image set with this row of ``image_set``; no values in it."""
    found = conn.execute(select(primary_series).where(primary_series.c.image_set == row.key)).first()
    if not row.is_primary or row.listed_in is None:
        faults = [] if found is None else ["DICOMweb finds it, which it must not"]
        of_it = select(func.count()).where(primary_instance.c.image_set == row.key)
        if more := conn.execute(of_it).scalar_one():
            faults.append(f"{more} of its instances are in DICOMweb's index, which must not be")
    elif found is None:
        faults = ["DICOMweb does not find it"]
    else:
        wrong = _wrong_of_series(conn, row, found)
        faults = [
            *(f"{name} of its series in DICOMweb's index differs" for name in wrong),
            *grams_check.faults(conn, "series", row.key, found._asdict()),
            *_instances(conn, row.key),
        ]
    return [*faults, *_study(conn, row)]


def series_values(row: Any) -> dict[str, Any]:
    """What the index should have of a series, but for its first instance; ``row`` is of ``image_set``."""
    number = integer(row.series_number)
    values = {name: getattr(row, name) for name in _AS_SET} | series_columns(row.further)
    return values | {"image_set": row.key, "number": UNNUMBERED if number is None else number}


def _wrong_of_series(conn: Connection, row: Any, found: Any) -> list[str]:
    expected = series_values(row) | (index.first_values(conn, row.key) or {})
    return [name for name, value in expected.items() if getattr(found, name) != value]


def _instances(conn: Connection, key: int) -> list[str]:
    members = member.join(record, record.c.key == member.c.record).join(
        image_set, image_set.c.key == member.c.image_set
    )
    columns = (
        *(member.c.instance, member.c.edits, member.c.record, image_set.c.listed_in),
        *(record.c.sop_instance_uid, record.c.sop_class_uid, record.c.instance_number, record.c.warnings),
    )
    rows = conn.execute(
        select(*columns).select_from(members).where(member.c.image_set == key, is_open(member))
    )
    shown = {row.instance: index.instance_values(conn, key, row) for row in rows}
    kept = {
        row.instance: row
        for row in conn.execute(select(primary_instance).where(primary_instance.c.image_set == key))
    }
    faults = []
    if missing := len(shown.keys() - kept.keys()):
        faults.append(f"{missing} of its instances are not in DICOMweb's index")
    if more := len(kept.keys() - shown.keys()):
        faults.append(f"{more} instances in DICOMweb's index are not its own")
    wrong = {
        name
        for instance, row in kept.items()
        if instance in shown
        for name in _SHOWN
        if getattr(row, name) != shown[instance][name]
    }
    return [*faults, *(f"{name} of an instance in DICOMweb's index differs" for name in sorted(wrong))]


def _study(conn: Connection, row: Any) -> list[str]:
    """What is wrong with the study of a set; told of the first of its sets only, since it may have many."""
    of_study = (image_set.c.study == row.study, image_set.c.state == ImageSetState.ACTIVE)
    if conn.execute(select(func.min(image_set.c.key)).where(*of_study)).scalar() != row.key:
        return []
    found = conn.execute(select(study).where(study.c.key == row.study)).mappings().first()
    if found is None:
        return ["its study is lost"]
    if is_in_doubt(conn, row.study):
        return []
    expected = index.study_values(conn, row.study, found["updated_at"])
    wrong = [name for name, value in expected.items() if found[name] != value]
    return [
        *(f"{name} of its study in DICOMweb's index differs" for name in wrong),
        *grams_check.faults(conn, "study", row.study, dict(found)),
    ]


def is_in_doubt(conn: Connection, study_key: int) -> bool:
    """Whether it cannot be told what a study shows: one of its sets is primary by its row and not in the
    index, or the other way round. That set has this fault, whichever of the two is wrong."""
    of_study = image_set.outerjoin(primary_series, primary_series.c.image_set == image_set.c.key)
    is_found = primary_series.c.image_set.is_not(None)
    t = image_set.c
    these = (
        select(t.key)
        .select_from(of_study)
        .where(
            t.study == study_key,
            t.state == ImageSetState.ACTIVE,
            or_(and_(t.is_primary, not_(is_found)), and_(not_(t.is_primary), is_found)),
        )
    )
    return conn.execute(these.limit(1)).first() is not None
