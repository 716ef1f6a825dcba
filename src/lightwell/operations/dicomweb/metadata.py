"""Metadata of studies, series and instances in the DICOM JSON Model.

Source: PS3.18 §10.4.3.3.2 and Annex F, AWS's dicomweb-retrieve-…-metadata pages. The document of a series is
joined from ready lines, gzipped and kept like the native one (`documents.metadata_documents`). Where values
are to be fetched it is kept with their paths; the URLs, which depend on how the client reaches the server,
are put in when it is served, and that form stays in memory only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from lightwell.clock import Clock
from lightwell.documents import metadata_documents
from lightwell.documents.retrieve_syntax import unsplit_syntax
from lightwell.domain.image_sets import dicom_json_lines
from lightwell.domain.image_sets.edits import Edits
from lightwell.errors import LightwellError, ValidationError
from lightwell.operations.context import Context
from lightwell.operations.dicomweb.lookup import SeriesSet, instance_of, series_set, study_sets
from lightwell.stores.image_sets import dicom_json_instances, native_instances
from lightwell.stores.image_sets.dicom_json_instances import DicomJsonInstance
from lightwell.stores.image_sets.records import decompress
from lightwell.stores.objects.packs import pack_name

if TYPE_CHECKING:
    from lightwell.settings import Settings
    from lightwell.stores import Stores

_EDITION = "1"  # to be raised when the same version gives another text
_NATIVE = "1.2.840.10008.1.2.1"  # of what has no pixels
_BETWEEN = b"},\n{"  # what stands between two instances, and nowhere else


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a path asks for; ``series`` and ``instance`` are None for all.

    ``base`` is the URL of the data store.
    """

    datastore_id: str
    study: str
    series: str | None
    instance: str | None
    image_set_id: str | None
    base: str


@dataclass(frozen=True, slots=True)
class Found:
    """The image sets that hold it, and the tag of this state of them."""

    sets: list[SeriesSet]
    etag: str


def find(ctx: Context, wanted: Wanted) -> Found:
    """Raises `ValidationError` for ids that are none, `NotFoundError` where there is nothing."""
    with ctx.stores.db.read() as conn:
        sets = _sets(conn, wanted)
        if wanted.instance is not None:
            instance_of(conn, sets[0], wanted.instance)
    return Found(sets, _etag(ctx.settings, [(each.id, each.version) for each in sets], wanted))


@contextmanager
def unless_deleted(ctx: Context, wanted: Wanted) -> Iterator[None]:
    """Where reading what `find` has found fails, `NotFoundError` if it has been deleted since: rows of it may
    be gone already.
    """
    try:
        yield
    except LightwellError:
        find(ctx, wanted)
        raise


def gzipped(ctx: Context, wanted: Wanted, found: Found) -> bytes:
    """The JSON array as gzip. Raises `NotFoundError` where it was deleted meanwhile."""
    with unless_deleted(ctx, wanted):
        if wanted.instance is not None:
            data = metadata_documents.packed(_array([_one(ctx, wanted, found.sets[0])]))
        elif wanted.series is not None:
            data = _of_series(ctx, wanted, found.sets[0])
        else:
            data = metadata_documents.packed(_array(objects(ctx, wanted, found)))
    _recheck(ctx, wanted, found)
    return data


def objects(ctx: Context, wanted: Wanted, found: Found) -> Iterator[bytes]:
    """The JSON objects one by one, in bounded memory but for the gzipped documents."""
    if wanted.instance is not None:
        yield _one(ctx, wanted, found.sets[0])
        return
    for each in found.sets:
        with unless_deleted(ctx, wanted):
            data, has_bulk = _kept(ctx, each)
        for text in _split(data):
            yield dicom_json_lines.addressed(text, wanted.base, wanted.image_set_id) if has_bulk else text


def as_xml(ctx: Context, wanted: Wanted, found: Found) -> Iterator[bytes]:
    """The same objects in the Native DICOM Model."""
    from lightwell.imaging.dataset.dicom_xml import native_model

    for text in objects(ctx, wanted, found):
        yield native_model(text)


def warm(stores: Stores, settings: Settings, clock: Clock, wanted: Wanted) -> tuple[str, bytes] | None:
    """ETag and gzipped array of the primary set of a series, where both are at hand without any waiting."""
    if stores.db.dialect != "sqlite" or wanted.instance is not None or wanted.series is None:
        return None
    row = stores.db.look_up(
        dicom_json_instances.PRIMARY_LOOK_UP, (wanted.datastore_id, wanted.study, wanted.series)
    )
    if row is None or wanted.image_set_id not in (None, row[1]):
        return None
    key, id, version = row
    form = _format(settings)
    data = metadata_documents.recent.get(key, version, form)
    if data is None:
        data = metadata_documents.recent.get(key, version, _served(form, wanted))
    if data is None:
        return None
    stores.accesses.note(key, clock.now())
    return _etag(settings, [(id, version)], wanted), data


def instance_objects(
    conn: Connection, stores: Stores, rows: Iterable[tuple[str, str, DicomJsonInstance]], base: str
) -> list[bytes]:
    """The JSON objects of some instances, without (0002,0010).

    ``rows``: StudyInstanceUID and SeriesInstanceUID of each, and what is stored of it. ``base`` is the URL of
    their data store.
    """
    fragments, changes = native_instances.InstanceFragments(conn), _Changes()
    texts = []
    for study, series, row in rows:
        lines = _shown(stores, fragments, changes, row, (study, series))
        texts.append(dicom_json_lines.addressed(dicom_json_lines.as_object(lines), base))
    return texts


def lines_of(stores: Stores, fragments: native_instances.InstanceFragments, row: DicomJsonInstance) -> bytes:
    """The lines of an instance as it came."""
    if row.dicom_z is not None:
        return fragments.read(row.dicom_z, row.dictionary)
    # Imported here since pydicom takes memory, and only what came before DICOMweb has to be read again.
    from lightwell.imaging.dataset.element_cache import SeriesCache
    from lightwell.imaging.dataset.original_container import Original
    from lightwell.imaging.dataset.part10 import stored_part10
    from lightwell.imaging.instances.parse import parse_instance

    original = Original(
        lambda offset, length: stores.objects.read(pack_name(row.pack), offset, length),
        row.offset,
        row.length,
    )
    override = json.loads(decompress(row.override_z)) if row.override_z else None
    part10 = stored_part10(original, original.meta_length)
    return parse_instance(part10, SeriesCache(), override=override).dicom


def pieces(conn: Connection, stores: Stores, found: SeriesSet, *, meta: bool) -> Iterator[bytes]:
    """The JSON array of a version, piece by piece, with paths of bulk values. ``meta``: with (0002,0010)."""
    fragments = native_instances.InstanceFragments(conn)
    changes = _Changes()
    uids = found.study_instance_uid, found.series_instance_uid
    separator = b"["
    for batch in dicom_json_instances.batches(conn, found.key, found.version):
        for row in batch:
            lines = _shown(stores, fragments, changes, row, uids)
            yield separator + dicom_json_lines.as_object(lines, _syntax(row) if meta else None)
            separator = b",\n"
    yield b"[]" if separator == b"[" else b"]"


class _Changes:
    """The lines that edits give, kept for the next instance, which mostly has the same."""

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


def _shown(
    stores: Stores,
    fragments: native_instances.InstanceFragments,
    changes: _Changes,
    row: DicomJsonInstance,
    uids: tuple[str, str],
) -> bytes:
    """The lines of a row with its edits; ``uids`` are those of study and series."""
    lines = lines_of(stores, fragments, row)
    if row.edits:
        lines = dicom_json_lines.laid(lines, changes.of(row))
    path = ""
    if dicom_json_lines.has_bulk(lines):
        path = dicom_json_lines.instance_path(*uids, row.sop_instance_uid)
    return dicom_json_lines.shown(lines, _syntax(row), path)


def _syntax(row: DicomJsonInstance) -> str:
    return unsplit_syntax(row.stored_syntax) if row.stored_syntax else _NATIVE


def _sets(conn: Connection, wanted: Wanted) -> list[SeriesSet]:
    if wanted.series is not None:
        return [series_set(conn, wanted.datastore_id, wanted.study, wanted.series, wanted.image_set_id)]
    if wanted.image_set_id is not None:
        raise ValidationError("imageSetId goes with the metadata of a series or an instance, not of a study.")
    return study_sets(conn, wanted.datastore_id, wanted.study)


def _recheck(ctx: Context, wanted: Wanted, found: Found) -> None:
    """A document made while its set was deleted must neither be served nor stay."""
    try:
        with ctx.stores.db.read() as conn:
            _sets(conn, wanted)
    except Exception:
        for each in found.sets:
            metadata_documents.drop(ctx.stores, each.key)
        raise
    for each in found.sets:
        ctx.stores.accesses.note(each.key, ctx.clock.now())


def _one(ctx: Context, wanted: Wanted, found: SeriesSet) -> bytes:
    assert wanted.instance is not None
    uids = found.study_instance_uid, found.series_instance_uid
    with ctx.stores.db.read() as conn:
        instance = instance_of(conn, found, wanted.instance).instance
        ((row,),) = dicom_json_instances.batches(conn, found.key, found.version, only=[instance])
        lines = _shown(ctx.stores, native_instances.InstanceFragments(conn), _Changes(), row, uids)
    meta = _syntax(row) if ctx.settings.metadata_transfer_syntax == "on" else None
    return dicom_json_lines.addressed(
        dicom_json_lines.as_object(lines, meta), wanted.base, wanted.image_set_id
    )


def _of_series(ctx: Context, wanted: Wanted, found: SeriesSet) -> bytes:
    data, has_bulk = _kept(ctx, found)
    if not has_bulk:
        return data
    served = _served(_format(ctx.settings), wanted)
    known = metadata_documents.recent.get(found.key, found.version, served)
    if known is None:
        texts = (dicom_json_lines.addressed(text, wanted.base, wanted.image_set_id) for text in _split(data))
        known = metadata_documents.packed(_array(texts))
        metadata_documents.recent.put(found.key, found.version, known, served)
    return known


def _kept(ctx: Context, found: SeriesSet) -> tuple[bytes, bool]:
    """The gzipped array of a set with paths of bulk values, and whether there are any."""
    stores, form = ctx.stores, _format(ctx.settings)
    bulk = f"{form}.bulk"
    with metadata_documents.making(found.key):
        for name in (form, bulk):
            data = metadata_documents.recent.get(found.key, found.version, name)
            if data is None:
                data = stores.documents.get(found.key, found.version, name)
                if data is not None:
                    metadata_documents.recent.put(found.key, found.version, data, name)
            if data is not None:
                return data, name == bulk
        has_bulk = False

        def watched() -> Iterator[bytes]:
            nonlocal has_bulk
            with stores.db.read() as conn:
                for piece in pieces(conn, stores, found, meta=ctx.settings.metadata_transfer_syntax == "on"):
                    has_bulk = has_bulk or dicom_json_lines.has_bulk(piece)
                    yield piece

        data = metadata_documents.packed(watched())
        name = bulk if has_bulk else form
        stores.documents.put(found.key, found.version, name, data, is_latest=True)
        metadata_documents.recent.put(found.key, found.version, data, name)
        return data, has_bulk


def _split(data: bytes) -> Iterator[bytes]:
    """The objects of a gzipped array that `pieces` made."""
    rest = b""
    is_first = True
    for piece in metadata_documents.unpacked(data):
        *whole, rest = (rest + piece).split(_BETWEEN)
        for text in whole:
            yield text[1:] + b"}" if is_first else b"{%s}" % text
            is_first = False
    if is_first:
        rest = rest[1:]
    if len(rest) > 1:
        yield rest[:-1] if is_first else b"{" + rest[:-1]


def _array(texts: Iterable[bytes]) -> Iterator[bytes]:
    separator = b"["
    for text in texts:
        yield separator + text
        separator = b",\n"
    yield b"[]" if separator == b"[" else b"]"


def _format(settings: Settings) -> str:
    return "dicom" if settings.metadata_transfer_syntax == "on" else "dicom.plain"


def _served(form: str, wanted: Wanted) -> str:
    return f"{form} {wanted.base} {wanted.image_set_id or ''}"


def _etag(settings: Settings, sets: Sequence[tuple[str, int]], wanted: Wanted) -> str:
    state = f"{_EDITION} {sets} {wanted.instance} {_served(_format(settings), wanted)}"
    return hashlib.blake2s(state.encode("utf-8", "replace"), digest_size=12).hexdigest()
