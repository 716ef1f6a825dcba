"""``lightwell sets diff``: what changed between two versions, element by element, and who changed it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import ImplicitVRLittleEndian

from lightwell.cli.main import main
from lightwell.operations.context import Caller
from lightwell.operations.update_image_set_metadata import update_image_set_metadata
from lightwell.operations.version_diff import diff_versions
from lightwell.stores.account import datastores
from lightwell.stores.db import tables
from lightwell.stores.image_sets import native_instances
from lightwell.wire import shapes
from tests.support import image_set_builders
from tests.support.ct_files import ROOT, ct, write, write_series
from tests.support.image_set_builders import BuiltInstance
from tests.support.imports import Importing, importing

SERIES = f"{ROOT}.1.1"


@pytest.fixture
def server(tmp_path: Path, database_url: str) -> Iterator[Importing]:
    made = importing(tmp_path / "data", database_url)
    yield made
    made.close()


class Diff:
    """An image set of three slices, not primary, and ``sets diff`` of it."""

    def __init__(self, server: Importing, capsys: pytest.CaptureFixture[str], id: str = "") -> None:
        self.server = server
        self.capsys = capsys
        self.id = id or self.built()

    def built(self) -> str:
        stores = self.server.stores
        with stores.db.read() as conn:
            store = datastores.get(conn, self.server.datastore)
        assert store is not None
        instances = [BuiltInstance(f"{SERIES}.{n}", n, {"InstanceNumber": str(n)}, [b"x"]) for n in (1, 2, 3)]
        study = {"AccessionNumber": "A1", "StudyInstanceUID": ROOT, "StudyTime": "101112"}
        series = {"Modality": "CT", "SeriesInstanceUID": SERIES}
        return image_set_builders.image_set(
            stores, instances, store=(store.key, store.id), study=study, series=series, is_primary=False
        ).id

    def update(self, version: int, who: str = "ana", **more: Any) -> None:
        blobs = {
            name: json.dumps({"SchemaVersion": "1.1", **more.pop(name)}).encode()
            for name in ("updatable_attributes", "removable_attributes")
            if name in more
        }
        changes = (
            shapes.MetadataUpdates(dicom_updates=shapes.DICOMUpdates(**blobs))
            if blobs
            else shapes.MetadataUpdates(revert_to_version_id=more.pop("revert"))
        )
        context = self.server.context
        caller = Caller("000000000000", f"arn:aws:iam::000000000000:user/{who}", "AK")
        update_image_set_metadata(
            replace(context, caller=caller),
            shapes.UpdateImageSetMetadataRequest(
                datastore_id=self.server.datastore,
                image_set_id=self.id,
                latest_version_id=str(version),
                update_image_set_metadata_updates=changes,
                **more,
            ),
        )

    def __call__(self, first: int, second: int, *more: str) -> str:
        self.capsys.readouterr()
        assert self.run(self.id, str(first), str(second), *more) == 0
        return self.capsys.readouterr().out

    def run(self, *words: str) -> int:
        settings = self.server.settings
        return main(
            ["sets", "diff", *words, "--data", str(settings.data), "--database-url", settings.database]
        )

    def json(self, first: int, second: int) -> Any:
        return json.loads(self(first, second, "--json"))


@pytest.fixture
def diff(server: Importing, capsys: pytest.CaptureFixture[str]) -> Diff:
    return Diff(server, capsys)


def study(**values: object) -> dict[str, Any]:
    return {"Study": {"DICOM": values}}


def instance(number: int, **values: object) -> dict[str, Any]:
    return {"Study": {"Series": {SERIES: {"Instances": {f"{SERIES}.{number}": values}}}}}


def imported(server: Importing) -> str:
    """The id of the only set that an import of the input bucket makes, which is made non-primary."""
    id: str = server.run().manifest["imageSetsSummary"][0]["imageSetId"]
    server.stores.db.write(lambda conn: conn.execute(tables.image_set.update().values(is_primary=False)))
    return id


def test_shows_an_edit_of_a_study_and_who_made_it(diff: Diff) -> None:
    diff.update(1, updatable_attributes=study(StudyDescription="HEAD", StudyTime="0900"))
    diff.update(2, who="ben", removable_attributes=study(AccessionNumber="A1"))
    found = diff.json(1, 3)
    assert found["levels"] == {
        "Study": {
            "version": 3,
            "elements": [
                {"element": "StudyTime", "vr": "TM", "old": "101112", "new": "0900"},
                {"element": "AccessionNumber", "vr": "SH", "old": "A1"},
                {"element": "StudyDescription", "vr": "LO", "new": "HEAD"},
            ],
        }
    }
    assert (found["instances"], found["instancesUnchanged"]) == ([], 3)
    assert [(v["versionId"], v["workflowStatus"], v["caller"]) for v in found["versions"]] == [
        ("2", "UPDATED", "arn:aws:iam::000000000000:user/ana"),
        ("3", "UPDATED", "arn:aws:iam::000000000000:user/ben"),
    ]
    text = diff(1, 3)
    assert 'StudyTime         TM  "101112" → "0900"' in text
    assert '- AccessionNumber   SH  "A1"' in text
    assert "user/ben" in text and "3 unchanged" in text


def test_reverses_when_its_versions_are_swapped(diff: Diff) -> None:
    diff.update(1, updatable_attributes=study(StudyDescription="HEAD"))
    diff.update(2, removable_attributes=instance(2))
    found = diff.json(3, 1)
    assert found["levels"]["Study"]["elements"] == [
        {"element": "StudyDescription", "vr": "LO", "old": "HEAD"}
    ]
    assert found["instances"] == [
        {"change": "added", "SOPInstanceUID": f"{SERIES}.2", "InstanceNumber": 2, "version": 3}
    ]
    assert found["instancesUnchanged"] == 2
    assert [v["versionId"] for v in found["versions"]] == ["2", "3"]


def test_shows_edits_renames_and_removals_of_instances(diff: Diff) -> None:
    diff.update(1, removable_attributes=instance(1))
    private = {"DICOM": {"00091001": "X", "SOPInstanceUID": "1.2.3"}, "DICOMVRs": {"00091001": "LO"}}
    diff.update(2, updatable_attributes=instance(2, **private), force=True)
    found = diff.json(1, 3)
    assert found["instances"] == [
        {"change": "removed", "SOPInstanceUID": f"{SERIES}.1", "InstanceNumber": 1, "version": 2},
        {
            "change": "changed",
            "SOPInstanceUID": "1.2.3",
            "oldSOPInstanceUID": f"{SERIES}.2",
            "InstanceNumber": 2,
            "version": 3,
            "elements": [
                {"element": "SOPInstanceUID", "vr": "UI", "old": f"{SERIES}.2", "new": "1.2.3"},
                {"element": "00091001", "vr": "LO", "new": "X"},
            ],
        },
    ]
    assert found["instancesUnchanged"] == 1
    assert found["versions"][1]["forced"] is True
    text = diff(1, 3)
    assert f"~ {SERIES}.2 → 1.2.3  InstanceNumber 2  changed, in version 3" in text
    assert "Instances: 1 removed, 1 changed, 1 unchanged" in text


def recoded(slice: FileDataset) -> FileDataset:
    """The same as Implicit VR Little Endian, whose pixel data is stored again."""
    slice.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return slice


def test_shows_what_another_import_added(server: Importing, capsys: pytest.CaptureFixture[str]) -> None:
    folder = server.input
    first = write_series(folder, 3)
    diff = Diff(server, capsys, imported(server))
    for path in first:
        path.unlink()
    write(folder / "1.dcm", ct(4))
    again = ct(1, KVP="90")
    again.PixelData = bytes(len(again.PixelData))
    write(folder / "2.dcm", again)
    write(folder / "3.dcm", ct(2))
    write(folder / "4.dcm", recoded(ct(3)))
    diff.server.run()
    found = diff.json(1, 2)
    replaced, same_file, other_syntax, added = found["instances"]
    assert (replaced["change"], replaced["SOPInstanceUID"]) == ("replaced", f"{SERIES}.1")
    assert {"element": "KVP", "vr": "DS", "new": "90"} in replaced["elements"]
    frames = replaced["frames"]
    assert (frames["old"], frames["new"], len(frames["differing"])) == (1, 1, 1)
    assert frames["differing"][0]["oldCrc32"] != frames["differing"][0]["newCrc32"]
    assert same_file["change"] == "replaced" and same_file["elements"] == []
    assert "frames" not in same_file
    assert other_syntax["frames"] == {"old": 1, "new": 1, "differing": []}
    assert (added["change"], added["SOPInstanceUID"]) == ("added", f"{SERIES}.4")
    assert found["instancesUnchanged"] == 0
    text = diff(1, 2)
    assert "frame 1: CRC-32" in text and "pixel data replaced: 1 frame, all identical" in text


def test_finds_nothing_between_a_version_and_its_revert_or_itself(diff: Diff) -> None:
    diff.update(1, removable_attributes=instance(3))
    diff.update(2, revert="1")
    assert "no differences in attributes, instances or frames" in diff(1, 3)
    assert "no differences in attributes, instances or frames" in diff(2, 2)
    assert diff.json(1, 3)["instancesUnchanged"] == 3


def test_shows_failed_versions_with_their_reason(diff: Diff, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr("lightwell.stores.image_sets.members.close_members", fail)
        diff.update(1, removable_attributes=instance(3))
    diff.update(2, removable_attributes=instance(3))
    first = diff(1, 2)
    assert (
        "UPDATE_FAILED" in first
        and "has changed nothing" in first
        and "no differences in attributes" in first
    )
    assert [i["change"] for i in diff.json(2, 3)["instances"]] == ["removed"]


def test_shows_a_set_that_never_had_content(diff: Diff) -> None:
    db = diff.server.stores.db
    for table in (tables.level, tables.member):
        db.write(methodcaller("execute", table.update().values(valid_from=2)))
    row = {"number": 2, "workflow_status": "COPIED", "caller": "arn", "created_at": 5}
    with db.read() as conn:
        key = conn.execute(tables.image_set.select()).one().key
    db.write(lambda conn: conn.execute(tables.version.insert().values(image_set=key, **row)))
    db.write(lambda conn: conn.execute(tables.image_set.update().values(latest_version=2)))
    found = diff.json(1, 2)
    assert set(found["levels"]) == {"Patient", "Study", "Series"}
    assert [i["change"] for i in found["instances"]] == ["added"] * 3


def test_shows_what_instances_show_since_their_level_was_edited(
    server: Importing, capsys: pytest.CaptureFixture[str]
) -> None:
    write(server.input / "1.dcm", ct(1, StudyDescription="A"))
    write(server.input / "2.dcm", ct(2, StudyDescription="B"))
    diff = Diff(server, capsys, imported(server))
    diff.update(1, updatable_attributes=study(StudyDescription="C"))
    found = diff_versions(server.stores, diff.id, 1, 2)
    assert [(e.path, e.old, e.new) for e in found.levels[0].elements] == [("StudyDescription", "A", "C")]
    (second,) = found.instances
    assert second.new_uid == f"{SERIES}.2" and second.version == 2
    assert [(e.path, e.old) for e in second.elements] == [("StudyDescription", "B")]


def test_shows_what_an_edit_of_a_level_hides_in_an_instance(
    server: Importing, capsys: pytest.CaptureFixture[str]
) -> None:
    diff = Diff(server, capsys)
    # A StudyDescription that came under a VR which is not its own is shown by its digits.
    with server.stores.db.read() as conn:
        store = datastores.get(conn, server.datastore)
    assert store is not None
    odd = BuiltInstance(f"{SERIES}.1", 1, {"00081030": "QUJD"})
    diff.id = image_set_builders.image_set(
        server.stores, [odd, BuiltInstance(f"{SERIES}.2", 2)], store=(store.key, store.id), is_primary=False
    ).id
    diff.update(1, updatable_attributes=study(StudyDescription="C"))
    (found,) = diff.json(1, 2)["instances"]
    assert (found["SOPInstanceUID"], found["change"]) == (f"{SERIES}.1", "changed")
    assert [(e["element"], e["old"], "new" in e) for e in found["elements"]] == [("00081030", "QUJD", False)]


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["0" * 32, "1", "2"], 1, "no image set"),
        (["ID", "1", "9"], 1, "no version 9"),
        (["ID", "0", "1"], 2, "count from 1"),
        (["ID", "x", "1"], 2, "count from 1"),
        (["ID", "1"], 2, "V2"),
    ],
)
def test_says_what_is_wrong(diff: Diff, words: list[str], status: int, expected: str) -> None:
    given = [diff.id if word == "ID" else word for word in words]
    try:
        found = diff.run(*given)
    except SystemExit as end:
        found = int(end.code or 0)
    assert found == status
    assert expected in diff.capsys.readouterr().err


def test_lets_no_value_steer_a_terminal(diff: Diff) -> None:
    diff.update(1, updatable_attributes=study(StudyDescription="\x9b31m red \u202e"))
    text = diff(1, 2)
    assert "\\x9b31m red \\u202e" in text and "\x9b" not in text


def test_costs_what_differs(diff: Diff, monkeypatch: pytest.MonkeyPatch) -> None:
    diff.update(1, updatable_attributes=instance(2, DICOM={"ImageComments": "x"}))
    seen: list[int] = []
    real: Callable[..., Any] = native_instances.members

    def watched(*arguments: Any, only: Any = None) -> Any:
        seen.append(len(only))
        return real(*arguments, only=only)

    monkeypatch.setattr(native_instances, "members", watched)
    assert len(diff.json(1, 2)["instances"]) == 1
    assert seen == [1, 1]
