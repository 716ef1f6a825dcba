"""``datastores/{datastoreId}/studies``: the list of studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from lightwell.errors import ValidationError
from lightwell.operations.console import studies
from lightwell.web.console.route import Answer, Body, Call, Route, iso

if TYPE_CHECKING:
    from lightwell.auth.policies.actions import AuthorizationRequest
    from lightwell.operations.console.studies import ShownSet, ShownStudy

MOST_STUDIES = 100


class StudyFilters(Body):
    """What is looked for. ``text`` is searched in all that a person may type: the parts of a name in any
    order, a patient id, an accession number, a description, or how a StudyInstanceUID begins."""

    text: str = ""
    patient: str = ""
    accession_number: str = ""
    description: str = ""
    first_day: str | None = None
    last_day: str | None = None
    modalities: tuple[str, ...] = ()
    study_instance_uids: tuple[str, ...] = ()
    primary: str = "all"
    sort: str = "updated"
    direction: str = "descending"
    max_results: int = 50
    next_token: str | None = None


class OtherPatient(Answer):
    """Whom an image set names, where the study is shown with another patient."""

    patient_id: str | None
    patient_name: str | None


class StudySet(Answer):
    """An image set of a study."""

    image_set_id: str
    version_id: str
    is_primary: bool
    series_instance_uid: str
    series_number: str | None
    series_description: str | None
    modality: str | None
    body_part_examined: str | None
    instance_count: int
    created_at: str
    updated_at: str
    other_patient: OtherPatient | None


class StudyEntry(Answer):
    """A study as its oldest primary image set shows it, or one that is not primary where there is none, or
    where only that matches.

    Image sets of that patient come first; ``otherPatient`` of an image set is whom it names instead.
    ``series_count`` and ``instance_count`` are of its primary image sets, or of all where none is primary.
    ``has_more_image_sets``: there are more image sets than are counted and listed here.
    """

    study_instance_uid: str
    patient_name: str | None
    patient_id: str | None
    patient_birth_date: str | None
    patient_sex: str | None
    study_id: str | None
    study_date: str | None
    study_time: str | None
    study_description: str | None
    accession_number: str | None
    modalities: list[str]
    series_count: int
    instance_count: int
    primary_image_set_count: int
    other_image_set_count: int
    updated_at: str
    thumbnail_image_set_id: str | None
    image_sets: list[StudySet]
    has_more_image_sets: bool


class StudyPage(Answer):
    """``total`` is how many match, null where nobody has counted them. ``sorted_within``: the order is that
    of so many newest matches, and there are more. ``non_primary_within``: only so many newest image sets that
    are not primary were compared; sorted by ``updated`` all are, page by page."""

    studies: list[StudyEntry]
    next_token: str | None
    total: int | None
    sorted_within: int | None
    non_primary_within: int | None


def list_studies(call: Call) -> StudyPage:
    """A page of the studies of a data store."""
    asked: StudyFilters = call.body
    if asked.direction not in ("ascending", "descending"):
        raise ValidationError("direction must be ascending or descending.")
    if not 1 <= asked.max_results <= MOST_STUDIES:
        raise ValidationError(f"maxResults must be a number from 1 to {MOST_STUDIES}.")
    query = studies.StudyQuery(
        text=asked.text,
        patient=asked.patient,
        accession_number=asked.accession_number,
        description=asked.description,
        first_day=asked.first_day,
        last_day=asked.last_day,
        modalities=asked.modalities,
        study_instance_uids=asked.study_instance_uids,
        primaries=asked.primary,
        sort=asked.sort,
        descending=asked.direction == "descending",
    )
    found = studies.list_studies(
        call.ctx, call.params["datastoreId"], query, asked.next_token, asked.max_results
    )
    return StudyPage(
        studies=[_entry(study) for study in found.studies],
        next_token=found.next_token,
        total=found.total,
        sorted_within=found.sorted_within,
        non_primary_within=found.non_primary_within,
    )


def _entry(study: ShownStudy) -> StudyEntry:
    primary = [each for each in study.sets if each.is_primary]
    own = [each for each in study.sets if not study.has_other_patient(each)]
    counted = [each for each in own if each.is_primary] or own
    thumbnail = studies.thumbnail_set(study)
    return StudyEntry(
        study_instance_uid=study.study_instance_uid,
        patient_name=study.patient_name,
        patient_id=study.patient_id,
        patient_birth_date=study.patient_birth_date,
        patient_sex=study.patient_sex,
        study_id=study.study_id,
        study_date=study.study_date,
        study_time=study.study_time,
        study_description=study.study_description,
        accession_number=study.accession_number,
        modalities=sorted({each.modality for each in study.sets if each.modality}),
        series_count=len({each.series_instance_uid for each in counted}),
        instance_count=sum(each.instance_count for each in counted),
        primary_image_set_count=len(primary),
        other_image_set_count=len(study.sets) - len(primary),
        updated_at=iso(study.updated_at),
        thumbnail_image_set_id=None if thumbnail is None else thumbnail.id,
        image_sets=[_set(study, each) for each in study.sets],
        has_more_image_sets=study.has_more_sets,
    )


def _set(study: ShownStudy, of: ShownSet) -> StudySet:
    other = OtherPatient(patient_id=of.patient_id, patient_name=of.patient_name)
    return StudySet(
        image_set_id=of.id,
        version_id=str(of.version),
        is_primary=of.is_primary,
        series_instance_uid=of.series_instance_uid,
        series_number=of.series_number,
        series_description=of.series_description,
        modality=of.modality,
        body_part_examined=of.body_part_examined,
        instance_count=of.instance_count,
        created_at=iso(of.created_at),
        updated_at=iso(of.updated_at),
        other_patient=other if study.has_other_patient(of) else None,
    )


def _may_search(call: Call) -> Sequence[AuthorizationRequest]:
    """What shows as much: image sets of both kinds, and what is in the index of DICOMweb."""
    actions, store = call.state.access_control.actions, call.params["datastoreId"]
    return [
        *actions.datastore("medical-imaging:SearchImageSets", store),
        *actions.datastore("medical-imaging:SearchDICOMStudies", store),
    ]


ROUTES = (
    Route(
        "ConsoleListStudies",
        "POST",
        "datastores/{datastoreId}/studies",
        list_studies,
        _may_search,
        body=msgspec.json.Decoder(StudyFilters),
        action="medical-imaging:SearchImageSets and medical-imaging:SearchDICOMStudies on the data store",
        says="A page of studies, of primary image sets and of others. A page looks at a bounded number of "
        "rows: it may have fewer studies than maxResults, or none, and a nextToken nevertheless.",
    ),
)
