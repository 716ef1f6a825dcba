"""Whether an image set may be primary, and whether that it is, or is not, is proved: `lightwell data verify`.

What DICOMweb shows of a study is what its primary sets show. That a set is one was decided when it was made
(`ingest.merge`, and a promotion by CopyImageSet), and nothing that came later changes it; so its row is the
only place that says so, and DICOMweb's index, which was written in the same transaction, the only witness. A
row that is wrong about it would put another patient's series into a study, or hide a study. No checksum of a
page tells where somebody, or a fault of a database without any, has written it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, select

from lightwell.domain.image_sets.search_columns import SearchColumns, columns_of_levels
from lightwell.domain.states import ImageSetState, Origin
from lightwell.errors import StorageError
from lightwell.stores.db.tables import image_set, primary_instance, primary_series
from lightwell.stores.image_sets import studies
from lightwell.stores.integrity import shown_content

_ADVICE = 'docs/howto/integrity.md says how to go on, under "Primary or not"'


def faults_of_content(conn: Connection, row: Any) -> Iterator[str]:
    """Why the set of this row of ``image_set``, which is primary, may not be; no values in it."""
    if not row.is_primary or (columns := _shown(conn, row)) is None:
        return
    if row.origin != Origin.IMPORT:
        yield "it is a copy that was not promoted, and is primary"
    if (other := _contradicting(conn, row, columns)) is not None:
        yield (
            f"image set {other}, primary in its study, too, has another PatientID, StudyDate, "
            "AccessionNumber or StudyID, so one of the two must not be"
        )


def doubts(conn: Connection, row: Any) -> list[str]:
    """Why it is not proved that the set of this row is primary, or that it is not; empty if it is proved.

    A primary set is proved by anything that DICOMweb's index has of it. Where the index has lost all of it,
    a set is one that, imported now, would become one: no other of its study, primary or not, is of its
    series or differs in what is compared. A set that is not primary is proved by an index without it.
    """
    is_indexed = _is_indexed(conn, row.key)
    if not row.is_primary:
        what = "its row says that it is not primary, and DICOMweb's index that it is; nothing proves either"
        return [f"{what}: {_ADVICE}"] if is_indexed else []
    if is_indexed or _is_alone(conn, row):
        return []
    what = "its row says that it is primary, and nothing proves it, since DICOMweb's index has nothing of it"
    return [f"{what}: {_ADVICE}"]


def _is_indexed(conn: Connection, key: int) -> bool:
    return any(
        conn.execute(select(table.c.image_set).where(table.c.image_set == key).limit(1)).first() is not None
        for table in (primary_series, primary_instance)
    )


def _contradicting(conn: Connection, row: Any, columns: SearchColumns) -> str | None:
    """The id of a primary set that shows another patient or study; what it is found by proves nothing."""
    for key in studies.contradicting(conn, row.study, columns, apart_from=row.key):
        other = conn.execute(select(image_set).where(image_set.c.key == key)).one()
        shown = _shown(conn, other)
        if shown is not None and studies.grouping_of(shown) != studies.grouping_of(columns):
            return str(other.id)
    return None


def _is_alone(conn: Connection, row: Any) -> bool:
    columns = _shown(conn, row)
    others = conn.execute(
        select(image_set).where(
            image_set.c.study == row.study,
            image_set.c.state == ImageSetState.ACTIVE,
            image_set.c.readable_version > 0,
            image_set.c.key != row.key,
        )
    )
    for other in others:
        shown = _shown(conn, other)
        if columns is None or shown is None or other.series_instance_uid == row.series_instance_uid:
            return False
        if studies.grouping_of(shown) != studies.grouping_of(columns):
            return False
    return columns is not None


def _shown(conn: Connection, row: Any) -> SearchColumns | None:
    """What its readable version shows; None where it cannot be read, which is told elsewhere."""
    try:
        return columns_of_levels(*shown_content.shown(conn, row.key, row.readable_version))
    except (StorageError, ValueError):
        return None
