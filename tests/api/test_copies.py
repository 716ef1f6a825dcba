"""CopyImageSet: into new sets and into others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.api.copying import SERIES, Copied, Maker, subset
from tests.api.rows import delete_image_set, insert_image_set
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance
from tests.support.server import Server

Refused = Callable[..., str]
ARN = "arn:aws:medical-imaging:us-east-1:000000000000:datastore/{}/imageset/{}"
DONT_MATCH = "INVALID_REQUEST:  {} of SourceImageSet and DestinationImageSet don't match."


@pytest.fixture
def make(client: Any, server: Server, datastore: str) -> Iterator[Maker]:
    stores = image_set_builders.open_at(server.data, server.database_url)
    yield Maker(client, stores, datastore)
    stores.close()


def patient(**attributes: Any) -> Any:
    return {"Patient": {"DICOM": attributes}}


def study(**attributes: Any) -> Any:
    return {"Study": {"DICOM": attributes}}


def test_answers_as_the_service_does(make: Maker) -> None:
    source = make(versions=({}, {}))
    before = source.properties()
    answer = source.copy(2)
    del answer["ResponseMetadata"]
    made, copied = answer["destinationImageSetProperties"], answer["sourceImageSetProperties"]
    id = made["imageSetId"]
    assert answer["datastoreId"] == make.datastore
    assert {**copied, "updatedAt": None} == {
        "imageSetId": source.id,
        "latestVersionId": "2",
        "imageSetState": "LOCKED",
        "imageSetWorkflowStatus": "COPYING_WITH_READ_ONLY_ACCESS",
        "createdAt": before["createdAt"],
        "updatedAt": None,
        "imageSetArn": ARN.format(make.datastore, source.id),
    }
    assert made == {
        "imageSetId": id,
        "latestVersionId": "1",
        "imageSetState": "LOCKED",
        "imageSetWorkflowStatus": "COPYING",
        "createdAt": copied["updatedAt"],
        "updatedAt": copied["updatedAt"],
        "imageSetArn": ARN.format(make.datastore, id),
    }
    assert source.properties() == before


def test_makes_a_new_set_that_is_not_primary(make: Maker) -> None:
    source = make(is_primary=True)
    copied = source.made()
    found = copied.properties()
    assert copied.status() == ("1", "ACTIVE", "COPIED")
    assert (found["isPrimary"], found["createdAt"]) == (False, found["updatedAt"])
    assert "message" not in found and "overrides" not in found
    assert copied.statuses() == [("1", "COPIED")]
    assert copied.text() == source.text().replace(source.id, copied.id)
    summaries = make.client.search_image_sets(datastoreId=make.datastore, searchCriteria={})
    one, other = (
        next(s for s in summaries["imageSetsMetadataSummaries"] if s["imageSetId"] == each.id)
        for each in (source, copied)
    )
    assert (other["version"], other["isPrimary"]) == (1, False)
    assert one["DICOMTags"] == other["DICOMTags"]


def test_shares_the_frames(make: Maker) -> None:
    source = make()
    copied = source.made()
    for uid, shown in source.instances().items():
        (frame,) = shown["ImageFrames"]
        assert copied.instances()[uid]["ImageFrames"] == [frame]
        assert source.frame(frame["ID"]) == copied.frame(frame["ID"]) == f"frame {uid}".encode()


def test_copies_copies_and_edits_and_the_latest_version_only(make: Maker) -> None:
    source = make()
    source.update(1, patient(PatientName="NEW^NAME"))
    of_instance = {"Series": {SERIES: {"Instances": {"1.2": {"DICOM": {"SliceLocation": "7"}}}}}}
    source.update(2, {"Study": of_instance})
    renamed = {"Series": {SERIES: {"Instances": {"1.3": {"DICOM": {"SOPInstanceUID": "9.9"}}}}}}
    source.update(3, {"Study": renamed}, force=True)
    copied = source.made(4).made().made()
    assert copied.text() == source.text().replace(source.id, copied.id)
    assert list(copied.instances()) == ["1.1", "1.2", "9.9"]
    assert copied.statuses() == [("1", "COPIED")]
    copied.update(1, patient(PatientName="OTHER"))
    assert source.document()["Patient"]["DICOM"]["PatientName"] == "NEW^NAME"
    for uid, shown in copied.instances().items():
        assert copied.frame(shown["ImageFrames"][0]["ID"]) == source.frame(shown["ImageFrames"][0]["ID"])
        assert uid in source.instances()


def test_copies_what_held_before_a_version_that_failed(make: Maker) -> None:
    source, other = make(), make("2.1", patient={"PatientID": "P2"})
    other.copy(1, source)
    assert source.status() == ("2", "ACTIVE", "COPY_FAILED")
    copied = source.made(2)
    assert copied.text() == source.text(1).replace(source.id, copied.id)


@pytest.mark.parametrize("version", ["1.1", 1.1])
def test_copies_the_instances_that_are_named(make: Maker, version: Any) -> None:
    source = make()
    copied = source.made(only=subset("1.3", "1.1", version=version))
    assert list(copied.instances()) == ["1.1", "1.3"]
    assert copied.instances()["1.3"] == source.instances()["1.3"]
    whole = {"SchemaVersion": version, "Study": {"Series": {SERIES: {}}}}
    assert list(source.made(only=whole).instances()) == ["1.1", "1.2", "1.3"]
    tags = make.client.search_image_sets(
        datastoreId=make.datastore,
        searchCriteria={"sort": {"sortField": "createdAt", "sortOrder": "DESC"}},
    )["imageSetsMetadataSummaries"]
    counts = [one["DICOMTags"]["DICOMNumberOfStudyRelatedInstances"] for one in tags[:2]]
    assert sorted(counts) == [2, 3]


def test_gives_a_subset_the_levels_of_its_own_instances(make: Maker) -> None:
    source = make(
        BuiltInstance("1.1", 1),
        BuiltInstance("1.2", 2, patient={"PatientID": "P1", "PatientName": "DOE^J"}),
        BuiltInstance("1.3", 3, patient={"PatientID": "P1", "PatientName": "DOE^J"}),
    )
    source.update(1, study(StudyDescription="HEAD"))
    copied = source.made(2, only=subset("1.3"))
    assert copied.document()["Patient"]["DICOM"] == {"PatientID": "P1", "PatientName": "DOE^J"}
    assert copied.document()["Study"]["DICOM"]["StudyDescription"] == "HEAD"
    assert "PatientName" not in copied.instances()["1.3"]["DICOM"]
    filters = [{"operator": "EQUAL", "values": [{"DICOMPatientId": "P1"}]}]
    found = make.client.search_image_sets(datastoreId=make.datastore, searchCriteria={"filters": filters})[
        "imageSetsMetadataSummaries"
    ]
    names = {one["imageSetId"]: one["DICOMTags"]["DICOMPatientName"] for one in found}
    assert names == {source.id: "DOE^JANE", copied.id: "DOE^J"}


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("no json", "not valid JSON"),
        ("[]", "must be an object"),
        ({"Study": {"Series": {SERIES: {"Instances": {"1.1": {}}}}}}, "SchemaVersion must be 1.1"),
        (subset("1.1", version="1.0"), "SchemaVersion must be 1.1"),
        (subset("1.1", version=True), "SchemaVersion must be 1.1"),
        ({"SchemaVersion": "1.1"}, "names no instance"),
        ({"SchemaVersion": "1.1", "Study": {"Series": {}}}, "names no instance"),
        (subset(), "names no instance"),
        (subset("1.1", "1.4"), "has no instance 1.4"),
        (subset("1.1", series="1.2.4.6"), "has no series 1.2.4.6"),
        (subset("1.1", series="imageSetId"), "has no series imageSetId"),
        ({**subset("1.1"), "Patient": {"DICOM": {"PatientName": "X"}}}, "copied as they are"),
        ({**subset("1.1"), "Patient": "P1"}, "must be an object"),
        ({**subset("1.1"), "Other": {}}, "has no member"),
        (
            {
                "SchemaVersion": 1.1,
                "Study": {"Series": {SERIES: {"Instances": {"1.1": {"DICOM": {"Rows": 3}}}}}},
            },
            "copied as they are",
        ),
        ('{"SchemaVersion":"1.1","SchemaVersion":"1.1","Study":{"Series":{}}}', "given twice"),
    ],
)
def test_refuses_a_subset_of_another_form(make: Maker, refused: Refused, only: Any, message: str) -> None:
    source = make()
    assert message in refused("ValidationException", source.copy, only=only)
    assert make.events(source) == []


def test_names_instances_by_the_uids_that_they_have_by_now(make: Maker, refused: Refused) -> None:
    source = make()
    renamed = {"Series": {SERIES: {"Instances": {"1.3": {"DICOM": {"SOPInstanceUID": "9.9"}}}}}}
    source.update(1, {"Study": renamed}, force=True)
    source.update(2, {"Study": {"Series": {SERIES: {"DICOM": {"SeriesInstanceUID": "1.77"}}}}}, force=True)
    refused("ValidationException", source.copy, version=3, only=subset("1.3", series="1.77"))
    refused("ValidationException", source.copy, version=3, only=subset("9.9"))
    copied = source.made(3, only=subset("9.9", series="1.77"))
    assert list(copied.document()["Study"]["Series"]) == ["1.77"]
    assert list(copied.instances()) == ["9.9"]


def test_adds_instances_to_another_set_as_its_next_version(make: Maker) -> None:
    source, target = make("2.1", "2.2"), make()
    before = target.text()
    answer = source.copy(1, target)
    made = answer["destinationImageSetProperties"]
    assert (made["imageSetId"], made["latestVersionId"]) == (target.id, "2")
    assert (made["imageSetState"], made["imageSetWorkflowStatus"]) == ("LOCKED", "COPYING")
    assert target.status() == ("2", "ACTIVE", "COPIED")
    assert target.statuses() == [("2", "COPIED"), ("1", "CREATED")]
    assert sorted(target.instances()) == ["1.1", "1.2", "1.3", "2.1", "2.2"]
    assert target.instances()["2.1"] == source.instances()["2.1"]
    assert target.text(1) == before
    assert "overrides" not in target.properties()
    frame = source.instances()["2.2"]["ImageFrames"][0]["ID"]
    assert target.frame(frame) == b"frame 2.2"
    source.made(1, only=subset("2.1")).copy(1, make("3.1"))


def test_adds_a_subset_to_another_set(make: Maker) -> None:
    source, target = make("2.1", "2.2"), make("1.1")
    source.copy(1, target, only=subset("2.2"))
    assert sorted(target.instances()) == ["1.1", "2.2"]
    source.copy(1, target, 2, only=subset("2.1"))
    assert sorted(target.instances()) == ["1.1", "2.1", "2.2"]
    found = make.client.search_image_sets(datastoreId=make.datastore, searchCriteria={})
    counts = {
        one["imageSetId"]: one["DICOMTags"]["DICOMNumberOfStudyRelatedInstances"]
        for one in found["imageSetsMetadataSummaries"]
    }
    assert counts == {source.id: 2, target.id: 3}


@pytest.mark.parametrize(
    ("level", "block"),
    [
        ("Patient", {"patient": {"PatientName": "DOE^JOHN"}}),
        ("Patient", {"patient": {"PatientComments": "x"}, "series": {"SeriesNumber": "2"}}),
        ("Study", {"study": {"StudyDescription": "HEAD"}}),
        ("Series", {"series": {"SeriesInstanceUID": "1.2.4.6"}}),
        ("Series", {"series": {"SeriesNumber": "2"}}),
    ],
)
def test_fails_where_levels_do_not_match(make: Maker, level: str, block: Any) -> None:
    source, target = make("2.1", **block), make(last_accessed_at=image_set_builders.NOW + 7)
    before, read = target.text(), target.properties()
    answer = source.copy(1, target)
    assert answer["destinationImageSetProperties"]["latestVersionId"] == "2"
    assert answer["destinationImageSetProperties"]["imageSetWorkflowStatus"] == "COPYING"
    found = target.properties()
    assert target.status() == ("2", "ACTIVE", "COPY_FAILED")
    assert found["message"] == DONT_MATCH.format(level)
    assert (found["lastAccessedAt"], found["updatedAt"] > read["updatedAt"]) == (read["lastAccessedAt"], True)
    assert target.text() == before
    assert source.status() == ("1", "ACTIVE", "CREATED")
    assert "message" not in target.properties(1)
    # The failed version is the one to build on.
    assert make.events(source, target)[2][0] == "Copy Failed"


def test_forces_instances_into_a_set_whose_levels_stay(make: Maker) -> None:
    source = make(
        "2.1",
        BuiltInstance("2.2", 2, patient={"PatientID": "P2", "PatientName": "DOE^J", "EthnicGroup": "x"}),
        patient={"PatientID": "P2", "PatientName": "DOE^JOHN", "PatientComments": "x"},
        study={"StudyInstanceUID": "1.2.3.9", "StudyDescription": "HEAD"},
        series={"SeriesInstanceUID": "1.2.4.9", "Modality": "MR"},
    )
    target = make()
    before = target.document()
    source.copy(1, target, force=True)
    found = target.properties()
    assert target.status() == ("2", "ACTIVE", "COPIED")
    assert found["overrides"] == {"forced": True}
    assert "overrides" not in target.properties(1)
    after = target.document()
    (series_before,), (series_after,) = (d["Study"]["Series"].values() for d in (before, after))
    assert after["Patient"] == before["Patient"]
    assert after["Study"]["DICOM"] == before["Study"]["DICOM"]
    assert series_after["DICOM"] == series_before["DICOM"]
    assert list(after["Study"]["Series"]) == [SERIES]
    shown = series_after["Instances"]
    assert shown["2.1"] == source.instances()["2.1"]
    # Where both sets show the same, and in what neither does, an instance keeps what is its own.
    assert shown["2.2"]["DICOM"] == {"EthnicGroup": "x", "SOPInstanceUID": "2.2", "PatientSex": None}
    # The values that are hidden now do not come back in a copy of the instance.
    again = target.made(2, only=subset("2.1"))
    assert again.document()["Patient"] == before["Patient"]
    assert again.document()["Study"]["DICOM"] == before["Study"]["DICOM"]
    assert list(again.document()["Study"]["Series"]) == [SERIES]


def test_takes_padding_and_emptiness_for_no_difference(make: Maker) -> None:
    source = make("2.1", patient={"PatientName": "DOE^JANE ", "PatientComments": None, "EthnicGroup": ""})
    target = make()
    source.copy(1, target)
    assert target.status() == ("2", "ACTIVE", "COPIED")


def test_takes_edits_of_levels_along(make: Maker) -> None:
    source = make("2.1", patient={"PatientName": "WRONG", "PatientComments": "x"})
    source.update(1, patient(PatientName="DOE^JANE"))
    removal = json.dumps({"SchemaVersion": 1.1, **patient(PatientComments="x")})
    make.client.update_image_set_metadata(
        **source.ids,
        latestVersionId="2",
        updateImageSetMetadataUpdates={"DICOMUpdates": {"removableAttributes": removal}},
    )
    target = make()
    source.copy(3, target)
    assert target.status() == ("2", "ACTIVE", "COPIED")
    assert target.instances()["2.1"] == source.instances()["2.1"]
    assert "PatientName" not in target.instances()["2.1"]["DICOM"]
    # Not even when the levels pass to the instance.
    copied = target.made(2, only=subset("2.1"))
    assert copied.document()["Patient"]["DICOM"] == {
        "PatientID": "P1",
        "PatientName": "DOE^JANE",
        "PatientSex": "F",
    }


def test_hides_no_value_of_an_instance_under_an_edit_of_the_destination(make: Maker) -> None:
    source = make("2.1", BuiltInstance("2.2", 2, patient={"PatientID": "P1", "PatientName": "DOE^J"}))
    target = make(patient={"PatientName": "WRONG"})
    target.update(1, patient(PatientName="DOE^JANE"))
    source.copy(1, target, 2)
    assert target.status() == ("3", "ACTIVE", "COPY_FAILED")
    assert target.properties()["message"] == DONT_MATCH.format("Patient")
    source.copy(1, target, 3, only=subset("2.1"))
    assert target.status() == ("4", "ACTIVE", "COPIED")
    source.copy(1, target, 4, only=subset("2.2"), force=True)
    assert target.status() == ("5", "ACTIVE", "COPIED")
    assert "PatientName" not in target.instances()["2.2"]["DICOM"]


def test_adds_instances_to_a_set_with_the_same_edits(make: Maker) -> None:
    source, target = make("2.1"), make()
    source.update(1, patient(PatientName="ALL"))
    target.update(1, patient(PatientName="ALL"))
    source.copy(2, target, 2)
    assert target.status() == ("3", "ACTIVE", "COPIED")
    assert "PatientName" not in target.instances()["2.1"]["DICOM"]


@pytest.mark.parametrize("force", [False, True])
def test_fails_where_an_instance_would_stand_twice(make: Maker, force: bool) -> None:
    source, target = make("2.1", "1.2"), make()
    source.copy(1, target, force=force)
    assert target.status() == ("2", "ACTIVE", "COPY_FAILED")
    found = target.properties()
    assert found["message"] == (
        "INVALID_REQUEST:  SOPInstanceUID 1.2 of SourceImageSet is in DestinationImageSet already."
    )
    assert found.get("overrides") == ({"forced": True} if force else None)
    assert list(target.instances()) == ["1.1", "1.2", "1.3"]
    source.copy(1, target, 2, only=subset("2.1"))
    assert target.status() == ("3", "ACTIVE", "COPIED")


def test_tells_stale_versions_in_the_words_of_the_service(make: Maker, refused: Refused) -> None:
    source, target = make("2.1", versions=({}, {})), make(versions=({}, {}))
    for arguments in ((1,), (3,), ("0",), (1, target, 2), (2, target, 1), (2, target, 3)):
        message = refused("ResourceNotFoundException", partial(source.copy, *arguments))
        assert message == "Requested version(s) of ImageSet(s) is not the latest."
    assert (source.status()[0], target.status()[0]) == ("2", "2")


def test_refuses_what_is_not_there_or_not_possible(
    make: Maker, refused: Refused, client: Any, server: Server
) -> None:
    source, gone = make(), make()
    elsewhere = client.create_datastore(datastoreName="other")["datastoreId"]
    with server.database() as db:
        delete_image_set(db, gone.id)
        empty = Copied(client, make.datastore, insert_image_set(db, make.datastore))
    nowhere = Copied(client, make.datastore, "0" * 32)
    for call in (
        lambda: nowhere.copy(),
        lambda: source.copy(1, nowhere),
        lambda: gone.copy(),
        lambda: source.copy(1, gone),
        lambda: Copied(client, elsewhere, source.id).copy(),
        lambda: Copied(client, "0" * 32, source.id).copy(),
    ):
        assert "latest" not in refused("ResourceNotFoundException", call)
    for call in (lambda: empty.copy(), lambda: source.copy(1, empty)):
        assert "no content" in refused("ConflictException", call)
    assert "different image sets" in refused("ValidationException", source.copy, to=source)
    for flags in ({}, {"force": True}):
        message = refused("ValidationException", source.copy, to=nowhere, promoteToPrimary=True, **flags)
        assert "cannot be combined with destinationImageSet" in message
    assert make.events(source) == []


def test_writes_events_in_order(make: Maker) -> None:
    source, target = make("2.1", is_primary=True), make()
    copied = source.made()
    source.copy(1, target)
    source.copy(1, target, 2)
    read_only = (0, "1", "LOCKED", "COPYING_WITH_READ_ONLY_ACCESS", True, None)
    arn = ARN.format(make.datastore, source.id)
    assert make.events(source, target, copied) == [
        ("Copying With Read Only Access", *read_only),
        ("Copying", 2, "1", "LOCKED", "COPYING", False, arn),
        ("Copied", 2, "1", "ACTIVE", "COPIED", False, None),
        ("Copying With Read Only Access", *read_only),
        ("Copying", 1, "2", "LOCKED", "COPYING", False, arn),
        ("Copied", 1, "2", "ACTIVE", "COPIED", False, None),
        ("Copying With Read Only Access", *read_only),
        ("Copying", 1, "3", "LOCKED", "COPYING", False, arn),
        ("Copy Failed", 1, "3", "ACTIVE", "COPY_FAILED", False, None),
    ]


def test_counts_as_an_access_to_the_destination_only(make: Maker) -> None:
    source, target = make("2.1"), make()
    before = source.properties()
    source.copy(1, target)
    assert source.properties() == before
    assert target.properties()["lastAccessedAt"] == target.properties()["updatedAt"] > before["updatedAt"]
    copied = source.made()
    assert copied.properties()["lastAccessedAt"] == copied.properties()["createdAt"]
    assert copied.properties()["storageTier"] == "FREQUENT_ACCESS"


def test_hands_no_tags_on(make: Maker, client: Any) -> None:
    source = make()
    client.tag_resource(resourceArn=ARN.format(make.datastore, source.id), tags={"a": "b"})
    copied = source.made()
    arn = ARN.format(make.datastore, copied.id)
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {}


def test_keeps_copies_when_their_source_is_deleted(make: Maker, client: Any) -> None:
    source = make()
    frame = source.instances()["1.1"]["ImageFrames"][0]["ID"]
    copied = source.made()
    client.delete_image_set(**source.ids)
    assert copied.frame(frame) == b"frame 1.1"
    assert list(copied.instances()) == ["1.1", "1.2", "1.3"]


def test_goes_back_to_what_was_there_before_a_copy(make: Maker, client: Any) -> None:
    source, target = make("2.1", patient={"PatientName": "X"}), make()
    before = target.text()
    source.copy(1, target, force=True)
    merged = target.text()
    for version, to in ((2, "1"), (3, "2")):
        client.update_image_set_metadata(
            **target.ids,
            latestVersionId=str(version),
            updateImageSetMetadataUpdates={"revertToVersionId": to},
        )
    assert [target.text(n) for n in (1, 2, 3, 4)] == [before, merged, before, merged]
