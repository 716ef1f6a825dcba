"""UpdateImageSetMetadata: what it changes, what it leaves alone, and what it refuses."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select

from lightwell.stores import Stores
from lightwell.stores.account import datastores
from lightwell.stores.db import tables
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance, BuiltSet
from tests.support.server import Server

Refused = Callable[..., str]

SERIES, STUDY = "1.2.4.5", "1.2.3.4"


@pytest.fixture
def stores(server: Server) -> Iterator[Stores]:
    found = image_set_builders.open_at(server.data, server.database_url)
    yield found
    found.close()


class Target:
    """An image set to be updated."""

    def __init__(self, client: Any, built: BuiltSet, series: str = SERIES) -> None:
        self.client = client
        self.built = built
        self.series = series
        self.ids = {"datastoreId": built.datastore_id, "imageSetId": built.id}

    def update(
        self,
        version: int | str = 1,
        *,
        updatable: Any = None,
        removable: Any = None,
        revert: str | None = None,
        **flags: Any,
    ) -> Any:
        """One request. Blobs are given as objects or as text."""
        updates: dict[str, Any] = {}
        if revert is not None:
            updates = {"revertToVersionId": revert}
        else:
            blobs = {"updatableAttributes": updatable, "removableAttributes": removable}
            updates = {
                "DICOMUpdates": {
                    name: blob if isinstance(blob, str | bytes) else json.dumps(blob)
                    for name, blob in blobs.items()
                    if blob is not None
                }
            }
        return self.client.update_image_set_metadata(
            **self.ids, latestVersionId=str(version), updateImageSetMetadataUpdates=updates, **flags
        )

    def text(self, version: int | None = None) -> str:
        """The document, as it came."""
        more = {} if version is None else {"versionId": str(version)}
        answer = self.client.get_image_set_metadata(**self.ids, **more)
        return gzip.decompress(answer["imageSetMetadataBlob"].read()).decode()

    def document(self, version: int | None = None) -> Any:
        return json.loads(self.text(version))

    def properties(self, version: int | None = None) -> Any:
        more = {} if version is None else {"versionId": str(version)}
        return self.client.get_image_set(**self.ids, **more)

    def summary(self) -> Any:
        found = self.client.search_image_sets(datastoreId=self.built.datastore_id, searchCriteria={})
        return next(s for s in found["imageSetsMetadataSummaries"] if s["imageSetId"] == self.built.id)

    def instances(self, version: int | None = None) -> Any:
        return self.document(version)["Study"]["Series"][self.series]["Instances"]


def patient(dicom: Any) -> Any:
    return {"SchemaVersion": 1.1, "Patient": {"DICOM": dicom}}


def study(dicom: Any) -> Any:
    return {"SchemaVersion": 1.1, "Study": {"DICOM": dicom}}


def series(dicom: Any) -> Any:
    return {"SchemaVersion": 1.1, "Study": {"Series": {SERIES: {"DICOM": dicom}}}}


def instance(uid: str, dicom: Any, **more: Any) -> Any:
    return instances({uid: {"DICOM": dicom, **more}})


def instances(of: Any) -> Any:
    return {"SchemaVersion": 1.1, "Study": {"Series": {SERIES: {"Instances": of}}}}


Make = Callable[..., Target]


@pytest.fixture
def make(client: Any, stores: Stores, datastore: str) -> Make:
    """Builds sets of one data store; by default not primary, with three instances."""

    def build(*given: BuiltInstance, **more: Any) -> Target:
        with stores.db.read() as conn:
            store = datastores.get(conn, datastore)
        assert store is not None
        found = list(given) or [
            BuiltInstance(
                f"1.{number}",
                number,
                {"SliceLocation": f"{number}.50", "Rows": 3, "WindowCenter": ["40", "80"]},
                [b"frame %d" % number],
            )
            for number in (1, 2, 3)
        ]
        blocks: dict[str, Any] = {
            "patient": {"PatientID": "P1", "PatientName": "DOE^JANE", "PatientSex": None},
            "study": {
                "AccessionNumber": "A1",
                "PatientAge": "040Y",
                "StudyDate": "20200102",
                "StudyDescription": "CHEST ",
                "StudyID": "S1",
                "StudyInstanceUID": STUDY,
            },
            "series": {"Modality": "CT", "SeriesInstanceUID": SERIES, "SeriesNumber": "1 "},
        }
        built = image_set_builders.image_set(
            stores, found, store=(store.key, store.id), **{**blocks, "is_primary": False, **more}
        )
        uid = more.get("series", blocks["series"])["SeriesInstanceUID"]
        return Target(client, built, uid)

    return build


def test_answers_that_the_set_is_locked_and_ends_updated(make: Make) -> None:
    target = make()
    created = target.properties()["createdAt"]
    answer = target.update(updatable=patient({"PatientName": "A^B"}))
    del answer["ResponseMetadata"]
    updated = answer.pop("updatedAt")
    assert answer == {
        **target.ids,
        "latestVersionId": "2",
        "imageSetState": "LOCKED",
        "imageSetWorkflowStatus": "UPDATING",
        "createdAt": created,
    }
    after = target.properties()
    assert (after["versionId"], after["imageSetState"], after["imageSetWorkflowStatus"]) == (
        "2",
        "ACTIVE",
        "UPDATED",
    )
    assert (after["updatedAt"], after["createdAt"], after["isPrimary"]) == (updated, created, False)
    assert "overrides" not in after and "message" not in after
    assert after["lastAccessedAt"] == updated
    listed = target.client.list_image_set_versions(**target.ids)["imageSetPropertiesList"]
    assert [(v["versionId"], v["ImageSetWorkflowStatus"]) for v in listed] == [
        ("2", "UPDATED"),
        ("1", "CREATED"),
    ]


def test_changes_one_attribute_and_not_another_byte(make: Make) -> None:
    target = make()
    first = target.text()
    steps: list[tuple[Any, str, str]] = [
        (patient({"PatientName": "Ä^B"}), '"PatientName":"DOE^JANE"', '"PatientName":"Ä^B"'),
        (patient({"EthnicGroup": "x"}), '{"PatientID"', '{"EthnicGroup":"x","PatientID"'),
        (study({"StudyDescription": "HEAD"}), '"StudyDescription":"CHEST "', '"StudyDescription":"HEAD"'),
        (study({"StudyTime": "1015"}), f'"{STUDY}"}}', f'"{STUDY}","StudyTime":"1015"}}'),
        (study({"PatientWeight": 71}), '"StudyDate"', '"PatientWeight":"71","StudyDate"'),
        (study({"PregnancyStatus": 4}), '"StudyDate"', '"PregnancyStatus":4,"StudyDate"'),
        (series({"SeriesNumber": "2"}), '"SeriesNumber":"1 "', '"SeriesNumber":"2"'),
        (series({"BodyPartExamined": "HEAD"}), '{"Modality"', '{"BodyPartExamined":"HEAD","Modality"'),
        (instance("1.2", {"SliceLocation": "7"}), '"SliceLocation":"2.50"', '"SliceLocation":"7"'),
        (
            instance("1.2", {"AcquisitionNumber": "5"}),
            '"SliceLocation":"7"',
            '"AcquisitionNumber":"5","SliceLocation":"7"',
        ),
    ]
    text = first
    for version, (blob, old, new) in enumerate(steps, 1):
        target.update(version, updatable=blob)
        text = text.replace(old, new, 1)
        assert target.text() == text
    assert target.text(1) == first


def test_puts_new_attributes_of_an_instance_into_tag_order(make: Make) -> None:
    target = make()
    target.update(
        updatable=instance(
            "1.1", {"ContentDate": "20200101", "KVP": "120", "WindowCenterWidthExplanation": None}
        ),
        force=True,
    )
    keys = list(target.instances()["1.1"]["DICOM"])
    assert keys.index("KVP") > keys.index("ContentDate")


def test_makes_search_find_the_new_values_only(make: Make) -> None:
    target = make()
    target.update(
        updatable={
            **patient({"PatientID": "P2"}),
            **study({"StudyDate": "20210304", "AccessionNumber": None}),
        }
    )
    tags = target.summary()["DICOMTags"]
    assert (tags["DICOMPatientId"], tags["DICOMStudyDate"]) == ("P2", "20210304")
    assert "DICOMAccessionNumber" not in tags
    for value, count in (("P1", 0), ("P2", 1)):
        filters = [{"operator": "EQUAL", "values": [{"DICOMPatientId": value}]}]
        found = target.client.search_image_sets(
            datastoreId=target.built.datastore_id, searchCriteria={"filters": filters}
        )
        assert len(found["imageSetsMetadataSummaries"]) == count


@pytest.mark.parametrize(
    ("key", "given", "shown"),
    [
        ("PatientSex", "F", "F"),
        ("PatientSex", "", None),
        ("PatientSex", "  ", None),
        ("PatientName", None, None),
        ("PatientName", "A^B ", "A^B"),
        ("PatientName", "A^B=Ä^Ö", "A^B=Ä^Ö"),
        ("PatientComments", "two\nlines ", "two\nlines"),
        ("PatientBirthDate", "19800229", "19800229"),
        ("PatientBirthTime", "101112.5", "101112.5"),
    ],
)
def test_types_values_as_documents_do(make: Make, key: str, given: Any, shown: Any) -> None:
    target = make()
    target.update(updatable=patient({key: given}))
    assert target.document()["Patient"]["DICOM"][key] == shown


@pytest.mark.parametrize(
    ("key", "given", "shown"),
    [
        ("Rows", 512, 512),
        ("Rows", "512", 512),
        ("Rows", 512.0, 512),
        ("Rows", None, None),
        ("SliceThickness", 1.5, "1.5"),
        ("SliceThickness", "1.50 ", "1.50 "),
        ("InstanceNumber", 7, "7"),
        ("ImageType", ["A", "", "C"], ["A", "", "C"]),
        ("ImageType", "A\\B", ["A", "B"]),
        ("ImageType", "A", ["A"]),
        ("WindowCenter", [40, "80"], ["40", "80"]),
        ("ImageType", [], None),
        ("FrameIncrementPointer", "00181065", ["00181065"]),
        ("ReferencePixelPhysicalValueX", 0.1, 0.1),
        ("ReferencePixelPhysicalValueX", 3.0, 3),
        ("RedPaletteColorLookupTableData", "AAE=", "AAE="),
        ("SmallestImagePixelValue", -3, -3),
        ("ReferencedImageSequence", [], None),
        (
            "ReferencedImageSequence",
            [{"ReferencedSOPInstanceUID": "1.2", "ReferencedFrameNumber": 3}],
            [{"ReferencedSOPInstanceUID": "1.2", "ReferencedFrameNumber": ["3"]}],
        ),
    ],
)
def test_types_values_of_instances_as_documents_do(make: Make, key: str, given: Any, shown: Any) -> None:
    target = make()
    target.update(updatable=instance("1.1", {key: given}), force=True)
    assert target.instances()["1.1"]["DICOM"][key] == shown
    assert target.instances()["1.2"] == target.instances(1)["1.2"]


def test_removes_attributes_at_every_level(make: Make) -> None:
    target = make()
    before = target.text()
    target.update(1, removable=patient({"PatientSex": ""}))
    target.update(2, removable=study({"StudyDescription": "CHEST"}))
    target.update(3, removable=series({"SeriesNumber": "1"}))
    target.update(4, removable=instance("1.1", {"SliceLocation": "1.50", "Rows": 3.0}))
    for gone in (
        ',"PatientSex":null',
        '"StudyDescription":"CHEST ",',
        ',"SeriesNumber":"1 "',
        '"SliceLocation":"1.50","Rows":3,',
    ):
        assert gone in before
        before = before.replace(gone, "", 1)
    assert target.text() == before
    assert "DICOMSeriesNumber" not in target.summary()["DICOMTags"]


def test_removes_before_it_updates(make: Make) -> None:
    target = make()
    target.update(
        removable=study({"StudyDescription": "CHEST", "PatientAge": "040Y"}),
        updatable=study({"StudyDescription": "HEAD"}),
    )
    shown = target.document()["Study"]["DICOM"]
    assert shown["StudyDescription"] == "HEAD"
    assert "PatientAge" not in shown


def test_removes_instances_and_keeps_their_older_versions(make: Make) -> None:
    target = make()
    frame = target.instances()["1.2"]["ImageFrames"][0]["ID"]
    target.update(removable=instances({"1.2": {}}))
    assert list(target.instances()) == ["1.1", "1.3"]
    assert list(target.instances(1)) == ["1.1", "1.2", "1.3"]
    assert target.summary()["DICOMTags"]["DICOMNumberOfStudyRelatedInstances"] == 2
    answer = target.client.get_image_frame(**target.ids, imageFrameInformation={"imageFrameId": frame})
    assert answer["imageFrameBlob"].read() == b"frame 2"


def test_gives_the_levels_to_the_oldest_instance_left(make: Make) -> None:
    other = {"PatientID": "P1", "PatientName": "DOE^J"}
    target = make(
        BuiltInstance("1.1", 1),
        BuiltInstance("1.2", 2, patient=other),
        BuiltInstance("1.3", 3, patient=other),
        patient={"PatientID": "P1", "PatientName": "DOE^JANE"},
    )
    assert target.instances()["1.2"]["DICOM"]["PatientName"] == "DOE^J"
    target.update(removable=instances({"1.1": {}}))
    assert target.document()["Patient"]["DICOM"]["PatientName"] == "DOE^J"
    assert "PatientName" not in target.instances()["1.2"]["DICOM"]
    assert target.summary()["DICOMTags"]["DICOMPatientName"] == "DOE^J"


def test_sets_the_levels_of_instances_that_differ(make: Make) -> None:
    target = make(
        BuiltInstance("1.1", 1),
        BuiltInstance("1.2", 2, patient={"PatientID": "P1", "PatientName": "DOE^J", "EthnicGroup": "x"}),
        patient={"PatientID": "P1", "PatientName": "DOE^JANE"},
    )
    target.update(1, updatable=instance("1.2", {"PatientName": "Z"}))
    assert target.instances()["1.2"]["DICOM"]["PatientName"] == "Z"
    target.update(2, removable=instance("1.2", {"EthnicGroup": "x"}))
    assert "EthnicGroup" not in target.instances()["1.2"]["DICOM"]
    target.update(3, updatable=patient({"PatientName": "ALL"}))
    assert target.document()["Patient"]["DICOM"]["PatientName"] == "ALL"
    assert "PatientName" not in target.instances()["1.2"]["DICOM"]
    assert target.instances(3)["1.2"]["DICOM"]["PatientName"] == "Z"


def test_adds_changes_and_removes_private_elements_with_force(make: Make) -> None:
    target = make()
    add = instance("1.1", {"001910F9": "97", "00191001": "AAE="}, DICOMVRs={"001910F9": "DS"})
    target.update(1, updatable=add, force=True)
    shown = target.instances()["1.1"]
    assert (shown["DICOM"]["001910F9"], shown["DICOM"]["00191001"]) == ("97", "AAE=")
    assert shown["DICOMVRs"] == {"00191001": "UN", "001910F9": "DS"}
    target.update(2, updatable=instance("1.1", {"001910F9": 98}), force=True)
    assert target.instances()["1.1"]["DICOM"]["001910F9"] == "98"
    target.update(3, removable=instance("1.1", {"001910F9": "98"}), force=True)
    assert target.instances()["1.1"]["DICOMVRs"] == {"00191001": "UN"}
    assert [target.properties(n).get("overrides") for n in (1, 4)] == [None, {"forced": True}]


def test_keeps_the_vr_of_private_elements_inside_of_a_sequence(make: Make) -> None:
    target = make()
    value = [{"00191001": "5", "CodeValue": "x"}]
    blob = instance("1.1", {"ProcedureCodeSequence": value}, DICOMVRs={"00191001": "DS"})
    with pytest.raises(target.client.exceptions.ValidationException, match="Study level"):
        target.update(updatable=blob, force=True)
    blob = instance("1.1", {"RequestSequence": value}, DICOMVRs={"00191001": "DS"})
    with pytest.raises(target.client.exceptions.ValidationException, match="not a DICOM keyword"):
        target.update(updatable=blob, force=True)
    blob = instance("1.1", {"ReferencedImageSequence": value}, DICOMVRs={"00191001": "DS"})
    target.update(updatable=blob, force=True)
    shown = target.instances()["1.1"]
    assert list(shown["DICOM"]["ReferencedImageSequence"][0].items()) == [
        ("CodeValue", "x"),
        ("00191001", "5"),
    ]
    assert shown["DICOMVRs"] == {"00191001": "DS"}


def test_changes_instance_uids_with_force(make: Make) -> None:
    target = make()
    frames = target.instances()["1.1"]["ImageFrames"]
    target.update(updatable=instance("1.1", {"SOPInstanceUID": "9.8.7"}), force=True)
    found = target.instances()
    assert list(found) == ["9.8.7", "1.2", "1.3"]
    assert found["9.8.7"]["DICOM"]["SOPInstanceUID"] == "9.8.7"
    assert found["9.8.7"]["ImageFrames"] == frames
    target.update(2, updatable=instance("9.8.7", {"Rows": 4}))
    assert target.instances()["9.8.7"]["DICOM"]["Rows"] == 4


def test_tests_uniqueness_after_all_renames_of_a_request(make: Make, refused: Refused) -> None:
    target = make()

    def rename(*pairs: tuple[str, str]) -> Any:
        return instances({old: {"DICOM": {"SOPInstanceUID": new}} for old, new in pairs})

    for clash in ([("1.1", "1.2")], [("1.1", "7"), ("1.2", "7")], [("1.1", "1.2"), ("1.2", "1.3")]):
        message = refused("ValidationException", target.update, updatable=rename(*clash), force=True)
        assert "would occur twice" in message
    target.update(updatable=rename(("1.1", "1.2"), ("1.2", "1.1")), force=True)
    found = target.instances()
    assert [(uid, shown["DICOM"]["SliceLocation"]) for uid, shown in found.items()] == [
        ("1.2", "1.50"), ("1.1", "2.50"), ("1.3", "3.50"),
    ]  # fmt: skip
    target.update(2, removable=instances({"1.3": {}}), updatable=rename(("1.1", "1.3")), force=True)
    assert list(target.instances()) == ["1.2", "1.3"]
    assert target.instances()["1.3"]["DICOM"]["SliceLocation"] == "2.50"


def test_moves_a_set_to_another_series_and_study_with_force(make: Make) -> None:
    target = make()
    target.update(
        updatable={
            "SchemaVersion": "1.1",
            "Study": {
                "DICOM": {"StudyInstanceUID": "1.2.77"},
                "Series": {SERIES: {"DICOM": {"SeriesInstanceUID": "1.2.88"}}},
            },
        },
        force=True,
    )
    document = target.document()
    assert document["Study"]["DICOM"]["StudyInstanceUID"] == "1.2.77"
    assert list(document["Study"]["Series"]) == ["1.2.88"]
    assert document["Study"]["Series"]["1.2.88"]["DICOM"]["SeriesInstanceUID"] == "1.2.88"
    assert list(target.document(1)["Study"]["Series"]) == [SERIES]
    tags = target.summary()["DICOMTags"]
    assert (tags["DICOMStudyInstanceUID"], tags["DICOMSeriesInstanceUID"]) == ("1.2.77", "1.2.88")
    target.update(2, revert="1")
    assert target.text() == target.text(1)
    assert target.summary()["DICOMTags"]["DICOMSeriesInstanceUID"] == SERIES


def test_reverts_to_what_an_older_version_holds(make: Make) -> None:
    target = make()
    target.update(1, updatable=patient({"PatientName": "A"}))
    target.update(2, removable=instances({"1.1": {}}), updatable=instance("1.2", {"Rows": 9}))
    texts = [target.text(number) for number in (1, 2, 3)]
    for version, (to, forced) in enumerate([("1", False), ("3", True), ("02", None), ("4", None)], 3):
        more = {} if forced is None else {"force": forced}
        answer = target.update(version, revert=to, **more)
        assert answer["latestVersionId"] == str(version + 1)
        assert target.text() == texts[{"1": 0, "3": 2, "02": 1, "4": 0}[to]]
        assert target.properties().get("overrides") == ({"forced": True} if forced else None)
    assert [target.text(number) for number in (1, 2, 3)] == texts
    assert target.summary()["DICOMTags"]["DICOMNumberOfStudyRelatedInstances"] == 3


def test_refuses_to_revert_to_what_is_no_older_content(make: Make, refused: Refused) -> None:
    target = make(versions=[{}, {"workflow_status": "UPDATE_FAILED"}, {"workflow_status": "UPDATED"}])
    for to, words in (
        ("3", "latest"),
        ("2", "failed"),
        ("4", "no version"),
        ("0", "no version"),
        ("9" * 18, "no"),
    ):
        assert words in refused("ValidationException", target.update, version=3, revert=to)
    message = refused("ValidationException", target.update, version=3, revert="1", includeStudyImageSets=True)
    assert "revert" in message
    assert target.update(3, revert="1")["latestVersionId"] == "4"


@pytest.mark.parametrize("version", ["1", "3", "0", "00", "9" * 18])
def test_refuses_a_version_that_is_not_the_latest(make: Make, refused: Refused, version: str) -> None:
    target = make(versions=[{}, {}])
    for change in ({"updatable": patient({"PatientName": "A"})}, {"revert": "1"}):
        message = refused("ResourceNotFoundException", target.update, version=version, **change)
        assert message == "Requested version(s) of ImageSet(s) is not the latest."


def test_refuses_sets_that_are_not_there(make: Make, refused: Refused) -> None:
    blob = {"updatable": patient({"PatientName": "A"})}
    target = make(state="DELETED", series_instance_uid=None, listed_in=None)
    assert "deleted" in refused("ResourceNotFoundException", target.update, **blob)
    target.ids["imageSetId"] = "0" * 32
    assert "does not exist in data store" in refused("ResourceNotFoundException", target.update, **blob)
    target.ids["datastoreId"] = "0" * 32
    assert "Data store" in refused("ResourceNotFoundException", target.update, **blob)
    empty = make(readable_version=0)
    assert "no content" in refused("ConflictException", empty.update, **blob)


DEEP = '{"SchemaVersion":1.1,"Patient":{"DICOM":{"A":' + "[" * 14_900 + "]" * 14_900 + "}}}"


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        ("{", "not valid JSON"),
        ("nonsense", "not valid JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (DEEP, "nested too deeply"),
        (DEEP.replace("[" * 14_000, "").replace("]" * 14_000, ""), "nested too deeply"),
        ('{"SchemaVersion":1.1,"Patient":{"DICOM":{"PatientName":NaN}}}', "not valid JSON"),
        ('{"SchemaVersion":1.1,"Patient":{"DICOM":{"PatientName":"A","PatientName":"B"}}}', "given twice"),
        ('{"SchemaVersion":1.1,"Patient":{"DICOM":{"PatientName":"A\\u0000"}}}', "U+0000"),
        ('{"SchemaVersion":1.1,"Patient":{"DICOM":{"PatientName":"\\ud800"}}}', "UTF-8"),
        ("[]", "must be an object"),
        ({"Patient": {"DICOM": {"PatientName": "A"}}}, "SchemaVersion must be 1.1"),
        ({"SchemaVersion": "1.0", "Patient": {}}, "SchemaVersion must be 1.1"),
        ({"SchemaVersion": True, "Patient": {}}, "SchemaVersion must be 1.1"),
        ({"SchemaVersion": 1.1}, "names nothing"),
        ({"SchemaVersion": 1.1, "Study": {"Series": {SERIES: {"Instances": {}}}}}, "names nothing"),
        ({"SchemaVersion": 1.1, "Patients": {}}, "has no member 'Patients'"),
        ({"SchemaVersion": 1.1, "DatastoreID": "x"}, "DatastoreID cannot be updated"),
        ({"SchemaVersion": 1.1, "Patient": {"PatientName": "A"}}, "has no member 'PatientName'"),
        ({"SchemaVersion": 1.1, "Patient": []}, "Patient must be an object"),
        ({"SchemaVersion": 1.1, "Study": {"Series": {SERIES: {}}}}, "is empty"),
        (instances({"1.1": {}}), "is empty"),
        (instances({"1.1": {"ImageFrames": []}}), "ImageFrames cannot be updated"),
        (instances({"1.1": {"DICOM": {"001910F9": "1"}, "DICOMVRs": {"001910F9": 1}}}), "must be a string"),
        ({"SchemaVersion": 1.1, "Study": {"Series": {"1.9": {"DICOM": {"KVP": "1"}}}}}, "no series 1.9"),
        (instance("1.9", {"Rows": 1}), "no instance 1.9"),
    ],
)  # fmt: skip
def test_refuses_blobs_that_are_no_cut_out_of_a_document(
    make: Make, refused: Refused, blob: Any, words: str
) -> None:
    target = make()
    assert words in refused("ValidationException", target.update, updatable=blob, force=True)
    assert target.properties()["versionId"] == "1"


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (patient({"StudyDate": "20200101"}), "attribute of the Study level and cannot be changed at"),
        (study({"PatientName": "A"}), "attribute of the Patient level and cannot be changed at the Study"),
        (study({"Rows": 1}), "attribute of the Instance level and cannot be changed at the Study"),
        (series({"KVP": "1"}), "attribute of the Instance level and cannot be changed at the Series"),
        (instance("1.1", {"PatientName": "A"}), "the instance has the value of its image set"),
        (instance("1.1", {"StudyInstanceUID": "1.2"}), "attribute of the Study level"),
        (patient({"00191001": "AAE="}), "private attributes belong to the Instance level"),
        (patient({"Foo": "x"}), "'Foo' is not a DICOM keyword"),
        (patient({"0010001": "x"}), "is not a DICOM keyword"),
        (patient({"00100010": "x"}), "has the keyword PatientName"),
        (patient({"MinPixelValue": 1}), "MinPixelValue cannot be updated"),
        (patient({"PixelData": None}), "PixelData cannot be updated"),
        (instance("1.1", {"PixelData": "AAE="}), "PixelData cannot be updated"),
        (instance("1.1", {"FloatPixelData": "AAE="}), "FloatPixelData cannot be updated"),
        (instance("1.1", {"ExtendedOffsetTable": "AAE="}), "cannot be updated"),
        (instance("1.1", {"TransferSyntaxUID": "1.2.840.10008.1.2"}), "cannot be updated"),
        (instance("1.1", {"FileMetaInformationGroupLength": 1}), "cannot be updated"),
        (instance("1.1", {"00090000": 1}), "cannot be updated"),
        (instance("1.1", {"Rows": "x"}), "a value of VR US is a number"),
        (instance("1.1", {"Rows": 65536}), "does not fit VR US"),
        (instance("1.1", {"Rows": True}), "is a number"),
        (instance("1.1", {"Rows": [1, 2]}), "it has one value"),
        (instance("1.1", {"SliceThickness": "thick"}), "is not a value of VR DS"),
        (instance("1.1", {"ReferencedImageSequence": {"A": 1}}), "a sequence is an array of objects"),
        (instance("1.1", {"ReferencedImageSequence": [{"Foo": 1}]}), "neither a DICOM keyword"),
        (instance("1.1", {"RedPaletteColorLookupTableData": "A"}), "a base64 string"),
        (instance("1.1", {"001910F9": "1"}, DICOMVRs={"001910F9": "XX"}), "is not a VR"),
        (instance("1.1", {"Rows": 3}, DICOMVRs={"Rows": "US"}), "no such element without a keyword"),
        (instance("1.1", {"001910F9": "not base64"}), "a value of VR UN is a base64 string"),
        (patient({"PatientName": {"Alphabetic": "A"}}), "a value of VR PN is a string"),
        (patient({"PatientName": 5}), "a value of VR PN is a string"),
        (patient({"PatientID": "x" * 257}), "at most 256 are allowed"),
        (patient({"PatientBirthDate": "1" * 19}), "at most 18 are allowed"),
        (study({"StudyInstanceUID": "1.02"}), "is not a value of VR UI"),
        (study({"StudyInstanceUID": ""}), "it is a UID and cannot be empty"),
        (series({"SeriesInstanceUID": None}), "it is a UID and cannot be empty"),
        (instance("1.1", {"SOPInstanceUID": "x"}), "is not a value of VR UI"),
        (study({"ProcedureCodeSequence": [{"00191001": "AAE="}]}), "elements without a keyword are not"),
    ],
)  # fmt: skip
def test_refuses_even_with_force(make: Make, refused: Refused, blob: Any, words: str) -> None:
    target = make()
    assert words in refused("ValidationException", target.update, updatable=blob, force=True)
    assert target.properties()["versionId"] == "1"


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (study({"StudyID": "S2"}), "StudyID is an identifier"),
        (study({"StudyInstanceUID": "1.2.9"}), "StudyInstanceUID is an identifier"),
        (series({"SeriesInstanceUID": "1.2.9"}), "SeriesInstanceUID is an identifier"),
        (instance("1.1", {"SOPInstanceUID": "1.2.9"}), "SOPInstanceUID is an identifier"),
        (study({"ProcedureCodeSequence": [{"CodeValue": "x"}]}), "is a sequence"),
        (patient({"OtherPatientNames": ["A"]}), "may have several values"),
        (instance("1.1", {"ImageType": ["A"]}), "may have several values"),
        (instance("1.1", {"001910F9": "AAE="}), "(0019,10F9) is private"),
        (instance("1.1", {"00080002": "AAE="}), "is not defined by the standard"),
        (patient({"PatientBirthDate": "1980"}), "is not a value of VR DA"),
        (patient({"PatientSex": "female"}), "is not a value of VR CS"),
        (patient({"PatientID": "x" * 65}), "65 characters long, but LO allows 64"),
        (patient({"PatientID": "a\\b"}), "contains a character that LO does not allow"),
        (patient({"PatientName": "A=B=C=D"}), "at most three groups"),
        (study({"PatientAge": "40"}), "does not have the format of AS"),
    ],
)  # fmt: skip
def test_demands_force(make: Make, refused: Refused, blob: Any, words: str) -> None:
    target = make()
    for flags in ({}, {"force": False}):
        message = refused("ValidationException", target.update, updatable=blob, **flags)
        assert words in message and "with force" in message
    assert target.update(updatable=blob, force=True)["latestVersionId"] == "2"
    assert target.properties()["overrides"] == {"forced": True}
    target.text()


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (study({"StudyDescription": "chest"}), "is not its present value"),
        (study({"StudyDescription": None}), "is not its present value"),
        (study({"StudyTime": "1015"}), "has no StudyTime"),
        (patient({"PatientSex": "M"}), "is not its present value"),
        (instance("1.1", {"Rows": "3"}), "is not its present value"),
        (instance("1.1", {"Rows": True}), "is not its present value"),
        (instance("1.1", {"PatientName": "DOE^JANE"}), "attribute of the Patient level"),
        (study({"StudyInstanceUID": STUDY}), "StudyInstanceUID cannot be removed"),
        (series({"SeriesInstanceUID": SERIES}), "SeriesInstanceUID cannot be removed"),
        (instance("1.1", {"SOPInstanceUID": "1.1"}), "SOPInstanceUID cannot be removed"),
        (instance("1.1", {"WindowCenter": ["80", "40"]}), "is not its present value"),
        (instance("1.1", {"Rows": 3}, DICOMVRs={"001910F9": "DS"}), "does not list 001910F9"),
        ({"SchemaVersion": 1.1, "Study": {"Series": {SERIES: {}}}}, "remove everything"),
        (instances({"1.1": {}, "1.2": {}, "1.3": {}}), "use DeleteImageSet"),
        (instances({"1.9": {}}), "no instance 1.9"),
    ],
)  # fmt: skip
def test_removes_only_what_is_named_as_it_is(make: Make, refused: Refused, blob: Any, words: str) -> None:
    target = make()
    assert words in refused("ValidationException", target.update, removable=blob, force=True)
    assert target.properties()["versionId"] == "1"


def test_refuses_to_update_what_the_same_request_removes(make: Make, refused: Refused) -> None:
    message = refused(
        "ValidationException",
        make().update,
        removable=instances({"1.1": {}}),
        updatable=instance("1.1", {"Rows": 4}),
    )
    assert "is also removed by this request" in message


def test_refuses_requests_without_and_with_too_much(make: Make, refused: Refused) -> None:
    target = make()
    assert "names nothing" in refused("ValidationException", target.update)
    long = json.dumps(patient({"PatientComments": "x" * 29_900}))
    assert len(long) < 30_000
    with pytest.raises(target.client.exceptions.ValidationException, match="30000"):
        target.update(updatable=long + " " * (30_001 - len(long)))
    # Structural limits of DICOM hold too: LT takes 10,240 characters.
    assert "LT allows 10240" in refused("ValidationException", target.update, updatable=long)
    assert target.update(updatable=long.replace("PatientComments", "StrainAdditionalInformation"))


def test_takes_the_schema_version_as_number_and_as_text(make: Make) -> None:
    target = make()
    for version, schema in enumerate((1.1, "1.1"), 1):
        target.update(version, updatable={**patient({"PatientName": "A"}), "SchemaVersion": schema})
    assert target.properties()["versionId"] == "3"


def test_changes_no_patient_series_or_uid_of_a_primary_set(make: Make, refused: Refused) -> None:
    differing = {"PatientID": "P1", "PatientName": "X"}
    target = make(
        BuiltInstance("1.1", 1, {"Rows": 1}), BuiltInstance("1.2", 2, patient=differing), is_primary=True
    )
    for flags in ({}, {"force": True}, {"force": True, "includeStudyImageSets": True}):
        for blob in (
            patient({"PatientName": "A"}),
            series({"Modality": "MR"}),
            series({"SeriesInstanceUID": "1.7"}),
        ):
            message = refused("ValidationException", target.update, updatable=blob, **flags)
            assert "Study level" in message or "CopyImageSet" in message
    for blob in (instance("1.1", {"SOPInstanceUID": "1.7"}), instance("1.2", {"PatientName": "A"})):
        assert "primary image set" in refused(
            "ValidationException", target.update, updatable=blob, force=True
        )
    message = refused(
        "ValidationException", target.update, updatable=study({"StudyInstanceUID": "1.7"}), force=True,
        includeStudyImageSets=True,
    )  # fmt: skip
    assert "StudyInstanceUID of a primary image set" in message
    message = refused("ValidationException", target.update, updatable=study({"StudyDate": "20200103"}))
    assert "includeStudyImageSets" in message
    assert target.update(updatable=instance("1.1", {"Rows": 2}))["latestVersionId"] == "2"
    assert target.update(2, removable=instances({"1.2": {}}))["latestVersionId"] == "3"


@pytest.fixture
def a_study(make: Make) -> Callable[..., list[Target]]:
    def build(count: int = 3, uid: str = STUDY) -> list[Target]:
        blocks = {"StudyDate": "20200102", "StudyDescription": "CHEST", "StudyInstanceUID": uid}
        return [
            make(
                BuiltInstance(f"5.{number}", 1),
                is_primary=True,
                study=blocks | ({"PatientAge": "040Y"} if number == 0 else {}),
                series={"Modality": "CT", "SeriesInstanceUID": f"5.5.{number}"},
                versions=[{}] * (number + 1),
            )
            for number in range(count)
        ]

    return build


def test_changes_every_primary_set_of_a_study_at_once(
    a_study: Callable[..., list[Target]], make: Make, stores: Stores, refused: Refused
) -> None:
    targets = a_study()
    aside = make(is_primary=False)
    answer = targets[0].update(
        1,
        updatable=study({"StudyDescription": "HEAD", "StudyDate": "20210101"}),
        removable=study({"PatientAge": "040Y"}),
        includeStudyImageSets=True,
    )
    assert (answer["latestVersionId"], answer["imageSetWorkflowStatus"]) == ("2", "UPDATING")
    assert [target.properties()["versionId"] for target in targets] == ["2", "3", "4"]
    for target in targets:
        assert target.document()["Study"]["DICOM"] == {
            "StudyDate": "20210101", "StudyDescription": "HEAD", "StudyInstanceUID": STUDY,
        }  # fmt: skip
        assert target.summary()["DICOMTags"]["DICOMStudyDate"] == "20210101"
        assert target.properties()["imageSetWorkflowStatus"] == "UPDATED"
    assert aside.properties()["versionId"] == "1"
    with stores.db.read() as conn:
        rows = conn.execute(select(tables.outbox.c.event).order_by(tables.outbox.c.number)).scalars()
        details = [
            (e["detail-type"], e["detail"]) for e in map(json.loads, rows) if "imagesetId" in e["detail"]
        ]
    for place, target in enumerate(targets):
        assert [
            (kind, d["imageSetVersion"], d["imageSetState"], d["imageSetWorkflowStatus"], d["isPrimary"])
            for kind, d in details
            if d["imagesetId"] == target.built.id
        ] == [
            (
                "Image Set Updating", str(place + 2), "LOCKED",
                "UPDATING_FOR_STUDY_CONSISTENCY" if place else "UPDATING", True,
            ),
            ("Image Set Updated", str(place + 2), "ACTIVE", "UPDATED", True),
        ]  # fmt: skip


def test_takes_study_wide_updates_of_study_attributes_of_primary_sets_only(
    a_study: Callable[..., list[Target]], make: Make, refused: Refused
) -> None:
    (target,) = a_study(1)
    wide: dict[str, Any] = {"includeStudyImageSets": True}
    only = "only attributes of the Study level"
    assert only in refused(
        "ValidationException", target.update, updatable=patient({"PatientName": "A"}), **wide
    )
    target.series = "5.5.0"
    blob = {
        "SchemaVersion": 1.1,
        "Study": {"Series": {"5.5.0": {"Instances": {"5.0": {"DICOM": {"Rows": 1}}}}}},
    }
    assert only in refused("ValidationException", target.update, updatable=blob, **wide)
    message = refused(
        "ValidationException", make().update, updatable=study({"StudyDate": "20200102"}), **wide
    )
    assert "is only allowed for primary image sets" in message
    assert target.update(updatable=study({"StudyDate": "20200105"}), **wide)["latestVersionId"] == "2"
    message = refused(
        "ValidationException", target.update, version=2, updatable=study({"StudyID": "x"}), **wide
    )
    assert "with force" in message
    target.update(2, updatable=study({"StudyID": "x"}), force=True, **wide)


def test_lets_no_revert_contradict_the_rest_of_a_study(
    a_study: Callable[..., list[Target]], refused: Refused
) -> None:
    first, _ = a_study(2)
    first.update(1, updatable=study({"StudyDescription": "x"}), includeStudyImageSets=True)
    first.update(2, revert="1")
    first.update(3, updatable=study({"StudyDate": "20210101"}), includeStudyImageSets=True)
    message = refused("ValidationException", first.update, version=4, revert="1")
    assert "other primary image sets of its study" in message
    assert first.properties()["versionId"] == "4"
    first.update(4, updatable=study({"StudyDate": "20200102"}), includeStudyImageSets=True)
    assert first.update(5, revert="1")["latestVersionId"] == "6"
    (alone,) = a_study(1, "1.2.3.99")
    alone.update(1, updatable=study({"StudyDate": "20210101"}), includeStudyImageSets=True)
    assert alone.update(2, revert="1")["latestVersionId"] == "3"


def test_writes_who_made_each_version(make: Make, server: Server, stores: Stores) -> None:
    target = make()
    target.update(updatable=patient({"PatientName": "A"}))
    with stores.db.read() as conn:
        rows = conn.execute(
            select(tables.version.c.number, tables.version.c.caller).where(
                tables.version.c.image_set == target.built.key
            )
        ).all()
    assert {number: caller for number, caller in rows}[2] == "arn:aws:iam::000000000000:root"
