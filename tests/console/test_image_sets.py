"""What the console shows of an image set: its versions, their differences, and what an edit would do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lightwell.domain.image_sets.version_diff import ElementDifference
from lightwell.errors import NotFoundError, ValidationError
from lightwell.operations import version_diff
from lightwell.operations.console import image_set_versions
from lightwell.operations.console.differences import elements_json
from lightwell.operations.console.image_set_diff import diff
from lightwell.operations.console.update_preview import Preview, UpdateRequest, preview_update
from lightwell.operations.context import Caller
from lightwell.operations.copy_image_set import copy_image_set
from lightwell.operations.update_image_set_metadata import update_image_set_metadata
from lightwell.stores.account import datastores
from lightwell.wire import shapes
from tests.dicomweb.support.uploads import new
from tests.support import image_set_builders
from tests.support.console import ConsoleClient, allow
from tests.support.ct_files import ct
from tests.support.image_set_builders import BuiltInstance
from tests.support.imports import Importing, importing
from tests.support.server import Server

STUDY, SERIES = "1.2.3", "1.2.3.4"
OWN_VALUE = "CHEST"


@pytest.fixture
def stored(tmp_path: Path, database_url: str) -> Iterator[Importing]:
    made = importing(tmp_path / "data", database_url)
    yield made
    made.close()


class Built:
    """An image set of three slices, the second with a study description of its own."""

    def __init__(self, server: Importing, *, is_primary: bool = False, series: str = SERIES) -> None:
        self.datastore = server.datastore
        self.ctx = replace(
            server.context, caller=Caller("000000000000", "arn:aws:iam::000000000000:user/ana", "AK")
        )
        with server.stores.db.read() as conn:
            store = datastores.get(conn, server.datastore)
        assert store is not None
        study = {"StudyInstanceUID": STUDY, "StudyDescription": "HEAD", "AccessionNumber": "A1"}
        own = study | {"StudyDescription": OWN_VALUE}
        self.id = image_set_builders.image_set(
            server.stores,
            [
                BuiltInstance(
                    f"{series}.{n}",
                    n,
                    {"InstanceNumber": str(n), "ImageType": ["ORIGINAL", "PRIMARY"]},
                    [b"x"],
                    study=own if n == 2 else None,
                )
                for n in (1, 2, 3)
            ],
            store=(store.key, store.id),
            study=study,
            series={"Modality": "CT", "SeriesInstanceUID": series},
            is_primary=is_primary,
        ).id

    def update(self, version: int, **changes: Any) -> None:
        force = changes.pop("force", None)
        blobs = {
            name: json.dumps({"SchemaVersion": "1.1", **blob}).encode() for name, blob in changes.items()
        }
        self._update(version, shapes.MetadataUpdates(dicom_updates=shapes.DICOMUpdates(**blobs)), force)

    def revert(self, version: int, target: int) -> None:
        self._update(version, shapes.MetadataUpdates(revert_to_version_id=str(target)), None)

    def _update(self, version: int, updates: shapes.MetadataUpdates, force: bool | None) -> None:
        update_image_set_metadata(
            self.ctx,
            shapes.UpdateImageSetMetadataRequest(
                datastore_id=self.datastore,
                image_set_id=self.id,
                latest_version_id=str(version),
                update_image_set_metadata_updates=updates,
                force=force,
            ),
        )

    def preview(self, version: int = 1, **request: Any) -> Preview:
        blobs = {
            name: json.dumps({"SchemaVersion": "1.1", **request.pop(name)}).encode()
            for name in ("updatable", "removable")
            if name in request
        }
        wanted = UpdateRequest(str(version), blobs.get("removable"), blobs.get("updatable"), **request)
        return preview_update(self.ctx, self.datastore, self.id, wanted)


@pytest.fixture
def built(stored: Importing) -> Built:
    return Built(stored)


def of_instance(number: int, **dicom: Any) -> dict[str, Any]:
    return {"Study": {"Series": {SERIES: {"Instances": {f"{SERIES}.{number}": {"DICOM": dicom}}}}}}


def test_lists_versions_with_who_made_each_and_what_it_changed(built: Built) -> None:
    built.update(1, updatable_attributes={"Study": {"DICOM": {"StudyDescription": "NECK"}}})
    whole: dict[str, Any] = {"Study": {"Series": {SERIES: {"Instances": {f"{SERIES}.3": {}}}}}}
    built.update(2, removable_attributes=whole)
    built.update(3, updatable_attributes=of_instance(1, InstanceNumber="9"))
    built.revert(4, 1)

    page = image_set_versions.list_versions(built.ctx, built.datastore, built.id, next_token=None, limit=4)
    found = [
        (v.version.number, v.kind, v.instances, v.added, v.removed, v.touched, v.levels)
        for v in page.versions
    ]
    assert found == [
        (5, "reverted", 3, 1, 0, 2, ("Study",)),
        (4, "updated", 2, 0, 0, 1, ()),
        (3, "updated", 2, 0, 1, 0, ()),
        (2, "updated", 3, 0, 0, 0, ("Study",)),
    ]
    assert page.versions[0].version.reverted_to == 1
    assert page.versions[0].version.caller.endswith("user/ana")
    assert page.next_token is not None
    last = image_set_versions.list_versions(
        built.ctx, built.datastore, built.id, next_token=page.next_token, limit=4
    )
    assert [(v.version.number, v.kind) for v in last.versions] == [(1, "created")]
    assert last.next_token is None


def test_says_what_a_set_was_copied_from(built: Built) -> None:
    source = shapes.CopySourceImageSetInformation(latest_version_id="1")
    copied = copy_image_set(
        built.ctx,
        shapes.CopyImageSetRequest(
            datastore_id=built.datastore,
            source_image_set_id=built.id,
            copy_image_set_information=shapes.CopyImageSetInformation(source_image_set=source),
        ),
    ).destination_image_set_properties.image_set_id
    page = image_set_versions.list_versions(built.ctx, built.datastore, copied, next_token=None, limit=9)
    assert [(v.kind, v.version.copied_from) for v in page.versions] == [("copied", built.id)]
    shown = image_set_versions.overview(built.ctx, built.datastore, copied, None)
    assert (shown.content.instances, shown.content.frames, shown.version) == (3, 3, 1)
    assert shown.levels[1]["StudyDescription"] == "HEAD"
    assert shown.sop_instance_uid == f"{SERIES}.2"


def test_shows_a_difference_a_part_at_a_time(built: Built) -> None:
    built.update(1, updatable_attributes={"Study": {"DICOM": {"StudyDescription": "NECK"}}})
    whole: dict[str, Any] = {"Study": {"Series": {SERIES: {"Instances": {f"{SERIES}.3": {}}}}}}
    built.update(2, removable_attributes=whole)
    built.update(3, updatable_attributes=of_instance(1, InstanceNumber="9"))

    def part(next_token: str | None, most: int) -> Any:
        return diff(built.ctx, built.datastore, built.id, ("1", "4"), next_token=next_token, most=most)

    first = part(None, 2)
    assert [each.version.number for each in first.versions] == [2, 3, 4]
    assert [each.path for level in first.page.levels for each in level.elements] == ["StudyDescription"]
    assert (first.page.added, first.page.removed) == (0, 1)
    assert (first.page.old_count, first.page.new_count) == (3, 2)
    rest = part(first.next_token, 2)
    assert rest.versions == ()
    assert rest.page.levels == ()
    assert rest.next_token is None
    shown = [
        (each.kind, each.new_uid or each.old_uid) for each in (*first.page.instances, *rest.page.instances)
    ]
    # The second slice showed a description of its own until the level was edited.
    assert shown == [("changed", f"{SERIES}.1"), ("changed", f"{SERIES}.2"), ("removed", f"{SERIES}.3")]
    with pytest.raises(NotFoundError, match="no version 9"):
        diff(built.ctx, built.datastore, built.id, ("1", "9"), next_token=None, most=2)


def test_shows_long_differences_in_small_parts(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    built.update(1, updatable_attributes=of_instance(1, InstanceNumber="8"))
    built.update(2, updatable_attributes=of_instance(2, InstanceNumber="9"))
    monkeypatch.setattr(version_diff, "_MOST_BYTES", 10)
    shown, token = [], None
    while True:
        part = diff(built.ctx, built.datastore, built.id, ("1", "3"), next_token=token, most=100)
        assert len(part.page.instances) <= 1
        shown += [str(each.new_uid) for each in part.page.instances]
        if (token := part.next_token) is None:
            break
    assert sorted(shown) == [f"{SERIES}.1", f"{SERIES}.2"]
    long = [ElementDifference(str(n), "LT", "LT", "a" * 20_000, "b" * 20_000) for n in range(100)]
    found = elements_json(long)
    assert len(json.dumps(found)) < 1_200_000
    assert len(found["elements"]) + found["moreElements"] == 100


def test_previews_what_an_edit_would_change(built: Built) -> None:
    found = built.preview(
        updatable={"Study": {"DICOM": {"StudyDescription": "NECK", "StudyDate": "20260101"}}}
    )
    assert (found.verdict, found.next_version) == ("allowed", 2)
    (described, dated) = found.changes
    assert [(e.path, e.old, e.new) for e in described.elements] == [("StudyDescription", "HEAD", "NECK")]
    assert described.instances_with_own_value == 1
    assert [(e.path, e.new) for e in dated.elements] == [("StudyDate", "20260101")]
    # Nothing has changed.
    page = image_set_versions.list_versions(built.ctx, built.datastore, built.id, next_token=None, limit=9)
    assert len(page.versions) == 1


def test_previews_all_refusals_at_once(built: Built) -> None:
    found = built.preview(
        updatable=of_instance(
            1, ImageType=["DERIVED", "PRIMARY"], PatientName="A^B", Rows=12, Nonsense="x", InstanceNumber="4"
        ),
        removable={"Study": {"DICOM": {"StudyDescription": "not this"}}},
    )
    verdicts = {change.key: change.verdict for change in found.changes}
    assert verdicts == {
        "StudyDescription": "refused",
        "ImageType": "needsForce",
        "PatientName": "refused",
        "Rows": "allowed",
        "Nonsense": "refused",
        "InstanceNumber": "allowed",
    }
    assert found.verdict == "refused"
    messages = {change.key: change.message for change in found.changes}
    assert messages["Nonsense"] is not None
    assert "not a DICOM keyword" in messages["Nonsense"]
    found = built.preview(updatable=of_instance(1, ImageType=["DERIVED", "PRIMARY"]))
    assert found.verdict == "needsForce"
    assert found.message is not None
    assert "several values" in found.message
    with pytest.raises(ValidationError, match="SchemaVersion"):
        preview_update(built.ctx, built.datastore, built.id, UpdateRequest("1", None, b"{}"))
    with pytest.raises(NotFoundError, match="not the latest"):
        built.preview(2, updatable={"Study": {"DICOM": {"StudyDescription": "NECK"}}})


def test_previews_bounded_work(built: Built) -> None:
    with pytest.raises(ValidationError, match="at most 500"):
        built.preview(
            updatable=of_instance(1, **{f"0019{n:04X}": {"vr": "LO", "Value": ["x"]} for n in range(501)})
        )


def test_previews_which_other_sets_an_edit_affects(stored: Importing) -> None:
    built = Built(stored, is_primary=True)
    change = {"Study": {"DICOM": {"StudyDescription": "NECK"}}}
    assert built.preview(updatable=change).verdict == "refused"
    found = built.preview(updatable=change, study_wide=True)
    assert (found.verdict, found.affected_count, found.affected) == ("allowed", 0, ())


def test_previews_what_would_forbid_a_promotion(stored: Importing) -> None:
    other = Built(stored, is_primary=True, series="1.2.3.5")
    built = Built(stored)
    change = {"Patient": {"DICOM": {"PatientID": "P2"}}}
    assert [each.id for each in built.preview(updatable=change).contradicting] == [other.id]
    described = built.preview(updatable={"Study": {"DICOM": {"StudyDescription": "NECK"}}})
    assert described.contradicting == ()
    assert (
        other.preview(updatable={"Study": {"DICOM": {"StudyID": "2"}}}, study_wide=True).contradicting == ()
    )


def test_previews_the_removal_of_instances(built: Built) -> None:
    whole: dict[str, Any] = {f"{SERIES}.{n}": {} for n in (1, 2, 3)}
    found = built.preview(removable={"Study": {"Series": {SERIES: {"Instances": {f"{SERIES}.1": {}}}}}})
    assert [(c.key, c.sop_instance_uid, c.verdict) for c in found.changes] == [
        (None, f"{SERIES}.1", "allowed")
    ]
    found = built.preview(removable={"Study": {"Series": {SERIES: {"Instances": whole}}}})
    assert found.verdict == "refused"
    assert found.message is not None
    assert "DeleteImageSet" in found.message


def test_answers_only_who_may_read_the_image_set(
    server: Server, root: ConsoleClient, client: Any, limited: Callable[..., ConsoleClient]
) -> None:
    with server.database() as db:
        datastore = client.create_datastore(datastoreName="sets")["datastoreId"]
        with db.read() as conn:
            store = datastores.get(conn, datastore)
        assert store is not None
        stores = image_set_builders.open_at(server.data, db.url)
        made = image_set_builders.image_set(
            stores,
            [BuiltInstance(f"{SERIES}.1", 1, {"InstanceNumber": "1", "00091010": "x" * 50_000}, [b"x"])],
            store=(store.key, store.id),
            study={"StudyInstanceUID": STUDY, "StudyDescription": "<img src=x onerror=alert(1)>"},
            series={"Modality": "CT", "SeriesInstanceUID": SERIES},
            is_primary=False,
        )
        image_set_builders.image_set(
            stores,
            [BuiltInstance(f"{SERIES}.9.1", 1, {}, [b"x"])],
            store=(store.key, store.id),
            study={"StudyInstanceUID": STUDY},
            series={"Modality": "CT", "SeriesInstanceUID": f"{SERIES}.9"},
        )
        stores.close()
    path = f"datastores/{datastore}/imagesets/{made.id}"
    shown = root("GET", path)
    assert shown["study"]["StudyDescription"] == "<img src=x onerror=alert(1)>"
    assert (shown["instanceCount"], shown["frameCount"], shown["versionId"]) == (1, 1, "1")

    blob = json.dumps({"SchemaVersion": 1.1, **of_instance(1, **{"00091010": "c2hvcnQ="})})
    body = {"latestVersionId": "1", "updatableAttributes": blob, "force": True}
    found = root("POST", f"{path}/preview", body)
    assert (found["nextVersionId"], found["verdict"]) == ("2", "allowed")
    (change,) = found["changes"]
    assert (change["verdict"], change["level"], change["key"]) == ("needsForce", "Instance", "00091010")
    (element,) = change["elements"]
    assert element["new"] == "c2hvcnQ="
    assert (len(element["old"]), element["oldLength"]) == (2_000, 50_000)
    client.update_image_set_metadata(
        datastoreId=datastore,
        imageSetId=made.id,
        latestVersionId="1",
        force=True,
        updateImageSetMetadataUpdates={"DICOMUpdates": {"updatableAttributes": blob}},
    )
    (newest, _) = root("GET", f"{path}/versions")["versions"]
    assert (newest["kind"], newest["forced"], newest["touched"]) == ("updated", True, 1)
    (changed,) = root("GET", f"{path}/diff?from=1&to=2")["instances"]
    assert (changed["change"], changed["versionId"]) == ("changed", "2")

    arn = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{datastore}"
    names = ["GetImageSet", "GetImageSetMetadata", "ListImageSetVersions"]
    reader = limited(allow([f"medical-imaging:{name}" for name in names], [arn, f"{arn}/imageset/{made.id}"]))
    assert reader("GET", f"{path}/diff?from=2&to=1")["newVersionId"] == "1"
    assert reader.refused("POST", f"{path}/preview", body)[0] == 403
    # As the update itself, which would change the whole study.
    names = ["GetImageSetMetadata", "UpdateImageSetMetadata"]
    writer = limited(
        allow([f"medical-imaging:{name}" for name in names], [arn, f"{arn}/imageset/{made.id}"]),
        name="writer",
    )
    body["latestVersionId"] = "2"
    assert writer("POST", f"{path}/preview", body)["nextVersionId"] == "3"
    assert writer.refused("POST", f"{path}/preview", {**body, "includeStudyImageSets": True})[0] == 403
    other = limited(allow("medical-imaging:GetImageSet", "*"), name="other")
    for refused in (path, f"{path}/versions", f"{path}/diff?from=1&to=2"):
        assert other.refused("GET", refused)[0] == 403
    assert root.refused("GET", f"{path}/diff?from=1")[0] == 400
    for unknown in (f"{path}?version=x", f"{path}/diff?from=1.0&to=2"):
        assert root.refused("GET", unknown)[0] == 404
    assert root.refused("GET", f"{path}/versions?nextToken=x")[0] == 400
    assert root.refused("GET", f"datastores/{datastore}/imagesets/{'0' * 32}")[0] == 404


def test_deletes_what_was_seen_only(
    server: Server, root: ConsoleClient, limited: Callable[..., ConsoleClient]
) -> None:
    store = new(server)
    store.store(ct(1, study="81"))
    (found,) = store.sets()
    path = f"datastores/{store.datastore}/imagesets/{found['imageSetId']}"
    seen = root("GET", path)
    assert (seen["latestVersionId"], seen["instanceCount"]) == ("1", 1)
    # While the person reads what would go, others store into the image set.
    store.store(ct(2, study="81"), ct(3, study="81"))

    status, name, message = root.refused("DELETE", f"{path}?latestVersionId={seen['latestVersionId']}")
    assert (status, name) == (409, "ConflictException")
    assert message.startswith("It was not deleted") and "3 instances now, in version 2" in message
    now = root("GET", path)
    assert (now["latestVersionId"], now["instanceCount"]) == ("2", 3)
    for unnamed in ("", "?latestVersionId=", "?latestVersionId=latest", "?latestVersionId=2.0"):
        status, _, message = root.refused("DELETE", path + unnamed)
        assert status == 400 and "version that you have seen" in message

    arn = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{store.datastore}"
    reader = limited(allow("medical-imaging:Get*", [arn, f"{arn}/*"]), name="only-reads")
    assert reader.refused("DELETE", f"{path}?latestVersionId=2")[0] == 403
    deleter = limited(allow("medical-imaging:DeleteImageSet", [arn, f"{arn}/*"]), name="deletes")
    assert deleter("DELETE", f"{path}?latestVersionId=2", status=204) is None
    assert store.is_empty()
    assert root.refused("DELETE", f"{path}?latestVersionId=2")[0] == 404
