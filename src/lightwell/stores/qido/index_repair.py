"""Makes a set's part of the search index of DICOMweb anew: `lightwell data verify --repair`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from lightwell.stores.db.tables import primary_instance, primary_series, study
from lightwell.stores.qido import grams, grams_check, index, index_check
from lightwell.stores.qido.grams import Of


def rebuild(conn: Connection, row: Any, now: int) -> None:
    """Of the set with this row of ``image_set``, and of its study, which the caller has locked.

    Nothing that the index has of it is believed. Its study is left as it is while another set of it is in
    doubt: it might lose what that one shows.
    """
    conn.execute(delete(primary_instance).where(primary_instance.c.image_set == row.key))
    conn.execute(delete(primary_series).where(primary_series.c.image_set == row.key))
    if row.is_primary and row.listed_in is not None:
        index.add_instances(conn, row.key, None)
        values = index_check.series_values(row) | (index.first_values(conn, row.key) or {})
        conn.execute(insert(primary_series), values)
        _rebuild_grams(conn, "series", row.key, values)
    else:
        _rebuild_grams(conn, "series", row.key, None)
    before = conn.execute(select(study.c.updated_at).where(study.c.key == row.study)).first()
    if before is not None and not index_check.is_in_doubt(conn, row.study):
        shown = index.study_values(conn, row.study, before.updated_at or now)
        conn.execute(update(study).where(study.c.key == row.study).values(shown))
        _rebuild_grams(conn, "study", row.study, shown)


def _rebuild_grams(conn: Connection, of: Of, key: int, row: Mapping[str, Any] | None) -> None:
    """SQLite's index has to be told the text that it is to drop, which nobody knows: so what is too many
    stays there, and only costs a look at the row."""
    expected = grams.grams_of(of, row)
    if conn.dialect.name == "sqlite":
        grams.put(conn, of, key, " ".join(grams_check.missing(conn, of, key, expected.split())))
    else:
        grams.put(conn, of, key, expected)
