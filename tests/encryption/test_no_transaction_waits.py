"""Whatever is done with an encrypted data store, no write transaction is open while a key provider is asked.

No key is kept in memory here, so that each is asked for whenever it is needed: as a server does that has just
started, or whose `key_cache` is over, all the time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from lightwell.clock import Clock, Ids
from lightwell.codec_pool.requests import InstanceStored, Stored
from lightwell.codec_pool.store_committer import PendingCommit, StoreCommitter
from lightwell.domain.imports.records import ChunkResult
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.part10 import FileSource
from lightwell.ingest.pipeline import Pipeline, PipelineInputs
from lightwell.operations import OPERATIONS
from lightwell.operations.console import uploads
from lightwell.operations.import_jobs import cancel_import_job
from lightwell.settings import Settings
from lightwell.stores import opening as stores_opening
from lightwell.stores.background.installation import agree_on_storage
from lightwell.stores.db import tables
from lightwell.stores.db.database import Database
from lightwell.stores.keys import opening, renewal
from lightwell.stores.keys.providers import KeySettings
from lightwell.stores.keys.ring import KeyRing
from lightwell.stores.objects.local import LocalObjects
from lightwell.wire.routes import ROUTES
from tests.backup import places
from tests.encryption import sealed
from tests.encryption.watched import WatchedKeys
from tests.support.ct_files import ROOT, ct, write, write_series
from tests.support.imports import Importing, importing


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> WatchedKeys:
    """The provider of all stores that are opened."""
    keys = WatchedKeys(b"o" * 32)

    def open_ring(settings: KeySettings, db: Database) -> KeyRing:
        found = KeyRing(db, lambda conn: keys, always=True, keep=0.0)
        db.carry(found)
        return found

    for module in (opening, stores_opening):
        monkeypatch.setattr(module, "open_ring", open_ring)
    return keys


@pytest.fixture
def server(database_url: str, tmp_path: Path, watched: WatchedKeys) -> Iterator[Importing]:
    found = importing(tmp_path / "data", database_url)
    agree_on_storage(found.stores.db, found.stores.objects, Ids().id())
    watched.db = found.stores.db
    yield found
    watched.db = None
    found.close()


def call(server: Importing, operation: str, **members: Any) -> Any:
    given = {"datastoreId": server.datastore, **members}
    return OPERATIONS[operation](server.context, msgspec.convert(given, ROUTES[operation].request))


def update(server: Importing, id: str, version: int, updates: dict[str, Any]) -> None:
    """Change an image set; a fault of ours would make a version, too, but a failed one."""
    members = {"imageSetId": id, "latestVersionId": str(version), "updateImageSetMetadataUpdates": updates}
    call(server, "UpdateImageSetMetadata", **members)
    shown = call(server, "GetImageSet", imageSetId=id)
    assert (shown.version_id, shown.image_set_workflow_status) == (str(version + 1), "UPDATED"), shown


def stow(server: Importing, file: Path) -> None:
    """What a codec worker and the committer of STOW-RS do with a file, in this process."""
    stores, replies = server.stores, list[Any]()
    committer = StoreCommitter(stores, server.settings, Clock(), Ids())
    target = committer.target(server.datastore)
    assert target is not None
    packs = iter(committer.open_packs(target, 2))
    inputs = PipelineInputs(
        storage_format=target.storage_format,
        inflate_limit=1 << 30,
        ids=Ids(),
        cache=SeriesCache(),
        take_pack=lambda: next(packs),
        find_existing=lambda *uids: [],
    )
    pipeline = Pipeline(stores.objects, stores.spool, inputs)
    with FileSource(file) as source:
        result = ChunkResult(records=[pipeline.read(0, file.name, source)])
    result.dependencies = pipeline.finish()
    pending = PendingCommit(
        target=target,
        caller=server.context.caller.arn,
        emergency=False,
        count=1,
        result=result,
        failed={},
        reply=replies.append,
    )
    committer._commit([pending])
    (reply,) = replies
    assert isinstance(reply, Stored) and isinstance(reply.files[0], InstanceStored), reply


def sets(server: Importing) -> dict[str, int]:
    """The latest version of each image set that is not deleted."""
    row = tables.image_set.c
    with server.stores.db.read() as conn:
        found = conn.execute(select(row.id, row.latest_version).where(row.state == "ACTIVE"))
        return {id: version for id, version in found}


def test_none_waits_for_it(server: Importing, watched: WatchedKeys, tmp_path: Path) -> None:
    db, keys = server.stores.db, server.stores.keys
    assert watched.taken() == ["make"]  # for the new data store

    # With a file that fails, whose reason is sealed; and with older keys than the one that seals.
    write_series(server.input / "a", 3)
    (server.input / "a" / "none.dcm").write_bytes(b"no DICOM")
    assert len(server.run("a").failure) == 1
    renewal.rotate(db, keys, _key(server), Ids().key, 5)
    write(server.input / "b" / "1.dcm", ct(1, PatientName="NEW^NAME"))
    write(server.input / "b" / "2.dcm", ct(4))
    assert len(server.run("b").success) == 2
    asked = watched.taken()
    assert "make" in asked and "unwrap" in asked
    ((id, version),) = sets(server).items()
    assert version == 2

    stow(server, write(tmp_path / "stow.dcm", ct(9)))
    assert "unwrap" in watched.taken() and sets(server) == {id: 3}

    wanted = {"sourceImageSet": {"latestVersionId": "3"}}
    made = call(server, "CopyImageSet", sourceImageSetId=id, copyImageSetInformation=wanted)
    copy = made.destination_image_set_properties.image_set_id
    instances = {f"{ROOT}.1.1.9": {"DICOM": {"ImageComments": "seen"}}}
    edits: dict[str, Any] = {"Patient": {"DICOM": {"PatientName": "OTHER^NAME"}}}
    edits["Study"] = {"Series": {f"{ROOT}.1.1": {"Instances": instances}}}
    blob = json.dumps({"SchemaVersion": 1.1, **edits}).encode()
    update(server, copy, 1, {"DICOMUpdates": {"updatableAttributes": blob}})
    wanted = {"sourceImageSet": {"latestVersionId": "2"}}
    made = call(server, "CopyImageSet", sourceImageSetId=copy, copyImageSetInformation=wanted)
    other = made.destination_image_set_properties.image_set_id
    update(server, copy, 2, {"revertToVersionId": "1"})
    assert sets(server) == {id: 3, copy: 3, other: 1}
    for each in (copy, other):
        call(server, "DeleteImageSet", imageSetId=each)
    assert "unwrap" in watched.taken()

    upload = uploads.begin(server.context, server.datastore, name="scans", files=1, size=1)
    assert "unwrap" in watched.taken()
    uploads.discard(server.context, server.datastore, upload.id)
    server.close_engine()
    job = server.start("a")
    assert cancel_import_job(server.context, job).message
    assert "unwrap" in watched.taken()

    with db.read() as conn:
        sealed.check(conn, server.stores)
    backup = LocalObjects(tmp_path / "backup")
    if db.dialect == "sqlite":
        places.back_up(server.stores, backup)
        restored = Settings(data=tmp_path / "restored", codec_workers=1)
        restored.data.mkdir()
        assert places.restore(backup, restored).is_usable
        with closing(stores_opening.open_stores(restored)) as stores:
            stores.keys.check()
    assert "wrap" not in watched.taken()
    call(server, "DeleteImageSet", imageSetId=id)
    call(server, "DeleteDatastore")
    watched.taken()


def _key(server: Importing) -> int:
    with server.stores.db.read() as conn:
        of_id = tables.datastore.c.id == server.datastore
        return int(conn.execute(select(tables.datastore.c.key).where(of_id)).scalar_one())
