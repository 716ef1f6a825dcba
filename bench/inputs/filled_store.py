"""Data folders with many image sets, filled straight into the tables and kept for later runs.

Only what search reads is filled: studies, image sets and their versions, no members or frames; and the
search index of DICOMweb, with one instance per series. Rows go in while the large tables have no indexes;
they are made again from their own definitions, so a million sets take some minutes. The schema is made by
starting a server once.
"""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Table

from bench.servers.lightwell_server import Server
from bench.workspace import work_folder
from lightwell.domain.qido.grams import fold_name
from lightwell.domain.qido.index_columns import series_columns, study_columns
from lightwell.stores.db import tables
from lightwell.stores.page_checksums import vfs
from lightwell.stores.qido import grams

if TYPE_CHECKING:
    import psycopg

_FIRST_DAY = date(2015, 1, 1)
DAYS = 3650
SAMPLES = 200  # of each kind of value, for the queries
FAMILY = (
    "Silva",
    "Okafor",
    "Nguyen",
    "Jensen",
    "Haddad",
    "Novak",
    "Moreau",
    "Kaya",
    "Sato",
    "Brown",
    "Lindqvist",
)
GIVEN = ("Ana", "Kwame", "Linh", "Mette", "Omar", "Jana", "Luc", "Elif", "Yui", "Grace", "Nils", "Ines")
_PLANES = ("axial", "coronal", "sagittal", "MIP")
_MANUFACTURERS = ("SIEMENS", "GE MEDICAL SYSTEMS", "Philips", "Canon")
_MODALITIES = ("CT", "MR", "CR", "US", "DX", "PT")


@dataclass(slots=True)
class FilledStore:
    """A data folder of ``sets`` image sets in one data store, and values that occur in it."""

    folder: Path
    datastore: str
    sets: int
    patients: list[str] = field(default_factory=list)
    accessions: list[str] = field(default_factory=list)
    studies: list[str] = field(default_factory=list)
    series: list[str] = field(default_factory=list)


def filled_postgresql(database_url: str, folder: Path, sets: int, series: int = 5) -> FilledStore:
    """The same in a database of PostgreSQL, whose server has its data folder below ``folder``.

    Rows go in by COPY, a hundred thousand sets in a transaction. A database that is filled already is taken
    as it is, and one that was interrupted is filled on.
    """
    import psycopg

    notes = folder / "filled.json"
    if notes.exists():
        known = json.loads(notes.read_text())
        result, done, dropped = FilledStore(**known["store"]), known["done"], known["dropped"]
        result.folder = folder
    else:
        folder.mkdir(parents=True, exist_ok=True)
        result, done = FilledStore(folder, _new_datastore(folder, database_url), sets), 0
        with psycopg.connect(database_url) as db:
            dropped = db.execute(
                "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s) AND indexname NOT IN"
                " (SELECT conname FROM pg_constraint)",
                (list(_TABLES),),
            ).fetchall()
            for name, _ in dropped:
                db.execute(f'DROP INDEX "{name}"')
        _note(notes, result, done, dropped)
    while done < sets:
        with psycopg.connect(database_url) as db:
            row = db.execute("SELECT key FROM datastore WHERE id = %s", (result.datastore,)).fetchone()
            assert row is not None
            part = min(_PART, sets - done)
            for batch in _batches(random.Random(f"{sets} {done}"), row[0], result, series, (done, part)):
                _copy(db, batch)
        done += part
        print(f"  {done:,} of {sets:,} image sets are in PostgreSQL", flush=True)
        _note(notes, result, done, dropped)
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute("SET maintenance_work_mem = '512MB'")
        for name, statement in list(dropped):
            db.execute(f'DROP INDEX IF EXISTS "{name}"')
            db.execute(statement)
            dropped = [each for each in dropped if each[0] != name]
            if not dropped:
                db.execute("VACUUM ANALYZE")
            _note(notes, result, done, dropped)
    return result


_PART = 100_000


def _new_datastore(folder: Path, database_url: str) -> str:
    server = Server("filling", data=folder / "data", settings={"LIGHTWELL_DATABASE_URL": database_url})
    try:
        return server.datastore("search")
    finally:
        server.stop()


def _note(notes: Path, result: FilledStore, done: int, dropped: list[tuple[str, str]]) -> None:
    store = {**asdict(result), "folder": str(result.folder)}
    notes.write_text(json.dumps({"store": store, "done": done, "dropped": dropped}))


def _copy(db: psycopg.Connection, batch: _Batch) -> None:
    for table, rows in batch.items():
        if not rows:
            continue
        columns = list(rows[0])
        names = ", ".join(_KEYS.get((table, column), column) for column in columns)
        with db.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for values in rows:
                copy.write_row([_own(column, values[column]) for column in columns])


# What is the rowid on SQLite has a name on PostgreSQL.
_KEYS = {("study_grams", "rowid"): "study", ("series_grams", "rowid"): "series"}


def _own(column: str, value: object) -> object:
    if column == "grams":
        return _tsvector(value)
    return bool(value) if column == "is_primary" else value


def _tsvector(words: object) -> str:
    """Words, separated by spaces, as a literal of a ``tsvector``."""
    escaped = (word.replace("\\", "\\\\").replace("'", "''") for word in str(words).split(" "))
    return " ".join(f"'{word}'" for word in escaped)


def filled_store(sets: int, series: int = 5) -> FilledStore:
    """The folder with ``sets`` image sets: the kept one if the tables have not changed, else a new one.

    Studies have one to ``series`` series.
    """
    schema = repr(
        [(table.name, [str(column) for column in table.c]) for table in tables.metadata.sorted_tables]
    )
    indexes = repr(sorted(str(index) for table in tables.metadata.sorted_tables for index in table.indexes))
    mark = hashlib.sha256((schema + indexes + Path(__file__).read_text()).encode()).hexdigest()[:12]
    folder = work_folder() / "filled" / (f"{sets}-{mark}" if series == 5 else f"{sets}-{series}-{mark}")
    notes = folder / "filled.json"
    if notes.exists():
        known = json.loads(notes.read_text())
        return FilledStore(**{**known, "folder": folder})
    print(f"filling {sets:,} image sets into {folder}")
    begun = time.monotonic()
    server = Server("filling", data=folder / "data")
    try:
        result = FilledStore(folder, server.datastore("search"), sets)
    finally:
        server.stop()
    database = folder / "data" / "lightwell.db"
    _fill(database, result, series)
    notes.write_text(json.dumps({**asdict(result), "folder": str(folder)}))
    print(f"  {time.monotonic() - begun:.0f} s, {database.stat().st_size / 1e6:,.0f} MB")
    return result


def _fill(database: Path, result: FilledStore, series: int) -> None:
    random_ = random.Random(result.sets)
    vfs.why_unavailable()  # loads it, so that pages get their checksums
    db = sqlite3.connect(database, isolation_level=None)
    try:
        store = db.execute("SELECT key FROM datastore WHERE id = ?", (result.datastore,)).fetchone()[0]
        db.execute("PRAGMA synchronous=OFF")
        db.execute("PRAGMA cache_size=-500000")
        dropped = db.execute(
            "SELECT name, sql FROM sqlite_master"
            " WHERE type = 'index' AND sql IS NOT NULL"
            " AND tbl_name IN ('study', 'image_set', 'primary_series', 'primary_instance')"
        ).fetchall()
        db.execute("BEGIN")
        for name, _ in dropped:
            db.execute(f'DROP INDEX "{name}"')
        for batch in _batches(random_, store, result, series):
            _insert(db, batch)
        for _, statement in dropped:
            db.execute(statement)
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        db.close()


_Batch = dict[str, list[dict[str, object]]]


def _batches(
    random_: random.Random, store: int, result: FilledStore, series: int, part: tuple[int, int] | None = None
) -> Iterator[_Batch]:
    """All rows, some twenty thousand sets at a time; of a ``part``, where it begins and its sets."""
    batch: _Batch = {name: [] for name in _TABLES}
    for study, sets in _studies(random_, store, result, series, part or (0, result.sets)):
        batch["study"].append(study)
        for image_set, version in sets:
            batch["image_set"].append(image_set)
            batch["version"].append(version)
            series_row = _series(image_set)
            batch["primary_series"].append(series_row)
            batch["series_grams"].append(
                {"rowid": image_set["key"], "grams": _grams("series", tables.primary_series, series_row)}
            )
            batch["primary_instance"].append(_instance(image_set))
        batch["study_grams"].append({"rowid": study["key"], "grams": _grams("study", tables.study, study)})
        if len(batch["image_set"]) > 20_000:
            yield batch
            batch = {name: [] for name in _TABLES}
    yield batch


def _grams(of: grams.Of, table: Table, row: dict[str, object]) -> str:
    return grams.grams_of(of, {**dict.fromkeys(table.c.keys()), **row})


def _insert(db: sqlite3.Connection, batch: _Batch) -> None:
    for table, rows in batch.items():
        if rows:
            names = list(rows[0])
            places = ", ".join(f":{name}" for name in names)
            db.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", rows)


_TABLES = (
    "study",
    "image_set",
    "version",
    "primary_series",
    "primary_instance",
    "study_grams",
    "series_grams",
)
_Set = tuple[dict[str, object], dict[str, object]]


def _studies(
    random_: random.Random, store: int, result: FilledStore, series: int, part: tuple[int, int]
) -> Iterator[tuple[dict[str, object], list[_Set]]]:
    """Studies of one to ``series`` series, patients of one to three studies, dates evenly over ten years."""
    number, sets_of_part = part
    made = 0
    patient: dict[str, object] = {}
    left = 0
    keep = max(1, result.sets // (3 * SAMPLES))
    while made < sets_of_part:
        if not left:
            left = random_.randint(1, 3)
            patient = _patient(random_, number)
        left -= 1
        study_key, uid = random_.getrandbits(63), f"1.2.826.0.1.3680043.8.498.78.{random_.getrandbits(60)}"
        moment = _FIRST_DAY + timedelta(days=random_.randrange(DAYS))
        day, second = moment.strftime("%Y%m%d"), random_.randrange(86400)
        clock = f"{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}"
        study: dict[str, object] = {
            **patient,
            "study_instance_uid": uid,
            "study_id": str(number % 100_000),
            "study_description": "CT Thorax m. KM",
            "accession_number": f"ACC{number:09d}",
            "study_date": day,
            "study_time": clock,
            "study_moment": f"{day}{clock}.000000",
        }
        count = min(random_.randint(1, series), sets_of_part - made)
        sets = [_image_set(random_, store, study_key, study, index) for index in range(count)]
        if number % keep == 0 and len(result.studies) < SAMPLES:
            result.patients.append(str(patient["patient_id"]))
            result.accessions.append(str(study["accession_number"]))
            result.studies.append(uid)
            result.series.append(str(sets[0][0]["series_instance_uid"]))
        yield _study(study_key, store, study, [image_set for image_set, _ in sets]), sets
        made += count
        number += 1


def _patient(random_: random.Random, number: int) -> dict[str, object]:
    return {
        "patient_id": f"P{number:08d}",
        "patient_name": f"{random_.choice(FAMILY)}^{random_.choice(GIVEN)}",
        "patient_birth_date": f"{random_.randint(1930, 2015)}{random_.randint(101, 128):04d}",
        "patient_sex": random_.choice("FMO"),
    }


def _image_set(
    random_: random.Random, store: int, study: int, columns: dict[str, object], index: int
) -> _Set:
    key = random_.getrandbits(63)
    # imported over a year, in an order that has nothing to do with the study dates
    created = 1_735_689_600_000 + random_.randrange(365 * 86_400_000)
    image_set: dict[str, object] = {
        "key": key,
        "id": f"{random_.getrandbits(128):032x}",
        "datastore": store,
        "study": study,
        "series_instance_uid": f"1.2.826.0.1.3680043.8.498.79.{random_.getrandbits(60)}",
        "origin": "import",
        "is_primary": 1,
        "state": "ACTIVE",
        "latest_version": 1,
        "readable_version": 1,
        "created_at": created,
        "updated_at": created,
        "deleted_at": None,
        "last_accessed_at": created,
        "listed_in": store,
        **columns,
        "series_number": str(index + 1),
        "modality": random_.choice(_MODALITIES),
        "body_part_examined": "CHEST",
        "instance_count": random_.randint(1, 400),
        "series_description": f"Thorax {random_.choice(_PLANES)} {random_.randint(1, 5)}.0 {index}",
        "further": json.dumps(
            {
                "Manufacturer": random_.choice(_MANUFACTURERS),
                "InstitutionName": "St. Elsewhere",
                "StationName": f"CT{random_.randint(1, 20):05d}",
                "ProtocolName": f"Thorax {random_.choice(_PLANES)}",
                "SeriesDate": columns["study_date"],
                "SeriesTime": columns["study_time"],
            }
        ),
    }
    version: dict[str, object] = {
        "image_set": key,
        "number": 1,
        "workflow_status": "CREATED",
        "caller": "arn:aws:iam::000000000000:root",
        "created_at": created,
    }
    return image_set, version


def _study(
    key: int, store: int, shown: dict[str, object], sets: list[dict[str, object]]
) -> dict[str, object]:
    lead = min(sets, key=lambda row: int(str(row["created_at"])))
    return {
        "key": key,
        "datastore": store,
        "listed_in": store,
        "lead": lead["key"],
        "updated_at": max(int(str(row["updated_at"])) for row in sets),
        "series_count": len(sets),
        "instance_count": sum(int(str(row["instance_count"])) for row in sets),
        **{name: value for name, value in shown.items() if name != "study_moment"},
        "patient_name_folded": fold_name(str(shown["patient_name"])),
        "referring_physician_name": None,
        "modalities": json.dumps(sorted({row["modality"] for row in sets}), separators=(",", ":")),
        "scheduled_step_ids": None,
        "requested_procedure_ids": None,
        "study_day": shown["study_date"],
        "study_clock": f"{shown['study_time']}.000000",
        "birth_day": shown["patient_birth_date"],
        **study_columns(str(lead["further"])),
    }


def _series(image_set: dict[str, object]) -> dict[str, object]:
    return {
        "image_set": image_set["key"],
        "listed_in": image_set["listed_in"],
        "study": image_set["study"],
        "series_instance_uid": image_set["series_instance_uid"],
        "number": int(str(image_set["series_number"])),
        "modality": image_set["modality"],
        "first_record": image_set["key"],
        "series_description": image_set["series_description"],
        "body_part_examined": image_set["body_part_examined"],
        **series_columns(str(image_set["further"])),
    }


def _instance(image_set: dict[str, object]) -> dict[str, object]:
    return {
        "image_set": image_set["key"],
        "number": 1,
        "sop_instance_uid": f"{image_set['series_instance_uid']}.1",
        "listed_in": image_set["listed_in"],
        "instance": image_set["key"],
        "record": image_set["key"],
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
    }
