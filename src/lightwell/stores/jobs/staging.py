"""Rows of ``staged`` and ``outcome``: instances that wait for their image set, and the fate of each file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import ColumnElement, Connection, delete, func, select

from lightwell.domain.imports.jobs import ALREADY_THERE, NOT_DICOM, Outcome
from lightwell.domain.imports.manifests import OutcomeCounts, SetSummary
from lightwell.domain.imports.records import NewRecord
from lightwell.domain.states import OutcomeKind
from lightwell.stores.db.bulk import batches, insert_many
from lightwell.stores.db.tables import outcome, staged
from lightwell.stores.keys import job_values
from lightwell.stores.keys.job_values import INPUT_FILE, MESSAGE, WARNINGS, opened_text, seal_text


@dataclass(frozen=True, slots=True)
class WaitingSeries:
    """A series of a job that has staged rows; ``first_file`` is its smallest file number."""

    study_instance_uid: str
    series_instance_uid: str
    first_file: int
    files: int


@dataclass(frozen=True, slots=True)
class WaitingGroup:
    """The staged rows of one series with equal grouping values, and the record of the first one.

    ``grouping`` is JSON, ``stored`` what it is in the rows: more than one text where some are sealed, or with
    another key.
    """

    grouping: str
    stored: tuple[str, ...]
    first_file: int
    files: int
    first_record: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What a job has staged for one group of a series; ``grouping`` is the JSON of the group's values,
    ``stored`` as in `WaitingGroup`, () where nothing is staged.
    """

    job: int
    datastore: int
    study_instance_uid: str
    series_instance_uid: str
    grouping: str
    stored: tuple[str, ...] = ()

    def values(self, **more: object) -> dict[str, object]:
        return {
            "job": self.job,
            "study": self.study_instance_uid,
            "series": self.series_instance_uid,
            "grouping": self.stored,
            **more,
        }


def stage(conn: Connection, job: int, records: Sequence[NewRecord]) -> None:
    """Stage records until the last chunk of their job is done."""
    if not records:
        return
    sealer = job_values.sealer(conn, job)
    groupings = {text: job_values.seal_alike(sealer, job, text) for text in {r.grouping for r in records}}
    insert_many(
        conn,
        staged,
        [
            {
                "job": job,
                "file": r.file,
                "record": r.key,
                "study_instance_uid": r.study_instance_uid,
                "series_instance_uid": r.series_instance_uid,
                "input_file": seal_text(sealer, INPUT_FILE, job, r.file, r.input_file),
                "grouping": groupings[r.grouping],
                "warnings": seal_text(sealer, WARNINGS, job, r.file, r.warnings),
            }
            for r in records
        ],
    )


def waiting_series(conn: Connection, job: int) -> list[WaitingSeries]:
    """All series that have staged rows, in input order."""
    first = func.min(staged.c.file)
    rows = conn.execute(
        select(staged.c.study_instance_uid, staged.c.series_instance_uid, first, func.count())
        .where(staged.c.job == job)
        .group_by(staged.c.study_instance_uid, staged.c.series_instance_uid)
        .order_by(first)
    )
    return [WaitingSeries(*row) for row in rows]


def waiting_groups(conn: Connection, job: int, series: WaitingSeries) -> list[WaitingGroup]:
    """The groups of a series, in input order."""
    first = func.min(staged.c.file)
    rows = conn.execute(
        select(staged.c.grouping, first, func.count())
        .where(
            staged.c.job == job,
            staged.c.study_instance_uid == series.study_instance_uid,
            staged.c.series_instance_uid == series.series_instance_uid,
        )
        .group_by(staged.c.grouping)
        .order_by(first)
    ).all()
    records: dict[int, int] = {}
    for files in batches(row[1] for row in rows):
        found = conn.execute(
            select(staged.c.file, staged.c.record).where(staged.c.job == job, staged.c.file.in_(files))
        )
        records.update((file, key) for file, key in found)
    groups: dict[str, WaitingGroup] = {}
    for stored, file, count in rows:
        grouping = job_values.opened_grouping(conn, job, stored)
        group = groups.setdefault(grouping, WaitingGroup(grouping, (), file, 0, records[file]))
        groups[grouping] = replace(group, stored=(*group.stored, stored), files=group.files + count)
    return list(groups.values())


def of_batch(batch: Batch) -> list[ColumnElement[bool]]:
    """The conditions that the staged rows of a batch meet."""
    return [
        staged.c.job == batch.job,
        staged.c.study_instance_uid == batch.study_instance_uid,
        staged.c.series_instance_uid == batch.series_instance_uid,
        staged.c.grouping.in_(batch.stored),
    ]


def staged_files(conn: Connection, batch: Batch) -> list[tuple[int, str]]:
    """(file number, name) of the staged files of a group."""
    rows = conn.execute(
        select(staged.c.file, staged.c.input_file).where(*of_batch(batch)).order_by(staged.c.file)
    )
    return [(file, opened_text(conn, INPUT_FILE, batch.job, file, name)) for file, name in rows]


def clear(conn: Connection, batch: Batch) -> None:
    """Delete the staged rows of a group."""
    conn.execute(delete(staged).where(*of_batch(batch)))


def add_outcomes(conn: Connection, job: int, outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        return
    sealer = job_values.sealer(conn, job)

    def row(one: Outcome) -> dict[str, object]:
        name = seal_text(sealer, INPUT_FILE, job, one.file, one.input_file)
        warnings = seal_text(sealer, WARNINGS, job, one.file, one.warnings)
        # The two by which rows are counted stay as they are, and say nothing of anybody.
        by = None if one.message in (ALREADY_THERE, NOT_DICOM) else sealer
        message = seal_text(by, MESSAGE, job, one.file, one.message)
        return {"job": job, **asdict(one), "input_file": name, "message": message, "warnings": warnings}

    insert_many(conn, outcome, [row(one) for one in outcomes])


def outcomes(conn: Connection, job: int, after: int, limit: int) -> list[Outcome]:
    """Outcomes by file number, after ``after`` (-1 to begin)."""
    columns = [outcome.c[name] for name in Outcome.__slots__]
    rows = conn.execute(
        select(*columns)
        .where(outcome.c.job == job, outcome.c.file > after)
        .order_by(outcome.c.file)
        .limit(limit)
    )
    return [_opened(conn, job, Outcome(*row)) for row in rows]


def _opened(conn: Connection, job: int, one: Outcome) -> Outcome:
    return replace(
        one,
        input_file=opened_text(conn, INPUT_FILE, job, one.file, one.input_file),
        message=opened_text(conn, MESSAGE, job, one.file, one.message),
        warnings=opened_text(conn, WARNINGS, job, one.file, one.warnings),
    )


def counts(conn: Connection, job: int) -> OutcomeCounts:
    """How many files had each kind of outcome."""
    rows = conn.execute(
        select(outcome.c.kind, func.count()).where(outcome.c.job == job).group_by(outcome.c.kind)
    )
    files = {OutcomeKind(kind): count for kind, count in rows}
    return OutcomeCounts(
        files.get(OutcomeKind.IMPORTED, 0),
        files.get(OutcomeKind.CUSTOMER, 0),
        files.get(OutcomeKind.SERVER, 0),
    )


def set_summaries(conn: Connection, job: int) -> list[SetSummary]:
    """The image set versions that a job made, in input order."""
    rows = conn.execute(
        select(outcome.c.image_set, outcome.c.version, outcome.c.is_primary, func.count())
        .where(outcome.c.job == job, outcome.c.kind == OutcomeKind.IMPORTED)
        .group_by(outcome.c.image_set, outcome.c.version, outcome.c.is_primary)
        .order_by(func.min(outcome.c.file))
    )
    return [SetSummary(image_set, number, bool(primary), count) for image_set, number, primary, count in rows]
