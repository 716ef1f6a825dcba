"""Comparison of the service with the model: the answer of every read, and every frame by its pixels."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from io import BytesIO
from random import Random
from typing import Any

import imagecodecs
import pydicom
import pytest

from lightwell.documents import metadata_documents
from lightwell.documents.part10_files import write_instance
from lightwell.stores.image_sets import part10_instances
from tests.lifecycle import native
from tests.lifecycle.clients import Refused, Service
from tests.lifecycle.model import Content, ImageSet, Model
from tests.lifecycle.native import OriginalInstance

_CODESTREAM = b"\xff\x4f\xff\x51"
_TAGS = {
    "DICOMPatientId": "PatientID",
    "DICOMPatientName": "PatientName",
    "DICOMPatientBirthDate": "PatientBirthDate",
    "DICOMPatientSex": "PatientSex",
    "DICOMStudyInstanceUID": "StudyInstanceUID",
    "DICOMStudyId": "StudyID",
    "DICOMStudyDescription": "StudyDescription",
    "DICOMAccessionNumber": "AccessionNumber",
    "DICOMSeriesInstanceUID": "SeriesInstanceUID",
    "DICOMSeriesModality": "Modality",
    "DICOMSeriesBodyPart": "BodyPartExamined",
    "DICOMStudyDate": "StudyDate",
    "DICOMStudyTime": "StudyTime",
}
_FILTERS = ("DICOMPatientId", "DICOMAccessionNumber", "DICOMStudyInstanceUID", "DICOMSeriesInstanceUID")


def lines(service: Service, output: str) -> list[dict[str, Any]]:
    """The lines of ``success.ndjson`` in a job's output folder; fails where a file was not imported."""
    assert not service.read_output(f"{output}FAILURE/failure.ndjson")
    told = service.read_output(f"{output}SUCCESS/success.ndjson")
    return [json.loads(line) for line in told.splitlines()]


class Checker:
    def __init__(self, service: Service, model: Model) -> None:
        self._service = service
        self._model = model
        # The frames of an instance in the first document, by imported file; and what was read.
        self._frames: dict[int, list[dict[str, Any]]] = {}
        self._read: set[tuple[str, str]] = set()

    def forget(self) -> None:
        """Drop every cached document, and the memory of frames that were read."""
        with self._service.stores.db.read() as conn:
            from lightwell.stores.db import tables

            keys = list(conn.execute(tables.image_set.select()).scalars())
        for key in keys:
            metadata_documents.drop_documents(self._service.stores, key)
        self._read.clear()

    def check(self, one: ImageSet, versions: Iterable[int]) -> None:
        """Compare a set: its properties, its list of versions, and the documents of some."""
        if one.deleted:
            return self._check_deleted(one)
        latest = self._service.call("GetImageSet", imageSetId=one.id)
        assert latest["versionId"] == str(one.number)
        listed = self._service.call("ListImageSetVersions", imageSetId=one.id, maxResults=50)
        shown = listed["imageSetPropertiesList"]
        assert [int(entry["versionId"]) for entry in shown] == list(range(one.number, 0, -1))[:50]
        for entry in (latest, *shown):
            self._check_properties(one, entry)
        for number in versions:
            if number >= 1:
                self._check_document(one, number)

    def _check_properties(self, one: ImageSet, entry: dict[str, Any]) -> None:
        version = one.versions[int(entry["versionId"]) - 1]
        status = entry.get("imageSetWorkflowStatus") or entry.get("ImageSetWorkflowStatus")
        assert (entry["imageSetState"], status) == ("ACTIVE", version.status)
        assert entry.get("isPrimary") == one.is_primary
        assert entry.get("overrides", {}).get("forced") == version.forced
        assert bool(entry.get("message")) == version.failed

    def _check_deleted(self, one: ImageSet) -> None:
        found = self._service.call("GetImageSet", imageSetId=one.id)
        assert (found["imageSetState"], found["imageSetWorkflowStatus"]) == ("DELETED", "DELETED")
        assert found["versionId"] == str(one.number)
        with pytest.raises(Refused, match="ResourceNotFoundException"):
            self._service.call("GetImageSetMetadata", imageSetId=one.id)
        for content in {id(version.content): version.content for version in one.versions}.values():
            for member in content.members.values() if content else ():
                for frame in self._frames.get(id(member.original), ())[:1]:
                    with pytest.raises(Refused, match="ResourceNotFoundException"):
                        self._service.frame(one.id, frame["ID"])

    def _check_document(self, one: ImageSet, number: int) -> None:
        content = one.versions[number - 1].content
        if content is None:
            with pytest.raises(Refused, match="ResourceNotFoundException"):
                self._service.call("GetImageSetMetadata", imageSetId=one.id, versionId=str(number))
            return
        asked = {} if number == one.number else {"versionId": str(number)}
        answer = self._service.call("GetImageSetMetadata", imageSetId=one.id, **asked)
        document = json.loads(gzip.decompress(answer["imageSetMetadataBlob"]))
        frames = _without_frames(document)
        expected = self._expected(one, content)
        assert document == expected, f"{one!r}, version {number}: {differences(expected, document)}"
        for uid, member in content.members.items():
            self._check_frames(one, member.original, frames[uid])

    def _expected(self, one: ImageSet, content: Content) -> dict[str, Any]:
        instances = {}
        for uid in content.members:
            dicom, vrs = content.instance(uid)
            instances[uid] = {
                "DICOM": dicom,
                "DICOMVRs": vrs,
                "StoredTransferSyntaxUID": "1.2.840.10008.1.2.4.202",
                "ChecksumType": "DECOMPRESSED",
            }
        patient, study, series = (level.shown for level in content.levels)
        named = {content.value("SeriesInstanceUID"): {"DICOM": series, "Instances": instances}}
        return {
            "SchemaVersion": "1.1",
            "DatastoreID": self._service.datastore,
            "ImageSetID": one.id,
            "Patient": {"DICOM": patient},
            "Study": {"DICOM": study, "Series": named},
        }

    def _check_frames(self, one: ImageSet, original: OriginalInstance, frames: list[dict[str, Any]]) -> None:
        known = self._frames.setdefault(id(original), frames)
        assert frames == known, "what is said of frames never changes"
        width, height = original.size
        for frame, checksum in zip(frames, original.checksums, strict=True):
            assert frame["PixelDataChecksumFromBaseToFullResolution"] == [
                {"Width": width, "Height": height, "Checksum": checksum}
            ]
            if (one.id, frame["ID"]) in self._read:
                continue
            data = self._service.frame(one.id, frame["ID"])
            assert len(data) == frame["FrameSizeInBytes"]
            pixels = imagecodecs.htj2k_decode(data[data.index(_CODESTREAM) :])
            assert zlib.crc32(pixels.astype("<i2").tobytes()) == checksum
            self._read.add((one.id, frame["ID"]))

    def search(self, chance: Random | None = None) -> None:
        """Compare the results of a search: unfiltered, or by one filter where ``chance`` chooses it."""
        found, criteria = self._model.readable(), {}
        if chance is not None and found:
            key = chance.choice(_FILTERS)
            value = chance.choice(found).existing.value(_TAGS[key])
            if value:
                found = [one for one in found if one.existing.value(_TAGS[key]) == value]
                criteria = {"filters": [{"operator": "EQUAL", "values": [{key: value}]}]}
        expected = {one.id: _summary(one) for one in found}
        pages: dict[str, Any] = {}
        token: dict[str, str] = {}
        while True:
            answer = self._service.call(
                "SearchImageSets", searchCriteria=criteria, maxResults=50 if chance is None else 3, **token
            )
            for summary in answer["imageSetsMetadataSummaries"]:
                assert summary["imageSetId"] not in pages
                pages[summary["imageSetId"]] = (
                    summary["version"],
                    summary["isPrimary"],
                    summary["DICOMTags"],
                )
            if "nextToken" not in answer:
                break
            token = {"nextToken": answer["nextToken"]}
        assert pages == expected, differences(expected, pages)

    def check_files(self, one: ImageSet) -> None:
        """Compare the Part 10 file of each instance of the latest version: the edits are in it, too."""
        if one.deleted or one.content is None:
            return
        stores = self._service.stores
        with stores.db.read() as conn:
            (found,) = [
                each for each in part10_instances.readable_sets(conn, self._datastore_key(conn), one.id)
            ]
            instances = part10_instances.instances(conn, found.key, found.version)
        seen = set()
        for instance in instances:
            out = BytesIO()
            write_instance(stores, instance, out)
            original = native.original(out.getvalue())
            seen.add(original.uid)
            existing = one.content.flat(original.uid)
            shown = {**original.levels[0], **original.levels[1], **original.levels[2], **original.dicom}
            differing = differences(_comparable(existing), _comparable(shown))
            assert not differing, f"Part 10 of {original.uid} of {one!r}: {differing}"
            assert original.checksums == one.content.members[original.uid].original.checksums
            meta = pydicom.dcmread(BytesIO(out.getvalue()), stop_before_pixels=True).file_meta
            assert meta.MediaStorageSOPInstanceUID == original.uid
        assert seen == one.content.members.keys()

    def _datastore_key(self, conn: Any) -> int:
        from lightwell.stores.account import datastores

        store = datastores.get(conn, self._service.datastore)
        assert store is not None
        return store.key


def differences(expected: Any, found: Any, path: str = "") -> list[str]:
    """Where two documents differ, in words."""
    if not (isinstance(expected, dict) and isinstance(found, dict)):
        return [] if expected == found else [f"{path}: expected {expected!r}, found {found!r}"]
    return [
        text
        for key in sorted(expected.keys() | found.keys())
        for text in differences(expected.get(key, "nothing"), found.get(key, "nothing"), f"{path}/{key}")
    ]


def _without_frames(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Take the frames out of a document; by SOPInstanceUID."""
    return {
        uid: instance.pop("ImageFrames")
        for series in document["Study"]["Series"].values()
        for uid, instance in series["Instances"].items()
    }


def _summary(one: ImageSet) -> tuple[int, bool, dict[str, Any]]:
    existing = one.existing
    tags: dict[str, Any] = {name: existing.value(key) for name, key in _TAGS.items() if existing.value(key)}
    tags["DICOMNumberOfStudyRelatedSeries"] = 1
    tags["DICOMNumberOfStudyRelatedInstances"] = len(existing.members)
    if existing.value("SeriesNumber"):
        tags["DICOMSeriesNumber"] = int(existing.value("SeriesNumber"))
    return one.number, one.is_primary, tags


def _comparable(values: dict[str, Any]) -> dict[str, Any]:
    """Without what belongs to the file alone, and without padding."""
    of_the_file = {
        *("FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID"),
        *("MediaStorageSOPInstanceUID", "TransferSyntaxUID", "ImplementationClassUID"),
        *("ImplementationVersionName", "SourceApplicationEntityTitle"),
    }
    return {key: _bare(value) for key, value in values.items() if key not in of_the_file}


def _bare(value: Any) -> Any:
    if isinstance(value, list):
        return [_bare(part) for part in value]
    if isinstance(value, dict):
        return {key: _bare(part) for key, part in value.items()}
    return value.rstrip(" ") if isinstance(value, str) else value
