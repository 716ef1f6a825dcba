"""DICOM JSON documents of instances and series, assembled from the lines that imports stored.

Source: PS3.18 Annex F. The array of a series is joined from its instances' lines, gzipped, and cached like
the native document (`documents.metadata_documents`). The cached form holds paths of bulk values; their URLs,
which depend on how a client reaches the server, are inserted when a document is served.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from lightwell.documents import metadata_documents
from lightwell.documents.retrieve_syntax import unsplit_syntax
from lightwell.domain.image_sets import dicom_json_lines
from lightwell.domain.image_sets.edits import Edits
from lightwell.imaging.dataset.transfer_syntaxes import EXPLICIT_LITTLE
from lightwell.stores.db.compression import decompress
from lightwell.stores.image_sets import dicom_json_instances, lookups, native_instances
from lightwell.stores.image_sets.by_series import SeriesSet
from lightwell.stores.image_sets.dicom_json_instances import DicomJsonInstance

if TYPE_CHECKING:
    from lightwell.stores import Stores

_BETWEEN_OBJECTS = b"},\n{"
"""Occurs between two instances of an array, and nowhere else in it."""


def format_name(*, with_meta: bool) -> str:
    """The name under which arrays are cached; ``with_meta``: with TransferSyntaxUID (0002,0010)."""
    return "dicom" if with_meta else "dicom.plain"


def series_document(stores: Stores, series: SeriesSet, *, with_meta: bool) -> tuple[bytes, bool]:
    """The gzipped array of a series with paths of bulk values, and whether it has any such paths.

    Found in memory or in the cache of the stores, else assembled.
    """
    plain = format_name(with_meta=with_meta)
    with_bulk = f"{plain}.bulk"
    recent = metadata_documents.recent_documents
    with metadata_documents.assembly_lock(series.key):
        for format in (plain, with_bulk):
            data = recent.get(series.key, series.version, series.mark, format)
            if data is None:
                data = stores.documents.get(series.key, series.version, series.mark, format)
                if data is not None:
                    recent.put(series.key, series.version, series.mark, data, format)
            if data is not None:
                return data, format == with_bulk
        has_bulk = False
        mark = series.mark

        def watched_pieces() -> Iterator[bytes]:
            nonlocal has_bulk, mark
            with stores.db.read() as conn:
                # Of the state that is read here, which need not be the one in which the series was found.
                mark = lookups.mark_of(conn, series.key, series.version)
                for piece in series_pieces(conn, stores, series, with_meta=with_meta):
                    has_bulk = has_bulk or dicom_json_lines.has_bulk_data(piece)
                    yield piece

        data = metadata_documents.gzip_pieces(watched_pieces())
        format = with_bulk if has_bulk else plain
        stores.documents.put(series.key, series.version, mark, format, data, is_latest=True)
        recent.put(series.key, series.version, mark, data, format)
        return data, has_bulk


def series_pieces(conn: Connection, stores: Stores, series: SeriesSet, *, with_meta: bool) -> Iterator[bytes]:
    """The JSON array of a series piece by piece, with paths of bulk values."""
    fragments, edited = native_instances.InstanceFragments(conn, series.key), _EditedLines()
    uids = series.study_instance_uid, series.series_instance_uid
    separator = b"["
    for batch in dicom_json_instances.batches(conn, series.key, series.version):
        for row in batch:
            lines = _instance_lines(stores, fragments, edited, row, uids)
            syntax = _available_syntax(row) if with_meta else None
            yield separator + dicom_json_lines.as_object(lines, syntax)
            separator = b",\n"
    yield b"[]" if separator == b"[" else b"]"


def instance_object(
    conn: Connection, stores: Stores, series: SeriesSet, instance: int, *, with_meta: bool
) -> bytes:
    """The JSON object of one instance, named by its key, with paths of bulk values."""
    ((row,),) = dicom_json_instances.batches(conn, series.key, series.version, only=[instance])
    uids = series.study_instance_uid, series.series_instance_uid
    fragments = native_instances.InstanceFragments(conn, series.key)
    lines = _instance_lines(stores, fragments, _EditedLines(), row, uids)
    return dicom_json_lines.as_object(lines, _available_syntax(row) if with_meta else None)


def instance_objects(
    conn: Connection, stores: Stores, rows: Iterable[tuple[str, str, DicomJsonInstance]], base: str
) -> list[bytes]:
    """The JSON objects of some instances, without (0002,0010).

    ``rows``: StudyInstanceUID and SeriesInstanceUID of each, and its row. ``base`` is the URL of their data
    store, for bulk values.
    """
    fragments: dict[int, native_instances.InstanceFragments] = {}
    edited, objects = _EditedLines(), []
    for study, series, row in rows:
        of_set = fragments.get(row.image_set)
        if of_set is None:
            of_set = fragments[row.image_set] = native_instances.InstanceFragments(conn, row.image_set)
        lines = _instance_lines(stores, of_set, edited, row, (study, series))
        objects.append(dicom_json_lines.insert_base_url(dicom_json_lines.as_object(lines), base))
    return objects


def imported_lines(
    stores: Stores, fragments: native_instances.InstanceFragments, row: DicomJsonInstance
) -> bytes:
    """The lines of an instance as it was imported, without edits."""
    if row.dicom_z is not None:
        return fragments.read(row.dicom_z, row.dictionary)
    # Imported here because pydicom takes memory, and only instances that were imported before DICOMweb was
    # there have to be read from their originals.
    from lightwell.documents.originals import open_original
    from lightwell.imaging.dataset.element_cache import SeriesCache
    from lightwell.imaging.dataset.part10 import stored_part10
    from lightwell.imaging.instances.parse import parse_instance

    original = open_original(stores.objects, row.pack, row.offset, row.length)
    override = json.loads(decompress(row.override_z)) if row.override_z else None
    part10 = stored_part10(original, original.meta_length)
    return parse_instance(part10, SeriesCache(), override=override).dicom


def split_array(data: bytes) -> Iterator[bytes]:
    """The objects of a gzipped array of `series_pieces`, in memory for one object at a time."""
    rest = b""
    is_first = True
    for piece in metadata_documents.gunzip_pieces(data):
        *complete, rest = (rest + piece).split(_BETWEEN_OBJECTS)
        for text in complete:
            yield text[1:] + b"}" if is_first else b"{%s}" % text
            is_first = False
    if is_first:
        rest = rest[1:]
    if len(rest) > 1:
        yield rest[:-1] if is_first else b"{" + rest[:-1]


def join_array(objects: Iterable[bytes]) -> Iterator[bytes]:
    """The JSON array of some objects, piece by piece."""
    separator = b"["
    for text in objects:
        yield separator + text
        separator = b",\n"
    yield b"[]" if separator == b"[" else b"]"


class _EditedLines:
    """The lines that edits produce, kept for the next instance, which mostly has the same edits."""

    def __init__(self) -> None:
        self._last: tuple[Edits, bool] | None = None
        self._lines: Mapping[int, bytes | None] = {}

    def of(self, row: DicomJsonInstance) -> Mapping[int, bytes | None]:
        with_pixels = row.stored_syntax is not None
        if self._last is None or self._last[0] is not row.edits or self._last[1] != with_pixels:
            from lightwell.imaging.editing.dicom_json_edits import edited_lines

            self._lines = edited_lines(row.edits, with_pixels=with_pixels)
            self._last = row.edits, with_pixels
        return self._lines


def _instance_lines(
    stores: Stores,
    fragments: native_instances.InstanceFragments,
    edited: _EditedLines,
    row: DicomJsonInstance,
    uids: tuple[str, str],
) -> bytes:
    """The lines of a row with its edits; ``uids`` are those of study and series."""
    lines = imported_lines(stores, fragments, row)
    if row.edits:
        lines = dicom_json_lines.replace_lines(lines, edited.of(row))
    path = ""
    if dicom_json_lines.has_bulk_data(lines):
        path = dicom_json_lines.instance_path(*uids, row.sop_instance_uid)
    return dicom_json_lines.complete_lines(lines, _available_syntax(row), path)


def _available_syntax(row: DicomJsonInstance) -> str:
    """The transfer syntax in which the instance can be retrieved unchanged."""
    return unsplit_syntax(row.stored_syntax) if row.stored_syntax else EXPLICIT_LITTLE
