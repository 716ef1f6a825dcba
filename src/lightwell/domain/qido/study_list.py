"""What the list of studies is asked for, and how a study is compared with that.

A study is found by words of one text, wherever they stand and in any order: in the patient's name, the
patient id, the accession number or the description; or by how its StudyInstanceUID begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lightwell.domain.qido.criteria import fold
from lightwell.domain.qido.grams import fold_name

MOST_WORDS = 12
_BETWEEN_WORDS = re.compile(r"[\s,^=*?]+")
_UID_BEGINNING = re.compile(r"[0-2]\.[0-9.]{2,62}", re.ASCII)


class StudySort(StrEnum):
    """What studies are sorted by; those without a value come last, whichever the direction."""

    UPDATED = "updated"
    DATE = "date"
    PATIENT_NAME = "patientName"
    PATIENT_ID = "patientId"
    MODALITY = "modality"
    DESCRIPTION = "description"


class Primaries(StrEnum):
    """Which studies are meant: all, those with a primary image set, or those with one that is not primary."""

    ALL = "all"
    PRIMARY = "primary"
    NON_PRIMARY = "nonPrimary"


class Searched(StrEnum):
    """The attributes in which a word is searched."""

    NAME = "PatientName"
    ID = "PatientID"
    ACCESSION = "AccessionNumber"
    DESCRIPTION = "StudyDescription"
    UID = "StudyInstanceUID"


ANYWHERE = tuple(Searched)


@dataclass(frozen=True, slots=True)
class Word:
    """A word as it was typed, and folded for comparisons; ``within`` are the attributes that may have it."""

    typed: str
    folded: str
    within: tuple[Searched, ...]

    @property
    def is_uid(self) -> bool:
        """Whether it may be how a StudyInstanceUID begins."""
        return Searched.UID in self.within and _UID_BEGINNING.fullmatch(self.typed) is not None


def words(text: str, within: tuple[Searched, ...]) -> list[Word]:
    """The words of a text, without what separates the parts of names."""
    typed = dict.fromkeys(word for word in _BETWEEN_WORDS.split(text) if word)
    return [Word(word, folded, within) for word in list(typed)[:MOST_WORDS] if (folded := fold(word))]


@dataclass(frozen=True, slots=True)
class Texts:
    """What of a study, or of an image set, is compared. ``name`` is folded; ``modalities`` are codes."""

    name: str | None
    patient_id: str | None
    accession_number: str | None
    description: str | None
    study_instance_uid: str
    day: str | None
    modalities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StudyCriteria:
    """One search. ``first_day`` and ``last_day`` are ``YYYYMMDD``; of ``modalities`` a study has one.

    ``studies``: only those with one of these StudyInstanceUIDs.
    """

    words: tuple[Word, ...] = ()
    first_day: str | None = None
    last_day: str | None = None
    modalities: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    primaries: Primaries = Primaries.ALL
    sort: StudySort = StudySort.UPDATED
    descending: bool = True

    @property
    def has_days(self) -> bool:
        return self.first_day is not None or self.last_day is not None

    @property
    def is_everything(self) -> bool:
        """Whether every study matches."""
        return not (self.words or self.has_days or self.modalities or self.studies)

    def matches(self, texts: Texts) -> bool:
        if self.studies and texts.study_instance_uid not in self.studies:
            return False
        if self.modalities and not set(self.modalities).intersection(texts.modalities):
            return False
        if self.has_days and not (
            texts.day is not None
            and (self.first_day is None or texts.day >= self.first_day)
            and (self.last_day is None or texts.day <= self.last_day)
        ):
            return False
        if not self.words:
            return True
        folded = {
            Searched.NAME: texts.name or "",
            Searched.ID: fold(texts.patient_id or ""),
            Searched.ACCESSION: fold(texts.accession_number or ""),
            Searched.DESCRIPTION: fold(texts.description or ""),
        }
        return all(
            any(word.folded in text for where, text in folded.items() if where in word.within)
            or (word.is_uid and texts.study_instance_uid.startswith(word.typed))
            for word in self.words
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a study stands in an order: by ``value``, then ``second``, then ``key``. ``value`` None: last."""

    value: str | int | None
    second: str
    key: int

    def is_after(self, other: Place, *, descending: bool) -> bool:
        if (self.value is None) != (other.value is None):
            return self.value is None
        mine, its = self._in_order, other._in_order
        return mine < its if descending else mine > its

    @property
    def _in_order(self) -> tuple[Any, ...]:
        # An empty text is a value: of a name that is "^".
        rest = self.second, self.key
        return rest if self.value is None else (self.value, *rest)


def in_order(places: Iterable[Place], *, descending: bool) -> list[Place]:
    found = list(places)
    valued = [place for place in found if place.value is not None]
    valued.sort(key=lambda place: (place.value, place.second, place.key), reverse=descending)
    others = [place for place in found if place.value is None]
    return valued + sorted(others, key=lambda place: (place.second, place.key), reverse=descending)


def folded_text(text: str | None) -> str | None:
    """A text in the form in which it is sorted; None without one."""
    return (fold(text) or None) if text else None


def folded_name(name: str | None) -> str | None:
    """A person name in the form in which the index keeps it."""
    return None if name is None else fold_name(name)
