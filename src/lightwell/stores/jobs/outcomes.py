"""What became of a job's files, counted and grouped by cause, for a person."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from lightwell.domain.imports.jobs import ALREADY_THERE, NOT_DICOM
from lightwell.domain.states import OutcomeKind
from lightwell.stores.db.tables import image_set, outcome
from lightwell.stores.keys.job_values import INPUT_FILE, MESSAGE, WARNINGS, shown_text

_NUMBER = re.compile(r"(?<![\w.-])\d[\d,]*(?![\w.-])")
_PLACES = (INPUT_FILE, MESSAGE, WARNINGS)
_MOST_CAUSES, _MOST_NAMES = 1000, 1000


@dataclass(slots=True)
class OutcomeCause:
    """A reason, how many files it applies to, and one of them. Numbers that differ are shown as N."""

    reason: str
    files: int
    example: str


@dataclass(slots=True)
class Tally:
    """``failures`` and ``warnings`` are the causes, most files first. ``image_sets`` are ids.

    ``already_there`` of the imported files changed nothing. ``not_dicom`` are files that show no sign of
    DICOM; ``customer`` and ``failures`` leave them out. ``not_dicom_names`` are the first of their names.
    """

    imported: int = 0
    already_there: int = 0
    customer: int = 0
    server: int = 0
    not_dicom: int = 0
    not_dicom_names: list[str] = field(default_factory=list)
    image_sets: list[str] = field(default_factory=list)
    failures: list[OutcomeCause] = field(default_factory=list)
    warnings: list[OutcomeCause] = field(default_factory=list)

    @property
    def files(self) -> int:
        return self.imported + self.customer + self.server + self.not_dicom


def count(conn: Connection, job: int) -> int:
    """How many files have an outcome."""
    return conn.execute(select(func.count()).where(outcome.c.job == job)).scalar_one()


def not_dicom(conn: Connection, job: int) -> int:
    """How many files show no sign of DICOM."""
    found = select(func.count()).where(outcome.c.job == job, outcome.c.message == NOT_DICOM)
    return conn.execute(found).scalar_one()


def tally(conn: Connection, job: int) -> Tally:
    """The counts and causes of a job; needs memory for the causes and image sets only."""
    result = Tally()
    by_kind = select(outcome.c.kind, func.count()).where(outcome.c.job == job).group_by(outcome.c.kind)
    files = {OutcomeKind(kind): count for kind, count in conn.execute(by_kind)}
    result.imported = files.get(OutcomeKind.IMPORTED, 0)
    result.customer = files.get(OutcomeKind.CUSTOMER, 0)
    result.server = files.get(OutcomeKind.SERVER, 0)
    sets = (
        select(outcome.c.image_set)
        .where(outcome.c.job == job, outcome.c.image_set.is_not(None))
        .group_by(outcome.c.image_set)
        .order_by(func.min(outcome.c.file))
    )
    result.image_sets = list(conn.execute(sets).scalars())
    _add_causes(conn, job, result)
    result.customer -= result.not_dicom
    return result


def causes(conn: Connection, job: int, most: int) -> tuple[Tally, bool]:
    """The causes of a job that runs or has ended, of its first ``most`` files that have any; whether of all.

    Of the counts, only those of files already there and not DICOM are set.
    """
    result = Tally()
    seen = _add_causes(conn, job, result, most)
    return result, seen < most


def study_uids(conn: Connection, job: int, most_sets: int) -> list[str]:
    """The studies of the first image sets that a job has put files into and that can be found."""
    some = (
        select(outcome.c.image_set)
        .where(outcome.c.job == job, outcome.c.image_set.is_not(None))
        .distinct()
        .limit(most_sets)
        .subquery()
    )
    uids = (
        select(image_set.c.study_instance_uid)
        .join(some, some.c.image_set == image_set.c.id)
        .where(image_set.c.listed_in.is_not(None), image_set.c.study_instance_uid.is_not(None))
        .distinct()
    )
    return sorted(conn.execute(uids).scalars())


def _add_causes(conn: Connection, job: int, result: Tally, most: int | None = None) -> int:
    """Add the causes and what they count to a tally. Returns how many files have one."""
    failures: dict[str, OutcomeCause] = {}
    warnings: dict[str, OutcomeCause] = {}
    seen = 0
    # An option of the statement: one of the connection would stay with it.
    rows = conn.execute(
        select(outcome.c.file, outcome.c.input_file, outcome.c.message, outcome.c.warnings)
        .where(outcome.c.job == job, (outcome.c.message.is_not(None)) | (outcome.c.warnings.is_not(None)))
        .order_by(outcome.c.file)
        .limit(most)
        .execution_options(yield_per=1000)
    )
    for file, *texts in rows:
        name, message, warned = (
            shown_text(conn, place, job, file, text) for place, text in zip(_PLACES, texts, strict=True)
        )
        seen += 1
        if message == ALREADY_THERE:
            result.already_there += 1
        elif message == NOT_DICOM:
            result.not_dicom += 1
            if len(result.not_dicom_names) < _MOST_NAMES:
                result.not_dicom_names.append(name)
        elif message is not None:
            _add(failures, message, name)
        for reason in _reasons(warned):
            _add(warnings, reason, name)
    result.failures = sorted(failures.values(), key=lambda cause: -cause.files)
    result.warnings = sorted(warnings.values(), key=lambda cause: -cause.files)
    return seen


def _reasons(warned: str | None) -> set[str]:
    if warned is None or not warned.startswith("["):
        return set() if warned is None else {warned}  # nobody can open them: see `shown_text`
    return {f"{w['type']}: {w['message']}" for w in json.loads(warned)}


def _add(causes: dict[str, OutcomeCause], text: str, example: str) -> None:
    same = _NUMBER.sub("N", text)
    if same not in causes and len(causes) >= _MOST_CAUSES:
        same = text = "other reasons"
    cause = causes.setdefault(same, OutcomeCause(text, 0, example))
    cause.files += 1
    if cause.reason != text:
        cause.reason = same
