"""The list of studies: those of all image sets, primary or not, searched, sorted and paged."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lightwell.domain import page_tokens
from lightwell.domain.image_sets.search_columns import day
from lightwell.domain.qido import study_list
from lightwell.domain.qido.study_list import (
    ANYWHERE,
    Place,
    Primaries,
    Searched,
    StudyCriteria,
    StudySort,
    Word,
)
from lightwell.domain.states import DatastoreStatus
from lightwell.errors import NotFoundError, ValidationError
from lightwell.stores.account import datastores
from lightwell.stores.qido.search import Reader
from lightwell.stores.studies import listing
from lightwell.stores.studies.details import ShownSet, ShownStudy, shown

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.operations.context import Context

__all__ = ["Page", "ShownSet", "ShownStudy", "StudyQuery", "list_studies", "thumbnail_set"]

T = TypeVar("T", Primaries, StudySort)

LONGEST_TEXT = 256
_MOST_MODALITIES = 32
_MOST_STUDIES = 100
_MODALITY = re.compile(r"[A-Za-z0-9_ ]{1,16}", re.ASCII)
_WITHOUT_IMAGES = frozenset(
    [
        "ANN",
        "ASMT",
        "AU",
        "DOC",
        "ECG",
        "EEG",
        "EMG",
        "EPS",
        "FID",
        "HD",
        "KO",
        "PLAN",
        "PR",
        "REG",
        "RESP",
        "RTPLAN",
        "RTRECORD",
        "RTSTRUCT",
        "RWV",
        "SEG",
        "SMR",
        "SR",
        "STAIN",
        "TEXTUREMAP",
    ]
)
"""Modalities whose instances have no pictures, or none that show what a study is of (PS3.3 §C.7.3.1.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyQuery:
    """What is looked for; texts as they were typed. Days are ``YYYYMMDD`` or ``YYYY-MM-DD``."""

    text: str = ""
    patient: str = ""
    accession_number: str = ""
    description: str = ""
    first_day: str | None = None
    last_day: str | None = None
    modalities: Sequence[str] = ()
    study_instance_uids: Sequence[str] = ()
    primaries: str = Primaries.ALL
    sort: str = StudySort.UPDATED
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """One page; see `stores.studies.listing.StudyPage`."""

    studies: list[ShownStudy]
    next_token: str | None
    total: int | None
    sorted_within: int | None
    non_primary_within: int | None


def list_studies(
    ctx: Context, datastore_id: str, query: StudyQuery, next_token: str | None, limit: int
) -> Page:
    """A page of studies.

    Raises `ValidationError` for an invalid query and for the token of another, `NotFoundError` for an unknown
    data store.
    """
    criteria = _criteria(query)
    digest = hashlib.sha256(repr((datastore_id, criteria)).encode()).hexdigest()[:16]
    after = None if next_token is None else _place(next_token, digest, criteria)

    def work(conn: Connection) -> tuple[listing.StudyPage, list[ShownStudy]]:
        store = datastores.get(conn, datastore_id)
        if store is None or store.status == DatastoreStatus.DELETED:
            raise NotFoundError(f"Datastore {datastore_id[:64]} does not exist.")
        found = listing.page(conn, store.key, criteria, after=after, limit=limit)
        return found, shown(Reader(conn), store.key, found.studies)

    ctx.note.query = _for_the_trail(query)
    found, studies = ctx.stores.db.read_behind(work)
    ctx.note.found = len(studies)
    for study in studies:
        ctx.note.saw(None, study.patient_id, study.study_instance_uid)
        for each in study.sets:
            ctx.note.saw(each.id, each.patient_id, None, each.series_instance_uid)
    following = found.next
    return Page(
        studies,
        None
        if following is None
        else page_tokens.encode([digest, following.value, following.second, following.key]),
        found.total,
        found.sorted_within,
        found.non_primary_within,
    )


def _for_the_trail(query: StudyQuery) -> dict[str, str | list[str]]:
    """What is searched for, without what was left empty."""
    asked: dict[str, str | list[str]] = {
        "text": query.text,
        "patient": query.patient,
        "accessionNumber": query.accession_number,
        "description": query.description,
        "firstDay": query.first_day or "",
        "lastDay": query.last_day or "",
        "modalities": list(query.modalities),
        "studyInstanceUids": list(query.study_instance_uids),
        "primary": query.primaries,
        "sort": query.sort,
    }
    return {name: value for name, value in asked.items() if value}


def thumbnail_set(study: ShownStudy) -> ShownSet | None:
    """The image set whose picture stands for the study: the first of its patient with pictures."""
    own = (each for each in study.sets if not study.has_other_patient(each))
    return next((each for each in own if each.modality not in _WITHOUT_IMAGES), None)


def _criteria(query: StudyQuery) -> StudyCriteria:
    within: list[tuple[str, str, tuple[Searched, ...]]] = [
        ("text", query.text, ANYWHERE),
        ("patient", query.patient, (Searched.NAME, Searched.ID)),
        ("accessionNumber", query.accession_number, (Searched.ACCESSION,)),
        ("description", query.description, (Searched.DESCRIPTION,)),
    ]
    words: list[Word] = []
    for name, text, where in within:
        if len(text) > LONGEST_TEXT:
            raise ValidationError(f"{name} has more than {LONGEST_TEXT} characters.")
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            raise ValidationError(f"{name} has a character that no text can have.")
        words += study_list.words(text, where)
    if len(query.modalities) > _MOST_MODALITIES:
        raise ValidationError(f"Ask for at most {_MOST_MODALITIES} modalities.")
    for modality in query.modalities:
        if not _MODALITY.fullmatch(modality):
            raise ValidationError(f"{modality[:40]!r} is not the code of a modality, such as CT.")
    if len(query.study_instance_uids) > _MOST_STUDIES:
        raise ValidationError(f"Name at most {_MOST_STUDIES} studies.")
    for uid in query.study_instance_uids:
        if not 0 < len(uid) <= LONGEST_TEXT or not uid.isprintable():
            raise ValidationError(f"{uid[:80]!r} is not a UID.")
    return StudyCriteria(
        tuple(words),
        _day("firstDay", query.first_day),
        _day("lastDay", query.last_day),
        tuple(sorted({modality.strip().upper() for modality in query.modalities})),
        tuple(dict.fromkeys(query.study_instance_uids)),
        _member(Primaries, "primary", query.primaries),
        _member(StudySort, "sort", query.sort),
        query.descending,
    )


def _member(of: type[T], name: str, value: str) -> T:
    try:
        return of(value)
    except ValueError:
        raise ValidationError(f"{name} must be one of {', '.join(of)}.") from None


def _day(name: str, text: str | None) -> str | None:
    if not text:
        return None
    found = day(text.replace("-", "") if len(text) == 10 else text)
    if found is None:
        raise ValidationError(f"{name} {text[:20]!r} is not a date; use YYYY-MM-DD.")
    return found


def _place(token: str, digest: str, criteria: StudyCriteria) -> Place:
    made_for, value, second, key = page_tokens.decode(token, str, (int, str, type(None)), str, int)
    is_number = criteria.sort == StudySort.UPDATED
    if made_for != digest or not isinstance(value, int if is_number else (str, type(None))):
        raise ValidationError("nextToken belongs to another search. Send it with the same search again.")
    assert isinstance(second, str) and isinstance(key, int)
    return Place(value, second, key)
