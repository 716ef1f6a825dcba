"""What import jobs keep of files and patients while they run: sealed, and read as it was given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import zstandard
from sqlalchemy import Connection, Update, select, update

from lightwell.clock import Ids
from lightwell.domain.datastore import DataStore
from lightwell.domain.imports.jobs import ALREADY_THERE, NOT_DICOM, Chunk, InputFile, Job, Outcome
from lightwell.domain.imports.records import NewRecord
from lightwell.domain.imports.units import Token, Unit
from lightwell.domain.imports.uploads import Upload
from lightwell.domain.keys import RecordKey
from lightwell.domain.states import (
    DatastoreStatus,
    JobPhase,
    JobStatus,
    OutcomeKind,
    StorageFormat,
    UnitState,
)
from lightwell.errors import DamagedError
from lightwell.operations.context import Context
from lightwell.operations.import_jobs import get_dicom_import_job
from lightwell.sealing.providers.interface import KeyProvider, KeyProviderError
from lightwell.sealing.providers.local_file import LocalFileKeys
from lightwell.stores.account import datastores
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import chunk, import_job, metadata, outcome, staged, upload
from lightwell.stores.image_sets import importing
from lightwell.stores.jobs import (
    chunks,
    dead_units,
    import_jobs,
    outcomes,
    queue_view,
    staging,
    transitions,
    unit_claims,
    units,
    uploads,
)
from lightwell.stores.jobs.staging import Batch, WaitingSeries
from lightwell.stores.jobs.units import NewUnit
from lightwell.stores.keys import data_keys, renewal
from lightwell.stores.keys.ring import KeyRing
from lightwell.wire.shapes import DICOMImportJobProperties, GetDICOMImportJobRequest

STORE = DataStore(7, "a" * 32, "hospital", DatastoreStatus.ACTIVE, StorageFormat.HTJ2K, None, None, 1, 1)
SERIES = WaitingSeries("1.2", "1.2.3", 0, 0)
NAME = "UNMISTAKABLE^ANNA/ct-{}.dcm"
GROUPING = '["1.2","1.2.3","UNMISTAKABLE-4711","20260101","","",""]'
WARNINGS = '[{"type":"Unmistakable","message":"of UNMISTAKABLE^ANNA"}]'
ODD = ("{sealed}", "{sealed}=", "{sealed}TFdWMQ==", "{sealed}={sealed}=x")
"""Names that look like what a sealed one is kept as."""


@pytest.fixture
def db(database: Database) -> Iterator[Database]:
    database.write(lambda conn: datastores.insert(conn, STORE))
    yield database


def _carry(db: Database, *, seals: bool = True) -> KeyRing:
    keys = KeyRing(db, lambda conn: LocalFileKeys([b"k" * 32], "the file"), always=seals, keep=3600.0)
    db.close()
    db.carry(keys)
    db.write(lambda conn: keys.give_key(conn, STORE.key, Ids().key, 1))
    return keys


def _job(phase: JobPhase = JobPhase.READ) -> Job:
    return Job(
        key=Ids().key(),
        id=Ids().id(),
        datastore=STORE.key,
        name=None,
        status=JobStatus.IN_PROGRESS,
        phase=phase,
        message=None,
        role_arn="arn",
        input_uri="s3://in/",
        output_uri="s3://out/",
        input_owner=None,
        configuration=b'{"overrides":"UNMISTAKABLE^ANNA"}',
        source=b'["/cd/UNMISTAKABLE^ANNA"]',
        caller="arn",
        submitted_at=1,
        ended_at=None,
        scanned=3,
        read=0,
    )


def _upload(id: str) -> Upload:
    return Upload(
        id=id,
        datastore=STORE.key,
        caller="arn",
        name="UNMISTAKABLE^ANNA",
        files=1,
        size=1,
        node=None,
        created_at=1,
    )


def _record(file: int, name: str | None = None, warnings: str | None = None) -> NewRecord:
    return NewRecord(
        file=file,
        input_file=NAME.format(file) if name is None else name,
        key=100 + file,
        study_instance_uid=SERIES.study_instance_uid,
        series_instance_uid=SERIES.series_instance_uid,
        sop_instance_uid=f"1.2.3.{file}",
        sop_class_uid=None,
        instance_number=1,
        grouping=GROUPING,
        patient=b"",
        study=b"",
        series=b"",
        fragment_z=b"",
        dictionary=None,
        dicom_z=b"",
        dicom_dictionary=None,
        pack=5,
        original_offset=0,
        original_length=1,
        override_z=None,
        warnings=warnings,
        pixels=None,
    )


def _files(*names: str) -> list[InputFile]:
    return [InputFile(number, name, ("file", f"/cd/{name}"), 1) for number, name in enumerate(names)]


def _add_job(db: Database, job: Job, *names: str) -> None:
    def work(conn: Connection) -> None:
        import_jobs.add(conn, job)
        files = _files(*names)
        if files:
            row = (0, 0, len(files), chunks.compress_files(files))
            chunks.add(conn, transitions.queued(job, JobPhase.READ), [row])

    db.write(work)


def _stored(db: Database) -> str:
    """All that the database holds, as far as it is not encrypted."""

    def text(value: Any) -> str:
        if isinstance(value, bytes):
            is_packed = value.startswith(zstandard.FRAME_HEADER)
            whole: bytes = zstandard.ZstdDecompressor().decompress(value) if is_packed else value
            return whole.decode("utf-8", "replace")
        return str(value)

    with db.read() as conn:
        rows = [row for table in metadata.sorted_tables for row in conn.execute(select(table))]
    return "\n".join(text(value) for row in rows for value in row)


def _batches(conn: Connection, job: Job) -> list[Batch]:
    return [
        Batch(job.key, STORE.key, SERIES.study_instance_uid, SERIES.series_instance_uid, g.grouping, g.stored)
        for g in staging.waiting_groups(conn, job.key, SERIES)
    ]


def test_nothing_that_a_job_keeps_of_files_is_readable(db: Database) -> None:
    _carry(db)
    job = _job()
    names = [NAME.format(number) for number in range(3)]
    _add_job(db, job, *names)
    read, listing = Unit(job.key, JobPhase.READ, 0), Unit(job.key, JobPhase.LIST, 0)
    deaths = {"0": ["died on UNMISTAKABLE^ANNA"]}
    failures = [
        Outcome(7, NAME.format(7), OutcomeKind.SERVER, "Fault", "of UNMISTAKABLE^ANNA"),
        Outcome(8, NAME.format(8), OutcomeKind.CUSTOMER, "Fault", NOT_DICOM),
    ]

    def work(conn: Connection) -> None:
        chunks.record_deaths(conn, read, deaths)
        units.add(conn, transitions.queued(job, JobPhase.LIST), [NewUnit(0)])
        units.keep_content(conn, listing, b'{"after":"UNMISTAKABLE^ANNA"}')
        staging.stage(conn, job.key, [_record(0, warnings=WARNINGS), _record(1)])
        staging.add_outcomes(conn, job.key, failures)

    db.write(work)
    assert "UNMISTAKABLE" not in _stored(db).upper()
    with db.read() as conn:
        (batch,) = _batches(conn, job)
        assert batch.grouping == GROUPING
        assert staging.staged_files(conn, batch) == [(0, names[0]), (1, names[1])]
        found = import_jobs.get(conn, job.key)
        assert found is not None and import_jobs.opened(conn, found) == job
        assert found.source is not None and b"UNMISTAKABLE" not in found.source
        assert chunks.get(conn, job.key, [0]) == {0: Chunk(job.key, 0, tuple(_files(*names)), deaths)}
        assert units.content(conn, listing) == b'{"after":"UNMISTAKABLE^ANNA"}'

    def commit(conn: Connection) -> None:
        importing.add_outcomes(conn, batch, [RecordKey(101)], "b" * 32, 1, True)
        staging.clear(conn, batch)
        (token,) = unit_claims.claim(conn, job.key, JobPhase.READ, "a", 1)
        assert units.close(conn, token, "it died on UNMISTAKABLE^ANNA")
        transitions.finish(conn, job.key, JobStatus.FAILED, "no access to UNMISTAKABLE^ANNA", 5)

    db.write(commit)
    assert "UNMISTAKABLE" not in _stored(db).upper()
    with db.read() as conn:
        first, second, *others = staging.outcomes(conn, job.key, -1, 9)
        assert (first.input_file, first.message, first.warnings) == (names[0], None, WARNINGS)
        assert (second.input_file, second.message) == (names[1], ALREADY_THERE)
        assert others == failures
        assert outcomes.not_dicom(conn, job.key) == 1 and uploads.count_finished(conn, job.key) == 3
        assert uploads.finished(conn, job.key, 0, 9) == [(1, names[1]), (8, NAME.format(8))]
        tally = outcomes.tally(conn, job.key)
        assert [each.reason for each in tally.failures] == ["of UNMISTAKABLE^ANNA"]
        assert [each.reason for each in tally.warnings] == ["Unmistakable: of UNMISTAKABLE^ANNA"]
        assert tally.not_dicom_names == [NAME.format(8)] and tally.already_there == 1
        (dead,) = queue_view.of_state(conn, UnitState.DEAD)
        assert dead.note == "it died on UNMISTAKABLE^ANNA"
        ended = import_jobs.get(conn, job.key)
        assert ended is not None and ended.message == "no access to UNMISTAKABLE^ANNA"


def test_what_was_dropped_for_an_upload_is_not_readable(db: Database) -> None:
    _carry(db)
    sent = _upload("c" * 32)
    db.write(lambda conn: uploads.add(conn, sent))
    assert "UNMISTAKABLE" not in _stored(db).upper()
    with db.read() as conn:
        assert uploads.find(conn, STORE.key, "arn", sent.id) == sent
        assert uploads.of_caller(conn, STORE.key, "arn", 9) == [sent]
        assert uploads.every(conn, [], "", 9) == [(sent, STORE.id)]


def test_a_group_stays_one_when_encryption_begins_and_keys_change_under_way(db: Database) -> None:
    keys = _carry(db, seals=False)
    job = _job()
    _add_job(db, job)
    db.write(lambda conn: staging.stage(conn, job.key, [_record(4), _record(1)]))
    keys = _carry(db)
    db.write(lambda conn: staging.stage(conn, job.key, [_record(0), _record(5)]))
    renewal.rotate(db, keys, STORE.key, Ids().key, 2)
    db.write(lambda conn: staging.stage(conn, job.key, [_record(2), _record(3)]))
    with db.read() as conn:
        assert len({row.grouping for row in conn.execute(select(staged.c.grouping))}) == 3
        (group,) = staging.waiting_groups(conn, job.key, SERIES)
        assert (group.grouping, group.first_file, group.files, group.first_record) == (GROUPING, 0, 6, 100)
        (batch,) = _batches(conn, job)
        assert staging.staged_files(conn, batch) == [(number, NAME.format(number)) for number in range(6)]

    def commit(conn: Connection) -> None:
        importing.add_outcomes(conn, batch, [], "b" * 32, 1, True)
        staging.clear(conn, batch)

    db.write(commit)
    with db.read() as conn:
        assert [one.input_file for one in staging.outcomes(conn, job.key, -1, 9)] == list(
            map(NAME.format, range(6))
        )
        assert conn.execute(select(staged.c.file)).all() == []


@pytest.mark.parametrize("seals", [False, True])
def test_any_name_comes_back_as_it_was(db: Database, seals: bool) -> None:
    _carry(db, seals=seals)
    job = _job()
    _add_job(db, job)
    records = [_record(number, name) for number, name in enumerate(ODD)]
    failures = [Outcome(9 + number, name, OutcomeKind.SERVER, "F", name) for number, name in enumerate(ODD)]

    def work(conn: Connection) -> None:
        staging.stage(conn, job.key, records)
        staging.add_outcomes(conn, job.key, failures)

    db.write(work)
    with db.read() as conn:
        (batch,) = _batches(conn, job)
        assert [name for _, name in staging.staged_files(conn, batch)] == list(ODD)
        assert staging.outcomes(conn, job.key, -1, 99) == failures


def test_rows_of_an_earlier_release_are_read_as_they_are(db: Database) -> None:
    """As one wrote them, with encryption on, while the job ran."""
    _carry(db)
    job = _job()
    files = _files("a", "b")

    def work(conn: Connection) -> None:
        row = {column.name: getattr(job, column.name) for column in import_job.c}
        conn.execute(import_job.insert(), row)
        packed = chunks.compress_files(files)
        conn.execute(
            chunk.insert(),
            {
                "job": job.key,
                "number": 0,
                "first_file": 0,
                "file_count": 2,
                "files_z": packed,
                "deaths": b"{}",
            },
        )
        plain = {"job": job.key, "input_file": "a", "warnings": WARNINGS}
        uids = {"study_instance_uid": "1.2", "series_instance_uid": "1.2.3"}
        conn.execute(staged.insert(), {**plain, **uids, "file": 0, "record": 100, "grouping": GROUPING})
        conn.execute(
            outcome.insert(), {**plain, "file": 1, "kind": OutcomeKind.SERVER, "message": "The disk failed"}
        )

    db.write(work)
    with db.read() as conn:
        found = import_jobs.get(conn, job.key)
        assert found is not None and import_jobs.opened(conn, found) == found == job
        assert chunks.get(conn, job.key, [0])[0].files == tuple(files)
        (batch,) = _batches(conn, job)
        assert batch.grouping == GROUPING and staging.staged_files(conn, batch) == [(0, "a")]
        (one,) = staging.outcomes(conn, job.key, -1, 9)
        assert (one.input_file, one.message, one.warnings) == ("a", "The disk failed", WARNINGS)


def _run(statement: Update, conn: Connection) -> None:
    conn.execute(statement)


def test_what_was_changed_or_exchanged_is_not_taken_for_what_it_is_not(db: Database) -> None:
    _carry(db)
    job, other = _job(), _job()
    for each in (job, other):
        _add_job(db, each, "a")
    failures = [Outcome(number, f"{number}.dcm", OutcomeKind.SERVER, "F", "m") for number in (0, 1)]
    db.write(lambda conn: staging.add_outcomes(conn, job.key, failures))
    with db.read() as conn:
        (first, second) = conn.execute(select(outcome.c.input_file).order_by(outcome.c.file)).scalars()
        of_other = conn.execute(select(chunk.c.files_z).where(chunk.c.job == other.key)).scalar_one()
    for wrong in (second, first[:-8] + "AAAAAAA=", "{sealed}", "{sealed}AAAA", "{sealed}~"):
        changed = update(outcome).where(outcome.c.file == 0).values(input_file=wrong)
        db.write(partial(_run, changed))
        with db.read() as conn, pytest.raises(DamagedError):
            staging.outcomes(conn, job.key, -1, 9)
    db.write(lambda conn: conn.execute(update(chunk).where(chunk.c.job == job.key).values(files_z=of_other)))
    with db.read() as conn, pytest.raises(DamagedError):
        chunks.get(conn, job.key, [0])


def test_one_damaged_text_keeps_nobody_from_the_others(db: Database) -> None:
    """Of what lists show: jobs, their reasons, and the uploads of all callers."""
    _carry(db)
    jobs = [_job(), _job()]
    for job in jobs:
        _add_job(db, job, "a")
        failure = Outcome(0, "a", OutcomeKind.SERVER, "F", "m", warnings=WARNINGS)
        db.write(partial(staging.add_outcomes, job=job.key, outcomes=[failure]))
        _failed(db, job)
    sent = [_upload(letter * 32) for letter in "ab"]
    for each in sent:
        db.write(partial(uploads.add, new=each))
    stored = import_job.c.message
    for change in (
        update(import_job).where(import_job.c.key == jobs[0].key).values(message=stored.concat("AAAA")),
        update(outcome).where(outcome.c.job == jobs[0].key).values(message="{sealed}", warnings="{sealed}~"),
        update(upload).where(upload.c.id == sent[0].id).values(name="{sealed}AAAA"),
    ):
        db.write(partial(_run, change))
    damaged = "(damaged in the database: not what was stored)"
    with db.read() as conn:
        shown = [import_jobs.get(conn, job.key) for job in jobs]
        assert [each and each.message for each in shown] == [damaged, "why"]
        tally = outcomes.tally(conn, jobs[0].key)
        assert [each.reason for each in (*tally.failures, *tally.warnings)] == [damaged] * 2
        found = [(each.id, each.name) for each, _ in uploads.every(conn, [], "", 9)]
        assert found == [(sent[0].id, damaged), (sent[1].id, sent[1].name)]


def _refusing(conn: Connection) -> KeyProvider:
    raise KeyProviderError("The key was disabled.")


def _failed(db: Database, job: Job) -> Token:
    def work(conn: Connection) -> Token:
        (token,) = unit_claims.claim(conn, job.key, JobPhase.READ, "a", 1)
        assert units.close(conn, token, "why")
        assert transitions.finish(conn, job.key, JobStatus.FAILED, "why", 5)
        return token

    return db.write(work)


def test_a_job_ends_and_is_shown_without_its_key(db: Database) -> None:
    _carry(db)
    before, now = _job(), _job()
    for each in (before, now):
        _add_job(db, each, "a")
        failure = Outcome(0, "a", OutcomeKind.SERVER, "F", "m", warnings=WARNINGS)
        db.write(partial(staging.add_outcomes, job=each.key, outcomes=[failure]))
    _failed(db, before)
    db.close()
    db.carry(KeyRing(db, _refusing, always=True, keep=3600.0))
    _failed(db, now)
    with db.read() as conn:
        shown = [import_jobs.get(conn, job.key) for job in (before, now)]
        assert [each and each.message for each in shown] == [
            "(encrypted with a key that is not to be had now)",
            "The reason could not be kept, since the key that would encrypt it is not to be had.",
        ]
        assert all(each and re.fullmatch(r"[\w -:]+", each.message or "") for each in shown)
        assert len(queue_view.of_state(conn, UnitState.DEAD)) == 2
        with pytest.raises(KeyProviderError):
            staging.outcomes(conn, before.key, -1, 9)
    _carry(db)
    db.write(lambda conn: data_keys.destroy(conn, STORE.key, 9))
    _carry(db, seals=False)
    with db.read() as conn:
        gone = "(encrypted with a key that was destroyed with its data store)"
        ended = import_jobs.get(conn, before.key)
        assert ended is not None and ended.message == gone
        tally = outcomes.tally(conn, before.key)
        assert (tally.server, [each.reason for each in tally.failures]) == (1, [gone])
        assert [each.reason for each in tally.warnings] == [gone]
        assert uploads.finished(conn, before.key, -1, 9) == []
        with pytest.raises(data_keys.KeyDestroyedError):
            dead_units.files(conn, before.key)


def test_the_api_tells_of_a_job_without_its_key(db: Database) -> None:
    mapping = b'[{"studyInstanceUID":"1.2","metadataFilePath":"UNMISTAKABLE^ANNA.json"}]'
    given = b'{"dicomJsonMetadataImportConfiguration":{"dicomMetadataMappings":' + mapping + b"}}"
    job = replace(_job(), configuration=given)

    def told() -> DICOMImportJobProperties:
        ctx = cast(Context, SimpleNamespace(stores=SimpleNamespace(db=db)))
        asked = GetDICOMImportJobRequest(datastore_id=STORE.id, job_id=job.id)
        return get_dicom_import_job(ctx, asked).job_properties

    _carry(db)
    db.write(lambda conn: import_jobs.add(conn, job))
    assert told().import_configuration is not None
    for gone in (False, True):
        if gone:
            _carry(db)
            db.write(lambda conn: data_keys.destroy(conn, STORE.key, 9))
        db.close()
        db.carry(KeyRing(db, _refusing, always=True, keep=3600.0))
        found = told()
        assert (found.job_id, found.job_status, found.import_configuration) == (job.id, job.status, None)
