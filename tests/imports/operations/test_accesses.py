"""What counts as an access of an image set (devguide/cost-optimization), by ``lastAccessedAt``."""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from lightwell.clock import Clock
from lightwell.operations import OPERATIONS
from lightwell.operations.get_image_frame import FrameReader
from lightwell.operations.get_image_set_metadata import MetadataReader
from lightwell.stores.account import datastores
from lightwell.wire import shapes
from tests.support import image_set_builders
from tests.support.ct_files import ct, write
from tests.support.image_set_builders import NOW, BuiltInstance, BuiltSet
from tests.support.imports import Importing

DAY = 24 * 3600 * 1000
LATER = NOW + 40 * DAY
STUDY = {"StudyDate": "20200102", "StudyInstanceUID": "1.2.3"}


class At(Clock):
    """A clock that stands still."""

    def __init__(self, now: int) -> None:
        self._now = now

    def now(self) -> int:
        return self._now


class Sets:
    """Image sets that were last accessed 40 days ago, and operations that come now."""

    def __init__(self, server: Importing) -> None:
        self.server = server
        server.context = replace(server.context, clock=At(LATER))
        with server.stores.db.read() as conn:
            store = datastores.get(conn, server.datastore)
        assert store is not None
        self.store = (store.key, store.id)

    def make(self, series: str = "1.2.4", uid: str = "1.5", **columns: Any) -> BuiltSet:
        block = {"Modality": "CT", "SeriesInstanceUID": series}
        instances = [BuiltInstance(uid, 1, frames=[b"frame"])]
        return image_set_builders.image_set(
            self.server.stores, instances, store=self.store, study=STUDY, series=block, **columns
        )

    def __call__(self, operation: str, built: BuiltSet | None = None, **members: Any) -> Any:
        if built is not None:
            members = {"datastore_id": built.datastore_id, "image_set_id": built.id, **members}
        request = getattr(shapes, f"{operation}Request")(**members)
        return OPERATIONS[operation](self.server.context, request)

    def update(self, built: BuiltSet, **study: object) -> None:
        blob = json.dumps({"SchemaVersion": "1.1", "Study": {"DICOM": study}}).encode()
        self(
            "UpdateImageSetMetadata",
            built,
            latest_version_id="1",
            include_study_image_sets=True,
            update_image_set_metadata_updates=shapes.MetadataUpdates(
                dicom_updates=shapes.DICOMUpdates(updatable_attributes=blob)
            ),
        )

    def copy(self, source: BuiltSet, target: BuiltSet | None = None, **flags: Any) -> str:
        destination = (
            None
            if target is None
            else shapes.CopyDestinationImageSet(image_set_id=target.id, latest_version_id="1")
        )
        answer = self(
            "CopyImageSet",
            datastore_id=source.datastore_id,
            source_image_set_id=source.id,
            copy_image_set_information=shapes.CopyImageSetInformation(
                source_image_set=shapes.CopySourceImageSetInformation(latest_version_id="1"),
                destination_image_set=destination,
            ),
            **flags,
        )
        return str(answer.destination_image_set_properties.image_set_id)

    def shown(self, id: str) -> tuple[int, str]:
        """Last access in ms and storage tier, as GetImageSet and SearchImageSets both tell them."""
        self.server.stores.accesses.flush()
        found = self("GetImageSet", datastore_id=self.store[1], image_set_id=id)
        hits = self("SearchImageSets", datastore_id=self.store[1]).image_sets_metadata_summaries
        hit = next(hit for hit in hits if hit.image_set_id == id)
        assert (hit.last_accessed_at, hit.storage_tier) == (found.last_accessed_at, found.storage_tier)
        return round(found.last_accessed_at * 1000), found.storage_tier


@pytest.fixture
def sets(server: Importing) -> Sets:
    return Sets(server)


ACCESSED = (LATER, "FREQUENT_ACCESS")
ARCHIVED = (NOW, "ARCHIVE_INSTANT_ACCESS")


def test_counts_reads_of_metadata(sets: Sets) -> None:
    built = sets.make()
    assert sets.shown(built.id) == ARCHIVED
    blob = sets("GetImageSetMetadata", built).image_set_metadata_blob
    assert json.loads(gzip.decompress(blob))["ImageSetID"] == built.id
    assert sets.shown(built.id) == ACCESSED


def test_counts_reads_of_metadata_that_is_in_memory(sets: Sets) -> None:
    built = sets.make()
    stores = sets.server.stores
    reader = MetadataReader(stores, At(LATER + DAY))

    async def cached(*versions: int | None) -> list[bytes | None]:
        found = [await reader.cached_document_here(built.datastore_id, built.id, each) for each in versions]
        return [None if each is None else each[0] for each in found]

    document = sets("GetImageSetMetadata", built).image_set_metadata_blob
    stores.accesses.flush()
    assert asyncio.run(cached(None, 1, 2)) == [document, document, None]
    assert sets.shown(built.id)[0] == LATER + DAY
    sets("DeleteImageSet", built)
    assert asyncio.run(cached(None, 1)) == [None, None]


def test_counts_reads_of_frames(sets: Sets) -> None:
    built = sets.make()
    reader = FrameReader(sets.server.stores, sets.server.context.clock)
    place = reader.locate(built.datastore_id, built.id, built.instances[0].frame_id())
    assert sets.shown(built.id) == ARCHIVED
    reader.note_access(place)
    assert sets.shown(built.id) == ACCESSED


def test_counts_updates_and_their_siblings(sets: Sets) -> None:
    built, sibling = sets.make(), sets.make("1.2.5", "1.6")
    sets.update(built, StudyDescription="x")
    assert sets.shown(built.id) == sets.shown(sibling.id) == ACCESSED


def test_counts_copies_for_the_destination_only(sets: Sets) -> None:
    source = sets.make()
    target = sets.make("1.2.4", "1.6", is_primary=False, origin="copy")
    made = sets.copy(source)
    sets.copy(source, target)
    assert sets.shown(source.id) == ARCHIVED
    assert sets.shown(made) == sets.shown(target.id) == ACCESSED


def test_counts_no_copy_that_failed(sets: Sets) -> None:
    source, target = sets.make(), sets.make("1.2.4", "1.5", is_primary=False, origin="copy")
    sets.copy(source, target)
    assert sets("GetImageSet", target).image_set_workflow_status == "COPY_FAILED"
    assert sets.shown(target.id) == ARCHIVED


def test_counts_the_creation_and_the_growth_by_an_import(server: Importing) -> None:
    write(server.input / "1" / "1.dcm", ct(1))
    write(server.input / "2" / "2.dcm", ct(2))
    sets = Sets(server)
    seen = []
    for prefix in ("1/", "2/"):
        report = server.run(prefix)
        id = report.manifest["imageSetsSummary"][0]["imageSetId"]
        found = sets("GetImageSet", datastore_id=server.datastore, image_set_id=id)
        assert found.last_accessed_at == found.updated_at
        seen.append(found.last_accessed_at)
    assert seen[0] < seen[1]


def test_counts_nothing_else(sets: Sets) -> None:
    built = sets.make()
    arn = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{built.datastore_id}/imageset/{built.id}"
    sets("GetImageSet", built)
    sets("ListImageSetVersions", built)
    sets("SearchImageSets", datastore_id=built.datastore_id)
    sets("TagResource", resource_arn=arn, tags={"a": "b"})
    sets("ListTagsForResource", resource_arn=arn)
    sets("UntagResource", resource_arn=arn, tag_keys=["a"])
    sets("GetDatastore", datastore_id=built.datastore_id)
    sets("ListDICOMImportJobs", datastore_id=built.datastore_id)
    assert sets.shown(built.id) == ARCHIVED
    sets("DeleteImageSet", built)
    found = sets("GetImageSet", built)
    assert (found.image_set_state, round(found.last_accessed_at * 1000)) == ("DELETED", NOW)
