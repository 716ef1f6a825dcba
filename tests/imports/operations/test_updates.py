"""Updates of imported sets: what grows on them, what is exported, and what a fault leaves."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from lightwell.errors import ConflictError, QuotaExceededError
from lightwell.operations import image_sets
from lightwell.operations.context import Context
from lightwell.operations.get_image_set_metadata import get_image_set_metadata
from lightwell.operations.update_image_set_metadata import update_image_set_metadata
from lightwell.settings import load
from lightwell.stores.image_sets import members
from lightwell.wire import shapes
from tests.support import invariants
from tests.support.ct_files import ROOT, ct, write, write_series
from tests.support.imports import Importing, exported

STUDY, SERIES = f"{ROOT}.1", f"{ROOT}.1.1"


def blob(patient: Any = None, study: Any = None, series: Any = None, instances: Any = None) -> bytes:
    """Of the series that `ct_files.ct` makes by default."""
    document = {
        "SchemaVersion": 1.1,
        "Patient": {"DICOM": patient or {}},
        "Study": {
            "DICOM": study or {},
            "Series": {SERIES: {"DICOM": series or {}, "Instances": instances or {}}},
        },
    }
    if not series and not instances:
        del document["Study"]["Series"]  # type: ignore[attr-defined]
    return json.dumps(document).encode()


def update(
    server: Importing,
    id: str,
    version: int,
    updatable: bytes | None = None,
    removable: bytes | None = None,
    **more: Any,
) -> shapes.UpdateImageSetMetadataResponse:
    changes = shapes.MetadataUpdates(
        dicom_updates=shapes.DICOMUpdates(removable_attributes=removable, updatable_attributes=updatable)
    )
    return update_image_set_metadata(
        more.pop("context", server.context),
        shapes.UpdateImageSetMetadataRequest(
            datastore_id=server.datastore,
            image_set_id=id,
            latest_version_id=str(version),
            update_image_set_metadata_updates=changes,
            **more,
        ),
    )


def document(server: Importing, id: str, version: int | None = None) -> Any:
    answer = get_image_set_metadata(
        server.context,
        shapes.GetImageSetMetadataRequest(
            datastore_id=server.datastore,
            image_set_id=id,
            version_id=None if version is None else str(version),
        ),
    )
    return json.loads(gzip.decompress(answer.image_set_metadata_blob))


def properties(server: Importing, id: str) -> shapes.GetImageSetResponse:
    return image_sets.get_image_set(
        server.context, shapes.GetImageSetRequest(datastore_id=server.datastore, image_set_id=id)
    )


def sets(server: Importing, prefix: str) -> list[Any]:
    found: list[Any] = server.run(prefix).manifest["imageSetsSummary"]
    return found


def two_sets(server: Importing) -> tuple[str, str]:
    """A primary set of a series, and one beside it with three slices of another patient."""
    write_series(server.input / "primary", 2)
    write_series(
        server.input / "other", 3, PatientID="OTHER", PatientName="Müller", SpecificCharacterSet="ISO_IR 100"
    )
    (primary,), (other,) = sets(server, "primary/"), sets(server, "other/")
    assert (primary["isPrimary"], other["isPrimary"]) == (True, False)
    return primary["imageSetId"], other["imageSetId"]


def events(server: Importing) -> list[tuple[str, str, str]]:
    from sqlalchemy import select

    from lightwell.stores.db.tables import outbox

    with server.stores.db.read() as conn:
        found = [
            json.loads(event)
            for event in conn.execute(select(outbox.c.event).order_by(outbox.c.number)).scalars()
        ]
    return [
        (e["detail-type"], e["detail"]["imageSetVersion"], e["detail"]["imageSetWorkflowStatus"])
        for e in found
        if e["detail-type"].startswith("Image Set U")
    ]


def test_exports_what_the_document_shows(server: Importing) -> None:
    primary, id = two_sets(server)
    private = {"DICOM": {"SOPInstanceUID": "1.2.5", "001910F9": "97"}, "DICOMVRs": {"001910F9": "DS"}}
    first, second, third = (f"{SERIES}.{number}" for number in (1, 2, 3))
    update(
        server, id, 1,
        blob(
            {"PatientName": "Łukasz^Ó", "EthnicGroup": "x"},
            {"StudyInstanceUID": "1.2.3", "StudyDate": None},
            {"SeriesInstanceUID": "1.2.4"},
            {
                first: private,
                second: {"DICOM": {"Rows": 99, "WindowCenter": ["1", "2"]}},
            },
        ),
        blob({"PatientID": "OTHER"}, instances={third: {}}),
        force=True,
    )  # fmt: skip
    shown = document(server, id)
    instances = shown["Study"]["Series"]["1.2.4"]["Instances"]
    files = exported(server, id)
    assert files.keys() == instances.keys() == {"1.2.5", second}
    for uid, data in files.items():
        assert data.file_meta.MediaStorageSOPInstanceUID == data.SOPInstanceUID == uid
        assert (data.StudyInstanceUID, data.SeriesInstanceUID) == ("1.2.3", "1.2.4")
        assert (data.PatientName, data.EthnicGroup, "PatientID" in data) == ("Łukasz^Ó", "x", False)
        assert (data.StudyDate, data.AccessionNumber) == ("", "A1")
        number = int(data.InstanceNumber)
        assert data.PixelData == ct(number).PixelData
        assert (data.Rows, data.Columns) == (16, 16)
    assert files["1.2.5"][0x001910F9].value == 97
    assert list(files[second].WindowCenter) == [1, 2]
    assert instances[second]["DICOM"]["Rows"] == 99
    assert {str(data.PatientName) for data in exported(server, primary).values()} == {"DOE^JANE"}
    invariants.check(server.stores)


def test_grows_by_instances_that_have_the_values_it_shows(server: Importing) -> None:
    _, id = two_sets(server)
    update(server, id, 1, blob({"PatientID": "NEW"}, instances={f"{SERIES}.1": {"DICOM": {"Rows": 99}}}))
    # What has the values from before the edit makes a set of its own, what has the new ones joins.
    write(server.input / "before" / "9.dcm", ct(9, PatientID="OTHER"))
    write(server.input / "after" / "1.dcm", ct(1, PatientID="NEW", PatientName="LATER"))
    write(server.input / "after" / "9.dcm", ct(9, PatientID="NEW"))
    (before,), (after,) = sets(server, "before/"), sets(server, "after/")
    assert before["imageSetId"] != id and before["imageSetVersion"] == 1
    assert (after["imageSetId"], after["imageSetVersion"]) == (id, 3)
    shown = document(server, id)
    found = shown["Study"]["Series"][SERIES]["Instances"]
    assert shown["Patient"]["DICOM"]["PatientID"] == "NEW"
    assert len(found) == 4
    # The newest copy starts without edits of its own, and shows what differs from the levels.
    assert found[f"{SERIES}.1"]["DICOM"]["Rows"] == 16
    assert found[f"{SERIES}.1"]["DICOM"]["PatientName"] == "LATER"
    assert (
        document(server, id, 2)["Study"]["Series"][SERIES]["Instances"][f"{SERIES}.1"]["DICOM"]["Rows"] == 99
    )
    invariants.check(server.stores)


def test_keeps_the_edits_of_a_level_when_another_member_supplies_its_block(server: Importing) -> None:
    _, id = two_sets(server)
    update(server, id, 1, blob(study={"StudyDescription": "EDITED"}, series={"SeriesDescription": "x"}))
    for number in (1, 2, 3):
        data = ct(number, PatientID="OTHER", PatientName="LATER", Manufacturer="M")
        write(server.input / "again" / f"{number}.dcm", data)
    (again,) = sets(server, "again/")
    assert (again["imageSetId"], again["imageSetVersion"]) == (id, 3)
    shown = document(server, id)
    assert shown["Patient"]["DICOM"]["PatientName"] == "LATER"
    assert shown["Study"]["DICOM"]["StudyDescription"] == "EDITED"
    series = shown["Study"]["Series"][SERIES]["DICOM"]
    assert (series["SeriesDescription"], series["Manufacturer"]) == ("x", "M")
    invariants.check(server.stores)


def test_takes_the_old_uid_again_after_a_rename(server: Importing) -> None:
    _, id = two_sets(server)
    uid = f"{SERIES}.1"
    update(server, id, 1, blob(instances={uid: {"DICOM": {"SOPInstanceUID": "1.2.5"}}}), force=True)
    write(server.input / "again" / "1.dcm", ct(1, PatientID="OTHER"))
    (again,) = sets(server, "again/")
    assert (again["imageSetId"], again["imageSetVersion"]) == (id, 3)
    assert document(server, id)["Study"]["Series"][SERIES]["Instances"].keys() == {
        "1.2.5", uid, f"{SERIES}.2", f"{SERIES}.3",
    }  # fmt: skip
    invariants.check(server.stores)


def test_records_a_fault_of_the_server_as_a_failed_version(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, id = two_sets(server)
    before = document(server, id)

    def fail(*_: Any) -> None:
        raise KeyError("fault")

    with monkeypatch.context() as patch:
        patch.setattr(members, "replace_level", fail)
        answer = update(
            server,
            id,
            1,
            blob({"PatientID": "X"}, instances={f"{SERIES}.1": {"DICOM": {"Rows": 1}}}),
            force=True,
        )
    assert (answer.latest_version_id, answer.image_set_workflow_status) == ("2", "UPDATING")
    failed = properties(server, id)
    assert (failed.version_id, failed.image_set_state) == ("2", "ACTIVE")
    assert failed.image_set_workflow_status == "UPDATE_FAILED"
    assert failed.message and re.fullmatch(r"[\w -:`]{1,2048}", failed.message)
    assert failed.overrides == shapes.Overrides(forced=True)
    assert document(server, id) == document(server, id, 2) == before
    assert events(server) == [
        ("Image Set Updating", "2", "UPDATING"),
        ("Image Set Update Failed", "2", "UPDATE_FAILED"),
    ]
    invariants.check(server.stores)
    update(server, id, 2, blob({"PatientID": "X"}))
    assert properties(server, id).image_set_workflow_status == "UPDATED"
    assert properties(server, id).message is None
    assert document(server, id)["Patient"]["DICOM"]["PatientID"] == "X"
    assert properties(server, primary).version_id == "1"
    invariants.check(server.stores)


def test_fails_for_all_sets_of_a_study_or_for_none(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        write_series(server.input / "study", 1, series=str(number))
        write(server.input / "study" / f"{number}.dcm", ct(1, series=str(number)))
    ids = [s["imageSetId"] for s in sets(server, "study/")]
    calls: list[str] = []
    real = members.replace_level

    def fail_at_the_third(*arguments: Any) -> None:
        calls.append("")
        if len(calls) == 3:
            raise KeyError("fault")
        real(*arguments)

    monkeypatch.setattr(members, "replace_level", fail_at_the_third)
    wide: dict[str, Any] = {"include_study_image_sets": True}
    update(server, ids[0], 1, blob(study={"StudyDate": "20250101"}), **wide)
    assert [properties(server, id).image_set_workflow_status for id in ids] == ["UPDATE_FAILED"] * 3
    assert [document(server, id)["Study"]["DICOM"]["StudyDate"] for id in ids] == ["20240102"] * 3
    invariants.check(server.stores)
    update(server, ids[1], 2, blob(study={"StudyDate": "20250101"}), **wide)
    assert [properties(server, id).version_id for id in ids] == ["3"] * 3
    assert [document(server, id)["Study"]["DICOM"]["StudyDate"] for id in ids] == ["20250101"] * 3
    invariants.check(server.stores)


def test_changes_no_set_added_to_the_study_after_the_policy_check(server: Importing) -> None:
    write_series(server.input / "a", 1)
    write_series(server.input / "b", 1, series="2")
    (first,), (second,) = ([each["imageSetId"] for each in sets(server, prefix)] for prefix in ("a/", "b/"))
    asked = replace(server.context, authorized_image_sets=frozenset([first]))
    changed = blob(study={"StudyDate": "20250101"})
    with pytest.raises(ConflictError, match="is being changed by another request; try again"):
        update(server, first, 1, changed, context=asked, include_study_image_sets=True)
    assert [properties(server, id).version_id for id in (first, second)] == ["1", "1"]
    both = replace(server.context, authorized_image_sets=frozenset([first, second]))
    update(server, first, 1, changed, context=both, include_study_image_sets=True)
    assert [properties(server, id).version_id for id in (first, second)] == ["2", "2"]
    invariants.check(server.stores)


def test_enforces_the_quota_of_the_payload_where_quotas_are_on(sqlite: Importing) -> None:
    _, id = two_sets(sqlite)
    with_quotas = load({"data": sqlite.settings.data, "quotas": "aws"}, environ={})
    context = Context(
        sqlite.stores, with_quotas, sqlite.context.clock, sqlite.context.ids, sqlite.context.caller
    )
    long = blob({"PatientComments": "x" * 5000})
    with pytest.raises(QuotaExceededError, match="10240"):
        update(sqlite, id, 1, long + b" " * (10_240 - len(long) - 10), b" " * 11, context=context)
    assert update(sqlite, id, 1, long + b" " * (10_240 - len(long)), context=context).latest_version_id == "2"
    assert update(sqlite, id, 2, long + b" " * 20_000).latest_version_id == "3"
