"""SearchImageSets."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from lightwell.domain import page_tokens
from lightwell.domain.image_sets.image_set import Summary, storage_tier
from lightwell.domain.image_sets.search import Filter, SearchCriteria, StudyMoment, Value, read_criteria
from lightwell.domain.states import DatastoreStatus
from lightwell.errors import NotFoundError, ValidationError
from lightwell.operations.context import Context
from lightwell.operations.image_sets import seconds
from lightwell.stores.account import datastores
from lightwell.stores.image_sets import search
from lightwell.wire import shapes

_PAGE = 50
_INTEGER = re.compile(r"[+-]?\d{1,10}", re.ASCII)
_INT32 = range(-(2**31), 2**31)


def search_image_sets(ctx: Context, request: shapes.SearchImageSetsRequest) -> shapes.SearchImageSetsResponse:
    """The sets of a data store that match every filter, a page at a time, each in its newest version with
    content.

    Raises `ValidationError` for invalid filters and for a token of another search, `NotFoundError` for an
    unknown data store.
    """
    asked = request.search_criteria or shapes.SearchCriteria()
    filters = [_filter(given) for given in asked.filters or ()]
    ctx.note.query = _for_the_trail(filters)
    wanted = read_criteria(
        filters,
        None if asked.sort is None else (asked.sort.sort_field, asked.sort.sort_order),
    )
    # The end of a page is meaningful only in its own search.
    digest = hashlib.sha256(msgspec.json.encode([request.datastore_id, asked])).hexdigest()[:16]
    after = None if request.next_token is None else _cursor(request.next_token, digest, wanted)

    limit = request.max_results or _PAGE

    def work(conn: Connection) -> search.SearchPage:
        store = datastores.get(conn, request.datastore_id)
        if store is None or store.status == DatastoreStatus.DELETED:
            raise NotFoundError(f"Datastore {request.datastore_id} does not exist.")
        return search.search(conn, store.key, wanted, after=after, limit=limit)

    found = _at_once(ctx, request.datastore_id, wanted, after, limit) or ctx.stores.db.read_behind(work)
    now = ctx.clock.now()
    ctx.note.found = len(found.summaries)
    for one in found.summaries:
        ctx.note.saw(one.id, one.patient_id, one.study_instance_uid, one.series_instance_uid)
    return shapes.SearchImageSetsResponse(
        image_sets_metadata_summaries=[_summary(one, now) for one in found.summaries],
        sort=asked.sort,
        next_token=None if found.next is None else page_tokens.encode([digest, *found.next]),
    )


def _for_the_trail(filters: Sequence[Filter]) -> dict[str, list[str]]:
    """What is searched for: of a range its two ends."""
    asked: dict[str, list[str]] = {}
    for one in filters:
        for name, value in one.values:
            if isinstance(value, StudyMoment):
                text = f"{value.date} {value.time or ''}".rstrip()
            else:
                text = str(value)
            asked.setdefault(name, []).append(text)
    return asked


def _at_once(
    ctx: Context,
    datastore_id: str,
    wanted: SearchCriteria,
    after: search.Cursor | None,
    limit: int,
) -> search.SearchPage | None:
    """What one statement finds, None where none was asked."""
    db, keys = ctx.stores.db, ctx.stores.datastore_keys
    if not db.selects_at_once:
        return None
    key = keys.find(db, datastore_id)
    if key is None:
        return None
    try:
        return search.search_at_once(db.select_at_once, (key, datastore_id), wanted, after=after, limit=limit)
    except datastores.DatastoreGoneError:
        keys.drop(datastore_id)
        return None


def _filter(given: shapes.SearchFilter) -> Filter:
    return Filter(given.operator, [_value(value) for value in given.values])


def _value(given: shapes.SearchByAttributeValue) -> tuple[str, Value]:
    for name, wire in zip(given.__struct_fields__, given.__struct_encode_fields__, strict=True):
        value = getattr(given, name)
        if isinstance(value, shapes.DICOMStudyDateAndTime):
            return wire, StudyMoment(value.dicom_study_date, value.dicom_study_time)
        if value is not None:
            return wire, value
    raise AssertionError("a union without a member passed validation")


def _cursor(token: str, digest: str, wanted: SearchCriteria) -> search.Cursor:
    made_for, value, key = page_tokens.decode(token, str, (int, str, type(None)), int)
    is_text = wanted.sort == "study_moment"
    if made_for != digest or not isinstance(value, (str, type(None)) if is_text else int):
        raise ValidationError(
            "nextToken belongs to another search. Send it with the filters and sort of that search."
        )
    assert isinstance(key, int)
    return value, key


def _summary(found: Summary, now: int) -> shapes.ImageSetsMetadataSummary:
    return shapes.ImageSetsMetadataSummary(
        image_set_id=found.id,
        version=found.version,
        created_at=seconds(found.created_at),
        updated_at=seconds(found.updated_at),
        last_accessed_at=seconds(found.last_accessed_at),
        storage_tier=storage_tier(found.last_accessed_at, now),
        is_primary=found.is_primary,
        dicom_tags=shapes.DICOMTags(
            dicom_patient_id=found.patient_id,
            dicom_patient_name=found.patient_name,
            dicom_patient_birth_date=found.patient_birth_date,
            dicom_patient_sex=found.patient_sex,
            dicom_study_instance_uid=found.study_instance_uid,
            dicom_study_id=found.study_id,
            dicom_study_description=found.study_description,
            dicom_number_of_study_related_series=1,
            dicom_number_of_study_related_instances=found.instance_count,
            dicom_accession_number=found.accession_number,
            dicom_series_instance_uid=found.series_instance_uid,
            dicom_series_modality=found.modality,
            dicom_series_body_part=found.body_part_examined,
            dicom_series_number=_integer(found.series_number),
            dicom_study_date=found.study_date,
            dicom_study_time=found.study_time,
        ),
    )


def _integer(text: str | None) -> int | None:
    """A SeriesNumber as the API shows it; None where it is not a 32-bit integer."""
    if text is None or not _INTEGER.fullmatch(text):
        return None
    return int(text) if int(text) in _INT32 else None
