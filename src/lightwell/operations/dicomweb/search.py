"""The six DICOMweb searches: SearchDICOMStudies, …Series, …Instances and the three relational ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lightwell.domain.qido import query as qido_query
from lightwell.domain.qido import results
from lightwell.domain.qido.attributes import MATCH_KEYS
from lightwell.domain.qido.criteria import INSTANCE, SERIES, STUDY
from lightwell.domain.qido.query import Query
from lightwell.errors import AccessDeniedError, NotFoundError
from lightwell.operations.context import Context
from lightwell.operations.dicomweb import fields
from lightwell.operations.dicomweb.lookup import check_ids, check_uids
from lightwell.stores.account import datastores
from lightwell.stores.account.datastores import DatastoreGoneError
from lightwell.stores.qido import search as qido
from lightwell.stores.qido.at_once import search_at_once

# Operation → what it finds, and the levels whose attributes are returned without being requested
# (PS3.18 §10.6.3.3: those of higher levels are, unless the path names their study or series).
_SEARCHES: dict[str, tuple[str, tuple[str, ...]]] = {
    "SearchDICOMStudies": (STUDY, (STUDY,)),
    "SearchDICOMSeries": (SERIES, (SERIES,)),
    "SearchDICOMInstances": (INSTANCE, (INSTANCE,)),
    "SearchDICOMAllSeries": (SERIES, (STUDY, SERIES)),
    "SearchDICOMStudyInstances": (INSTANCE, (SERIES, INSTANCE)),
    "SearchDICOMAllInstances": (INSTANCE, (STUDY, SERIES, INSTANCE)),
}
# The levels of the match keys on AWS's page for the operation, where they are more than those.
_MATCH_LEVELS = {"SearchDICOMStudyInstances": (STUDY, SERIES, INSTANCE)}
# Operation → the tags that it returns anyway or that HealthImaging matches: all who may search see these.
_VISIBLE_TAGS: dict[str, frozenset[int]] = {
    operation: results.default_tags(levels)
    | {
        key.path[0]
        for key in MATCH_KEYS.values()
        if key.level in _MATCH_LEVELS.get(operation, levels) and not key.optional
    }
    for operation, (_, levels) in _SEARCHES.items()
}
_IDENTITY = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """A search below a data store, or below a study or series of it.

    ``parameters`` are the names and values of the query, form-decoded; ``base`` is the URL of the data store,
    for links. ``strict``: refuse what HealthImaging does not know.
    """

    operation: str
    datastore_id: str
    study: str | None
    series: str | None
    parameters: Sequence[tuple[str, str]]
    base: str
    strict: bool = False


@dataclass(frozen=True, slots=True)
class SearchResults:
    """One page: each result a JSON object, and how many more results follow (None: an unknown number).

    ``is_limited``: requested attributes are left out because the caller may not read them. ``ignored`` are
    the parameters of the query that are no attributes.
    """

    objects: list[str]
    remaining: int | None
    is_limited: bool = False
    ignored: tuple[str, ...] = ()

    @property
    def body(self) -> bytes:
        """The JSON array."""
        return f"[{','.join(self.objects)}]".encode()

    def xml(self) -> Iterator[bytes]:
        """Each result in the Native DICOM Model."""
        # Imported here because the dictionary takes memory, and hardly any client asks for XML.
        from lightwell.imaging.dataset.dicom_xml import native_model

        for text in self.objects:
            yield native_model(text.encode())


def search(
    ctx: Context, request: SearchRequest, *, may_read_metadata: Callable[[], None] | None = None
) -> SearchResults:
    """What a search finds in the primary image sets of a data store.

    ``may_read_metadata`` raises `AccessDeniedError` for a caller who may search but not read metadata. Such
    a caller gets only what the search shows to everyone, and is refused where a match parameter goes beyond
    that. None for a caller who may read everything.

    Raises `ValidationError` for an invalid query or malformed UIDs, `NotFoundError` for an unknown data
    store, `TooLargeError` where whole data sets are requested that are too large together.
    """
    check_ids(request.datastore_id)
    study, series = request.study, request.series
    ctx.note.query = _by_name(request.parameters)
    level, levels = _SEARCHES[request.operation]
    for uid in (study, series):
        if uid is not None and not uid.isprintable():
            check_uids(study, series)
    tag_of = fields.tag_of if request.strict else fields.tag_by_letters
    query = qido_query.parse_query(level, study, series, request.parameters, tag_of, strict=request.strict)
    requested = fields.RequestedFields(level, query)
    visible = _VISIBLE_TAGS[request.operation]
    is_limited = (
        may_read_metadata is not None
        and requested.is_beyond(visible)
        and not _may_read_beyond(query, visible, may_read_metadata)
    )
    if is_limited:
        requested = fields.RequestedFields(level, requested.limited(query, visible))
    writer = results.result_writer(level, levels, requested.named, requested.columns)
    known, at_once = None, None
    if ctx.stores.db.selects_at_once and not requested.reads_records:
        known, at_once = _at_once(ctx, request.datastore_id, query, requested.matched)
    datastore_key = _datastore_key(ctx, request.datastore_id) if known is None else known
    many = at_once if isinstance(at_once, qido.Many) else None

    def work(conn: Connection) -> tuple[qido.HitPage, list[list[str]]]:
        found = qido.search(conn, datastore_key, query.criteria, requested.matched, many)
        if level == INSTANCE and found.hits:
            named = requested.columns | requested.named
            with_syntaxes = results.AVAILABLE_SYNTAXES in named
            fields.add_image_attributes(conn, found.hits, with_syntaxes=with_syntaxes)
        elements = [writer.elements(hit.values, request.base) for hit in found.hits]
        if found.hits and requested.reads_records:
            fields.add_requested_fields(elements, requested, ctx.stores, conn, found.hits, request.base)
        return found, elements

    if isinstance(at_once, qido.HitPage):
        found, elements = at_once, [writer.elements(hit.values, request.base) for hit in at_once.hits]
    else:
        found, elements = ctx.stores.db.read_behind(work)
    if not found.hits:
        check_uids(study, series)
    ctx.note.found = len(found.hits)
    for hit in found.hits:
        ctx.note.saw(None, *(str(hit.values.get(name) or "") for name in _IDENTITY))
    objects = [f"{{{','.join(own)}}}" for own in elements]
    return SearchResults(objects, found.remaining, is_limited, query.ignored)


def _by_name(parameters: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """What is searched for, for the audit trail."""
    found: dict[str, list[str]] = {}
    for name, value in parameters:
        # A signature in the query is no part of the search.
        if not name.lower().startswith("x-amz-"):
            found.setdefault(name, []).append(value)
    return found


def _datastore_key(ctx: Context, datastore_id: str) -> int:
    """Raises `NotFoundError` where there is no such data store."""
    row = ctx.stores.db.look_up(datastores.STANDING_LOOK_UP, (datastore_id,))
    if row is None:
        raise NotFoundError(f"Datastore {datastore_id} does not exist.")
    key: int = row[0]
    return key


def _at_once(
    ctx: Context, datastore_id: str, query: Query, matched: tuple[str, ...]
) -> tuple[int | None, qido.HitPage | qido.Many | None]:
    """The key of the data store, and what one statement has found in it; no key where none was asked."""
    db, keys = ctx.stores.db, ctx.stores.datastore_keys
    key = keys.find(db, datastore_id)
    if key is None:
        return None, None
    try:
        found = search_at_once(db.select_at_once, (key, datastore_id), query.criteria, matched)
    except DatastoreGoneError:
        keys.drop(datastore_id)
        return None, None
    return (None if found is None else key), found


def _may_read_beyond(query: Query, visible: frozenset[int], may_read_metadata: Callable[[], None]) -> bool:
    """Whether the caller may have attributes that are not among the tags ``visible``.

    Raises `AccessDeniedError` where it may not and the search matches such an attribute: the mere presence of
    results would reveal its value.
    """
    try:
        may_read_metadata()
    except AccessDeniedError as error:
        matched = [name for name in query.criteria.matches if MATCH_KEYS[name].path[0] not in visible]
        if matched:
            raise AccessDeniedError(f"{error.message}, which a search by {matched[0]} needs here") from None
        return False
    return True
