"""Compares what an image set is found by with what it shows: `lightwell data verify`.

A record is compared with its original elsewhere (`codec_pool.checking`), and a set's patient, study and
series with the records of its members (`collector.references`). From there on the level's edits apply, and
the search columns are made of the result. Edits are what somebody wanted, and are taken as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, select

from lightwell.domain.image_sets.edits import apply_edits
from lightwell.domain.image_sets.search_columns import SearchColumns, clean_text, columns_of_levels
from lightwell.domain.keys import ImageSetKey
from lightwell.errors import StorageError
from lightwell.stores.db.tables import level
from lightwell.stores.image_sets import native_instances, version_diff
from lightwell.stores.keys.job_values import NO_KEY

Blocks = list[dict[str, object]]
"""The patient, study and series block of a version, edits applied."""


def faults_of_content(conn: Connection, row: Any) -> list[str]:
    """What is wrong with what the set of this row of ``image_set`` shows; no values in it."""
    return [*_levels(conn, row), *_uids(conn, row)] if row.readable_version else []


def faults_of_columns(conn: Connection, row: Any) -> list[str]:
    """What of it is not found by what it shows; attributes by keyword, no values in it."""
    return [*_columns(conn, row), *_count(conn, row)] if row.readable_version else []


def expected_columns(conn: Connection, row: Any) -> dict[str, Any]:
    """The search columns that the set's readable version yields, and how many instances it has.

    Raises `StorageError` where it cannot be read.
    """
    columns: dict[str, Any] = columns_of_levels(*shown(conn, row.key, row.readable_version)).as_row()
    return columns | {"instance_count": version_diff.count(conn, row.key, row.readable_version)}


def shown(conn: Connection, key: ImageSetKey, version: int) -> Blocks:
    """What a version shows. Raises `StorageError`; ValueError where a block is no JSON."""
    found = native_instances.levels(conn, key, version)
    return [apply_edits(json.loads(each.body), each.edits) for each in found]


# What it shows -------------------------------------------------------------------------------------------


def _levels(conn: Connection, row: Any) -> Iterator[str]:
    """Versions that cannot be shown."""
    began = conn.execute(select(level.c.valid_from).where(level.c.image_set == row.key).distinct()).scalars()
    for number in sorted({*began, row.readable_version}):
        try:
            shown(conn, row.key, number)
        except NO_KEY:
            raise
        except (StorageError, ValueError) as error:
            yield f"version {number}: {error}"


def _uids(conn: Connection, row: Any) -> Iterator[str]:
    """What says to which series and data store it belongs."""
    try:
        series = shown(conn, row.key, row.readable_version)[2]
    except NO_KEY:
        raise
    except (StorageError, ValueError):
        return
    if row.series_instance_uid != clean_text(str(series.get("SeriesInstanceUID") or "")):
        yield "SeriesInstanceUID of the image set is not that of its latest version"
    if row.listed_in is None:
        yield "searches do not find it in its data store"


# What it is found by -------------------------------------------------------------------------------------


def _columns(conn: Connection, row: Any) -> Iterator[str]:
    try:
        blocks = shown(conn, row.key, row.readable_version)
    except NO_KEY:
        raise
    except (StorageError, ValueError):
        return  # told already
    expected = columns_of_levels(*blocks)
    for name in SearchColumns.__slots__:
        kept, value = getattr(row, name), getattr(expected, name)
        if kept != value:
            what = _differing(kept, value) if name == "further" else ""
            yield f"a search by {what or name} does not find what its latest version shows"


def _differing(kept: str | None, expected: str | None) -> str:
    """The keywords whose values differ between two objects of JSON."""
    try:
        one, other = (dict(json.loads(text or "{}")) for text in (kept, expected))
    except (ValueError, TypeError):
        return ""
    return ", ".join(sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key)))


def _count(conn: Connection, row: Any) -> Iterator[str]:
    count = version_diff.count(conn, row.key, row.readable_version)
    if count != row.instance_count:
        yield f"its latest version has {count} instances, and it counts {row.instance_count}"
