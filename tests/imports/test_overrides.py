"""The metadata override of an import job (DicomJsonMetadataImportConfiguration)."""

from __future__ import annotations

import io
import json
from typing import Any

import pydicom
from sqlalchemy import Connection, select

from lightwell.documents.part10_files import write_instance
from lightwell.stores.db import compression, tables
from lightwell.stores.image_sets import part10_instances
from lightwell.stores.keys import values
from lightwell.wire import shapes
from tests.support import invariants
from tests.support.ct_files import ROOT, ct, write, write_series
from tests.support.imports import Importing, Report

STUDY, SERIES = f"{ROOT}.1", f"{ROOT}.1.1"


def _overrides(conn: Connection) -> dict[str, Any]:
    """What is kept of overrides, which all records have, by SOPInstanceUID."""
    found = {}
    for row in conn.execute(select(tables.record)):
        packed = values.of_record(conn, values.OVERRIDE, row.key, row.override_z, None)
        assert packed is not None
        found[row.sop_instance_uid] = json.loads(compression.decompress(packed))
    return found


def _run(server: Importing, *mappings: tuple[str, str | None, str]) -> Report:
    configuration = shapes.ImportConfiguration(
        dicom_json_metadata_import_configuration=shapes.DicomJsonMetadataImportConfiguration(
            dicom_metadata_mappings=[
                shapes.DicomMetadataMapping(
                    study_instance_uid=study, series_instance_uid=series, metadata_file_path=path
                )
                for study, series, path in mappings
            ]
        )
    )
    return server.run("a/", import_configuration=configuration)


def _json(server: Importing, name: str, value: Any) -> None:
    path = server.input / "a" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def _element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def test_applies_study_and_series_objects_to_the_files(server: Importing) -> None:
    write_series(server.input / "a", 2, series="1")
    write(server.input / "a" / "other.dcm", ct(1, series="2"))
    _json(
        server,
        "study.json",
        {
            "00100010": _element("PN", {"Alphabetic": "NEW^NAME"}),
            "00081030": _element("LO", "of the study"),
            "00020010": _element("UI", "1.2.3"),
        },
    )
    _json(
        server,
        "meta/series.json",
        [{"00081030": _element("LO", "of the series"), "00180015": _element("CS", "HEAD")}],
    )
    report = _run(server, (STUDY, SERIES, "meta/series.json"), (STUDY, None, "study.json"))
    assert report.failure == []
    assert report.manifest["numberOfScannedFiles"] == 3, "the JSON files of mappings are not counted"
    with server.stores.db.read() as conn:
        sets = {s.series_instance_uid: s for s in conn.execute(select(tables.image_set))}
        kept = _overrides(conn)
    assert {s.patient_name for s in sets.values()} == {"NEW^NAME"}
    assert sets[SERIES].study_description == "of the series"
    assert sets[SERIES].body_part_examined == "HEAD"
    assert sets[f"{ROOT}.1.2"].study_description == "of the study"
    assert all("00020010" not in override for override in kept.values())
    invariants.check(server.stores)


def test_exports_the_overrides_that_it_applied(sqlite: Importing) -> None:
    write(sqlite.input / "a" / "x.dcm", ct(1, PatientName="OLD^NAME"))
    name = {"Alphabetic": "Łukasz^Müller", "Ideographic": "山田"}
    _json(sqlite, "study.json", {"00100010": _element("PN", name), "00081030": {"vr": "LO"}})
    _run(sqlite, (STUDY, None, "study.json"))
    with sqlite.stores.db.read() as conn:
        key = conn.execute(select(tables.image_set.c.key)).scalar_one()
        (instance,) = part10_instances.instances(conn, key, 1)
    out = io.BytesIO()
    write_instance(sqlite.stores, instance, out)
    found = pydicom.dcmread(io.BytesIO(out.getvalue()))
    assert found.PatientName == "Łukasz^Müller=山田"
    assert (found.SpecificCharacterSet, found.StudyDescription) == ("ISO_IR 192", "")
    assert len(found.PixelData) == found.Rows * found.Columns * 2


def test_leaves_files_alone_that_no_mapping_mentions(sqlite: Importing) -> None:
    write_series(sqlite.input / "a", 1)
    _json(sqlite, "m.json", {"00100010": _element("PN", {"Alphabetic": "NEW^NAME"})})
    report = _run(sqlite, ("1.2.3", None, "m.json"))
    assert report.manifest["numberOfImportedFiles"] == 1
    with sqlite.stores.db.read() as conn:
        assert conn.execute(select(tables.image_set.c.patient_name)).scalars().all() == ["DOE^JANE"]


def test_selects_objects_of_an_array_by_their_uids(sqlite: Importing) -> None:
    write_series(sqlite.input / "a", 2)
    _json(
        sqlite,
        "m.json",
        [
            {"00080018": _element("UI", f"{SERIES}.{n}"), "00204000": _element("LT", f"comment {n}")}
            for n in (1, 2)
        ],
    )
    _run(sqlite, (STUDY, None, "m.json"))
    with sqlite.stores.db.read() as conn:
        kept = _overrides(conn)
    assert len(kept) == 2
    for uid, override in kept.items():
        assert override == {"00204000": _element("LT", f"comment {uid[-1]}")}
    invariants.check(sqlite.stores)


def test_fails_a_bad_json_file_and_what_it_covers_and_goes_on(server: Importing) -> None:
    write_series(server.input / "a", 2, series="1")
    write(server.input / "a" / "other.dcm", ct(1, study="2"))
    _json(server, "bad.json", '{"00100010": ')
    report = _run(server, (STUDY, None, "bad.json"), (STUDY, SERIES, "missing.json"))
    manifest = report.manifest
    assert (manifest["numberOfScannedFiles"], manifest["numberOfImportedFiles"]) == (5, 1)
    assert manifest["numberOfFilesWithCustomerError"] == 4
    messages = report.messages()
    assert set(messages) == {"a/bad.json", "a/missing.json", "a/0001.dcm", "a/0002.dcm"}
    assert "a/bad.json" in messages["a/0001.dcm"]
    assert [line["inputFile"] for line in report.success] == ["a/other.dcm"]
    invariants.check(server.stores)


def test_refuses_json_that_is_not_dicom_json(sqlite: Importing) -> None:
    write_series(sqlite.input / "a", 1)
    for value in (
        '"text"',
        "[]",
        '{"PatientName": {"vr": "PN"}}',
        '{"00100010": "x"}',
        "[1]",
        "[" * 100_000,
        "\xff",
    ):
        (sqlite.input / "a" / "m.json").write_bytes(value.encode("latin-1"))
        report = _run(sqlite, (STUDY, None, "m.json"))
        assert set(report.messages()) == {"a/m.json", "a/0001.dcm"}, value[:20]
        assert "a/m.json" in report.messages()["a/m.json"]
