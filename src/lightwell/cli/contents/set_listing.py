"""What ``lightwell sets list`` and ``lightwell sets show`` print, through the operations of the API."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from lightwell.cli import command_trail
from lightwell.cli.wording import counted, moment, print_array, print_table, printable
from lightwell.errors import LightwellError, NotFoundError
from lightwell.wire import shapes

if TYPE_CHECKING:
    from lightwell.domain.datastore import DataStore
    from lightwell.operations.context import Context

_PAGE = 50


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which image sets: all that have these values, whatever they are where None is given."""

    patient: str | None = None
    study: str | None = None
    modality: str | None = None


@dataclass(frozen=True, slots=True)
class ListedSet:
    """An image set as SearchImageSets finds it, and its data store."""

    store: DataStore
    found: shapes.ImageSetsMetadataSummary

    @property
    def tags(self) -> shapes.DICOMTags:
        return self.found.dicom_tags or shapes.DICOMTags()


def search(ctx: Context, stores: list[DataStore], wanted: Wanted) -> Iterator[ListedSet]:
    """The image sets of these data stores, the last changed first in each."""
    from lightwell.operations.search_image_sets import search_image_sets

    values = []
    if wanted.patient is not None:
        values.append(shapes.SearchByAttributeValue(dicom_patient_id=wanted.patient))
    if wanted.study is not None:
        values.append(shapes.SearchByAttributeValue(dicom_study_instance_uid=wanted.study))
    filters = [shapes.SearchFilter(values=[value], operator="EQUAL") for value in values]
    modality = None if wanted.modality is None else wanted.modality.strip().upper()
    command = command_trail.current()
    noted = command if command is not None and command.note is ctx.note else None
    for store in stores:
        token: str | None = None
        if noted is not None:
            noted.goes_to(ctx.settings, store.id)
        while True:
            if noted is not None:
                noted.got_on(ctx.settings, _PAGE)
            before = ctx.note.found or 0
            page = search_image_sets(
                ctx,
                shapes.SearchImageSetsRequest(
                    datastore_id=store.id,
                    search_criteria=shapes.SearchCriteria(filters=filters),
                    max_results=_PAGE,
                    next_token=token,
                ),
            )
            ctx.note.found = before + len(page.image_sets_metadata_summaries)
            for found in page.image_sets_metadata_summaries:
                listed = ListedSet(store, found)
                if modality is None or listed.tags.dicom_series_modality == modality:
                    yield listed
            token = page.next_token
            if token is None:
                break


def print_list(found: Iterator[ListedSet], *, limit: int | None, as_json: bool, with_store: bool) -> int:
    """Print at most ``limit`` of them, with their data stores or without; 0."""
    shown = found if limit is None else islice(found, limit)
    if as_json:
        print_array(_as_json(each) for each in shown)
    else:
        print_table(
            (
                "IMAGE SET", *(["DATA STORE"] if with_store else []), "VERSION", "PRIMARY", "PATIENT ID",
                "PATIENT NAME", "STUDY DATE", "MODALITY", "INSTANCES", "STUDY DESCRIPTION",
            ),
            (_row(each, with_store=with_store) for each in shown),
            nothing="No image set matches",
        )  # fmt: skip
    if limit is not None and next(found, None) is not None:
        print(f"lightwell: only the first {counted(limit, 'image set')}: there are more", file=sys.stderr)
    return 0


def _row(listed: ListedSet, *, with_store: bool) -> tuple[object, ...]:
    tags = listed.tags
    date = tags.dicom_study_date or ""
    return (
        listed.found.image_set_id,
        *([listed.store.name or listed.store.id] if with_store else []),
        listed.found.version,
        listed.found.is_primary,
        tags.dicom_patient_id,
        tags.dicom_patient_name,
        f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else date,
        tags.dicom_series_modality,
        tags.dicom_number_of_study_related_instances,
        tags.dicom_study_description,
    )


def _as_json(listed: ListedSet) -> dict[str, object]:
    found = listed.found
    return {
        "datastoreId": listed.store.id,
        "imageSetId": found.image_set_id,
        "version": found.version,
        "isPrimary": found.is_primary,
        "createdAt": _time(found.created_at),
        "updatedAt": _time(found.updated_at),
        "lastAccessedAt": _time(found.last_accessed_at),
        "storageTier": found.storage_tier,
        "DICOMTags": msgspec.to_builtins(listed.tags),
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else moment(seconds * 1000)


def show(ctx: Context, id: str, *, as_json: bool) -> int:
    """Print the properties, tags and versions of an image set; 0. Raises `NotFoundError`."""
    from lightwell.documents.identity import note_image_sets
    from lightwell.operations.image_sets import get_image_set, list_image_set_versions
    from lightwell.stores.image_sets import lookups

    with ctx.stores.db.read() as conn:
        place = lookups.find(conn, id)
        summary = None if place is None or place[1].deleted else lookups.summary(conn, place[1].key)
    if place is None:
        raise unknown(id)
    store_id = place[0]
    command_trail.goes_to(ctx.settings, store_id)
    note_image_sets(ctx.stores, ctx.note, store_id, [id])
    found = get_image_set(ctx, shapes.GetImageSetRequest(datastore_id=store_id, image_set_id=id))
    versions = list_image_set_versions(
        ctx, shapes.ListImageSetVersionsRequest(datastore_id=store_id, image_set_id=id, max_results=_PAGE)
    ).image_set_properties_list
    properties: dict[str, object] = {
        "imageSetId": id,
        "datastoreId": store_id,
        "versionId": found.version_id,
        "imageSetState": found.image_set_state,
        "imageSetWorkflowStatus": found.image_set_workflow_status,
        "isPrimary": found.is_primary,
        "createdAt": _time(found.created_at),
        "updatedAt": _time(found.updated_at),
        "deletedAt": _time(found.deleted_at),
        "message": found.message,
        "storageTier": found.storage_tier,
        "imageSetArn": found.image_set_arn,
    }
    properties = {name: value for name, value in properties.items() if value is not None}
    attributes: dict[str, object] = {}
    if summary is not None:
        attributes = {
            "PatientID": summary.patient_id,
            "PatientName": summary.patient_name,
            "PatientBirthDate": summary.patient_birth_date,
            "PatientSex": summary.patient_sex,
            "StudyInstanceUID": summary.study_instance_uid,
            "StudyDate": summary.study_date,
            "StudyTime": summary.study_time,
            "StudyDescription": summary.study_description,
            "StudyID": summary.study_id,
            "AccessionNumber": summary.accession_number,
            "SeriesInstanceUID": summary.series_instance_uid,
            "SeriesNumber": summary.series_number,
            "Modality": summary.modality,
            "BodyPartExamined": summary.body_part_examined,
            "instances": summary.instance_count,
        }
        attributes = {name: value for name, value in attributes.items() if value is not None}
    rows = [
        {
            "versionId": version.version_id,
            "imageSetWorkflowStatus": version.image_set_workflow_status,
            "createdAt": _time(version.updated_at or version.created_at),
            **({"message": version.message} if version.message else {}),
        }
        for version in versions
    ]
    if as_json:
        whole = {**properties, "attributes": attributes, "versions": rows}
        print(json.dumps(whole, indent=2, ensure_ascii=False))
        return 0
    for name, value in (properties | attributes).items():
        print(f"{name:<22}  {printable(_text(value))}")
    print()
    print_table(
        ("VERSION", "STATUS", "CREATED", "MESSAGE"),
        [(v["versionId"], v["imageSetWorkflowStatus"], v["createdAt"], v.get("message")) for v in rows],
        nothing="It has no versions",
    )
    if len(rows) == _PAGE:
        print(f"lightwell: only the newest {counted(_PAGE, 'version')}", file=sys.stderr)
    return 0


def _text(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def unknown(id: str) -> LightwellError:
    """For an image set ID that no data store has."""
    return NotFoundError(f"There is no image set {id}; `lightwell sets list` shows those that exist")
