"""The search index of a database of before is that of one that always had it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from lightwell.domain.image_sets.edits import Edit
from lightwell.domain.qido.criteria import SERIES, STUDY, AnyOf, Empty, QidoCriteria, Wildcard, Words
from lightwell.domain.states import WorkflowStatus
from lightwell.stores import Stores
from lightwell.stores.db import tables
from lightwell.stores.db.database import Database
from lightwell.stores.db.schema import migrate
from lightwell.stores.image_sets import changes, members
from lightwell.stores.image_sets import edits as packed_edits
from lightwell.stores.image_sets.writing import ImageSetChange
from lightwell.stores.qido import index as qido_index
from lightwell.stores.qido import search
from tests.stores.jobs.test_units_migration import BACK as WITHOUT_UNITS
from tests.support import image_set_builders, search_index
from tests.support.image_set_builders import NOW, BuiltInstance

_SERIES = {
    "SeriesInstanceUID": "1.2.3",
    "Modality": "CT",
    "SeriesNumber": "4",
    "SeriesDescription": "AXIAL",
    "Manufacturer": "ACME",
    "OperatorsName": ["Roe^Ann", "Zoë"],
    "SeriesDate": "20240131",
    "ProtocolName": "x" * 600,
}


def rows(db: Database) -> dict[str, list[Any]]:
    """All of the index."""
    queries = {
        table.name: str(table.select().order_by(*table.primary_key.columns))
        for table in (tables.study, tables.image_set, tables.primary_series, tables.primary_instance)
    }
    with db.read() as conn:
        return {name: [tuple(row) for row in conn.execute(text(sql))] for name, sql in queries.items()}


def fill(stores: Stores) -> None:
    store = stores.db.write(image_set_builders.datastore)
    study = {
        "StudyInstanceUID": "1.2",
        "StudyDate": "20240131",
        "StudyTime": "1011",
        "ReferringPhysicianName": "Brown^Ann",
        "AccessionNumber": "A1",
    }
    requests = {
        "RequestAttributesSequence": [{"ScheduledProcedureStepID": "S1", "RequestedProcedureID": "R"}]
    }
    patient = {"PatientID": "P1", "PatientName": "Müller^Zoë", "PatientBirthTime": "0102"}
    performed = {"PerformedProcedureStepStartDate": "20240201", "TimezoneOffsetFromUTC": "+0100"}
    edited = image_set_builders.image_set(
        stores,
        [BuiltInstance(f"1.{n}", n, dicom=performed) for n in (1, 2, 3)],
        store=store,
        patient=patient,
        study=study,
        series=_SERIES | requests,
    )

    def edit(conn: Connection) -> None:
        opened = changes.open_sets(conn, edited.datastore_id, {edited.id: 1})[edited.id]
        found = members.open_members(conn, opened.key, ["1.1", "1.2"])
        members.close_members(conn, opened.key, 2, [held.instance for held in found.values()])
        edits = packed_edits.pack(
            {"InstanceNumber": Edit("IS", "9"), "PerformedProcedureStepStartDate": Edit("DA", "20250101")},
            None,
        )
        row: dict[str, Any] = {
            "image_set": opened.key,
            "instance": found["1.1"].instance,
            "valid_from": 2,
            "valid_to": None,
        }
        row |= {"record": found["1.1"].record, "pixels": None, "edits": edits}
        conn.execute(tables.member.insert(), row)
        level = members.open_levels(conn, opened.key)[1]
        changed = members.Level(1, level.base, {"StudyDescription": Edit("LO", "new")})
        members.replace_level(conn, opened.key, 2, changed)
        columns = members.search_columns(conn, opened.key)
        changes.write_version(
            conn,
            opened,
            opened.next_version(WorkflowStatus.UPDATED, caller="x", now=NOW + 1000),
            ImageSetChange(columns=columns, instance_count=2),
        )

    stores.db.write(edit)
    more: dict[str, Any] = {"store": store, "patient": patient, "study": study}
    image_set_builders.image_set(
        stores,
        [BuiltInstance("2.1")],
        **more,
        series={"SeriesInstanceUID": "1.2.4", "Modality": "MR"},
        created_at=NOW + 1,
    )
    image_set_builders.image_set(
        stores, [BuiltInstance("3.1", 1)], **more, series=_SERIES, is_primary=False, series_number="4"
    )
    image_set_builders.image_set(
        stores, [BuiltInstance("4.1", 1)], state="DELETED", listed_in=None, is_primary=True
    )


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_fills_the_index_of_a_database_from_an_earlier_version(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = (
        f"sqlite:///{tmp_path / 'lightwell.db'}"
        if database == "sqlite"
        else str(request.getfixturevalue("postgres_url"))
    )
    db = Database(url)
    migrate(db)
    stores = image_set_builders.open_at(tmp_path, url)
    fill(stores)

    def index(conn: Connection) -> None:
        sets = conn.execute(text("SELECT key FROM image_set WHERE is_primary AND state = 'ACTIVE'"))
        for key in sets.scalars().all():
            qido_index.add_set(conn, key, NOW + 1000)

    db.write(index)
    expected = rows(db)
    db.write(_back_to_0003)
    assert migrate(db)
    assert rows(db) == expected
    assert len(expected["primary_instance"]) == 3
    (store,) = {row[1] for row in expected["primary_series"]}
    with db.read() as conn:
        for keyword, pattern in (("PatientName", "*ller^zoe"), ("StudyDescription", "n?w")):
            found = search.search(conn, store, QidoCriteria(STUDY, matches={keyword: Wildcard(pattern)}))
            assert [hit.values["PatientName"] for hit in found.hits] == ["Müller^Zoë"]
        for keyword, match in (
            ("Manufacturer", Wildcard("*CM*")),
            ("SeriesDescription", AnyOf(("AXIAL",))),
            ("OperatorsName", Words(("*oe",))),
            ("SeriesDate", AnyOf(("20240131",))),
            ("SeriesDate", Empty()),
            ("Manufacturer", Empty()),
        ):
            found = search.search(conn, store, QidoCriteria(SERIES, matches={keyword: match}))
            series = [hit.values["SeriesInstanceUID"] for hit in found.hits]
            assert series == ["1.2.4" if isinstance(match, Empty) else "1.2.3"]
        assert not search.search(conn, store, QidoCriteria(SERIES, matches={"ProtocolName": Empty()})).hits[
            1:
        ]
        search_index.check(conn)
    stores.close()
    db.close()


def _back_to_0003(conn: Connection) -> None:
    """Go back to revision 0003: drop later tables and columns with their content."""
    for statement in WITHOUT_UNITS:
        conn.execute(text(statement))
    conn.execute(text("DROP INDEX frame_table_unchecked"))
    conn.execute(text("ALTER TABLE frame_table DROP COLUMN checks"))
    for table in ("installation", "server"):
        conn.execute(text(f"DROP TABLE {table}"))
    for name in ("input_node", "output_node", "assumes_role"):
        conn.execute(text(f"ALTER TABLE import_job DROP COLUMN {name}"))
    for table in ("study_grams", "series_grams", "primary_instance", "primary_series"):
        conn.execute(text(f"DROP TABLE {table}"))
    for name in ("update", "patient", "accession", "day", "clock", "birth_day", "birth_clock"):
        conn.execute(text(f"DROP INDEX study_by_{name}"))
    kept = {"key", "datastore", "study_instance_uid"}
    for name in [name for name in tables.study.c.keys() if name not in kept]:  # noqa: SIM118
        conn.execute(text(f"ALTER TABLE study DROP COLUMN {name}"))
    added = ("patient_birth_time", "referring_physician_name", "series_description", "requests", "further")
    for name in added:
        conn.execute(text(f"ALTER TABLE image_set DROP COLUMN {name}"))
    conn.execute(text("ALTER TABLE record DROP COLUMN warnings"))
    conn.execute(text("UPDATE alembic_version SET version_num = '0003'"))
