"""The six DICOMweb searches: SearchDICOMStudies, …Series, …Instances and the three relational ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lightwell.context import Context
from lightwell.domain import qido_answers, qido_query
from lightwell.domain.qido import INSTANCE, SERIES, STUDY
from lightwell.errors import NotFoundError
from lightwell.operations import dicomweb_fields
from lightwell.operations.dicomweb_lookup import check_ids, check_uids
from lightwell.stores import datastores, qido

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


@dataclass(frozen=True, slots=True)
class Results:
    """One page: each result a JSON object, and how many more there are behind it (None: some)."""

    objects: list[str]
    remaining: int | None

    @property
    def body(self) -> bytes:
        """The JSON array."""
        return f"[{','.join(self.objects)}]".encode()

    def xml(self) -> Iterator[bytes]:
        """Each result in the Native DICOM Model."""
        # Imported here since the dictionary takes memory, and hardly anybody asks for XML.
        from lightwell.imaging.dicom_xml import native_model

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
) -> Results:
    """What an operation finds in a data store, below a study and a series of it where the path names them.

    ``pairs`` is the query, form-decoded; ``base`` the URL of the data store, in links. Only primary image
    sets are found. Raises `ValidationError` for a query or UIDs that are none, `NotFoundError` for an unknown
    data store, `TooLargeError` where whole data sets are asked for that are too large together.
    """
    check_ids(datastore_id)
    level, levels = _SEARCHES[operation]
    for uid in (study, series):
        if uid is not None and not uid.isprintable():
            check_uids(study, series)
    query = qido_query.parse(level, study, series, pairs, dicomweb_fields.tag_of)
    asked = dicomweb_fields.Asked(level, query)
    form = qido_answers.form(level, levels, asked.named, asked.columns)
    store = ctx.stores.db.look_up(datastores.STANDING_LOOK_UP, (datastore_id,))
    if store is None:
        raise NotFoundError(f"Datastore {datastore_id} does not exist.")
    with ctx.stores.db.read() as conn:
        found = qido.search(conn, store[0], query.criteria)
        if level == INSTANCE and found.hits:
            dicomweb_fields.add_images(conn, found.hits)
        elements = [form.elements(hit.values, base) for hit in found.hits]
        if found.hits and asked.reads_records:
            dicomweb_fields.add_to(elements, asked, ctx.stores, conn, found.hits, base)
    if not found.hits:
        check_uids(study, series)
    return Results([f"{{{','.join(own)}}}" for own in elements], found.remaining)
