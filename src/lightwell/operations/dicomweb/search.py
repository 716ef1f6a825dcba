"""The six DICOMweb searches: SearchDICOMStudies, …Series, …Instances and the three relational ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lightwell.domain.qido import query as qido_query
from lightwell.domain.qido import results
from lightwell.domain.qido.attributes import KEYS
from lightwell.domain.qido.criteria import INSTANCE, SERIES, STUDY
from lightwell.domain.qido.query import Query
from lightwell.errors import AccessDeniedError, NotFoundError
from lightwell.operations.context import Context
from lightwell.operations.dicomweb import fields
from lightwell.operations.dicomweb.lookup import check_ids, check_uids
from lightwell.stores.account import datastores
from lightwell.stores.qido import search as qido

# operation → what it finds, and the levels whose attributes are answered without being asked for
# (PS3.18 §10.6.3.3: those above are, unless the path says which study or series they are of).
_SEARCHES: dict[str, tuple[str, tuple[str, ...]]] = {
    "SearchDICOMStudies": (STUDY, (STUDY,)),
    "SearchDICOMSeries": (SERIES, (SERIES,)),
    "SearchDICOMInstances": (INSTANCE, (INSTANCE,)),
    "SearchDICOMAllSeries": (SERIES, (STUDY, SERIES)),
    "SearchDICOMStudyInstances": (INSTANCE, (SERIES, INSTANCE)),
    "SearchDICOMAllInstances": (INSTANCE, (STUDY, SERIES, INSTANCE)),
}
# The levels of the keys that AWS's page has for the operation, where they are more than those.
_MATCHED = {"SearchDICOMStudyInstances": (STUDY, SERIES, INSTANCE)}
# operation → tags: what it answers anyway or HealthImaging lets it be asked by. Who may search sees these.
_SEEN: dict[str, frozenset[int]] = {
    operation: results.shown(levels)
    | {key.path[0] for key in KEYS.values() if key.level in _MATCHED.get(operation, levels)}
    for operation, (_, levels) in _SEARCHES.items()
}


@dataclass(frozen=True, slots=True)
class Results:
    """One page: each result a JSON object, and how many more there are behind it (None: some).

    ``is_limited``: attributes that were asked for are left out, since the caller may not read them.
    """

    objects: list[str]
    remaining: int | None
    is_limited: bool = False

    @property
    def body(self) -> bytes:
        """The JSON array."""
        return f"[{','.join(self.objects)}]".encode()

    def xml(self) -> Iterator[bytes]:
        """Each result in the Native DICOM Model."""
        # Imported here since the dictionary takes memory, and hardly anybody asks for XML.
        from lightwell.imaging.dataset.dicom_xml import native_model

        for text in self.objects:
            yield native_model(text.encode())


def search(
    ctx: Context,
    operation: str,
    datastore_id: str,
    study: str | None,
    series: str | None,
    pairs: Sequence[tuple[str, str]],
    base: str,
    may_read: Callable[[], None] | None = None,
) -> Results:
    """What an operation finds in a data store, below a study and a series of it where the path names them.

    ``pairs`` is the query, form-decoded; ``base`` the URL of the data store, in links. Only primary image
    sets are found. ``may_read`` raises `AccessDeniedError` for who may search and not read metadata: without
    it such a caller is answered what the search shows to everybody, and refused where it is asked by more.
    None for who may read all. Raises `ValidationError` for a query or UIDs that are none, `NotFoundError` for
    an unknown data store, `TooLargeError` where whole data sets are asked for that are too large together.
    """
    check_ids(datastore_id)
    level, levels = _SEARCHES[operation]
    for uid in (study, series):
        if uid is not None and not uid.isprintable():
            check_uids(study, series)
    query = qido_query.parse(level, study, series, pairs, fields.tag_of)
    asked = fields.RequestedFields(level, query)
    seen = _SEEN[operation]
    is_limited = may_read is not None and asked.is_beyond(seen) and not _reads(query, seen, may_read)
    if is_limited:
        asked = fields.RequestedFields(level, asked.limited(query, seen))
    form = results.form(level, levels, asked.named, asked.columns)
    store = ctx.stores.db.look_up(datastores.STANDING_LOOK_UP, (datastore_id,))
    if store is None:
        raise NotFoundError(f"Datastore {datastore_id} does not exist.")
    with ctx.stores.db.read() as conn:
        found = qido.search(conn, store[0], query.criteria)
        if level == INSTANCE and found.hits:
            fields.add_images(conn, found.hits)
        elements = [form.elements(hit.values, base) for hit in found.hits]
        if found.hits and asked.reads_records:
            fields.add_to(elements, asked, ctx.stores, conn, found.hits, base)
    if not found.hits:
        check_uids(study, series)
    return Results([f"{{{','.join(own)}}}" for own in elements], found.remaining, is_limited)


def _reads(query: Query, seen: frozenset[int], may_read: Callable[[], None]) -> bool:
    """Whether the caller may have what goes beyond ``seen``.

    Raises `AccessDeniedError` where it may not and the search is asked by such an attribute: which results
    there are would tell what it holds.
    """
    try:
        may_read()
    except AccessDeniedError as error:
        matched = [name for name in query.criteria.matches if KEYS[name].path[0] not in seen]
        if matched:
            raise AccessDeniedError(f"{error.message}, which a search here by {matched[0]} needs") from None
        return False
    return True
