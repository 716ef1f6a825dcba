"""``quotas = aws`` at updates and copies: payload, frames of a copy, length of the document."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from lightwell.domain import limits
from lightwell.errors import QuotaExceededError
from lightwell.operations import image_sets
from lightwell.operations.copy_image_set import copy_image_set
from lightwell.operations.update_image_set_metadata import update_image_set_metadata
from lightwell.stores.account import datastores
from lightwell.stores.db import tables
from lightwell.wire import shapes
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance, BuiltSet
from tests.support.imports import Importing


def limited(server: Importing, quotas: str = "aws") -> Importing:
    settings = replace(server.settings, quotas=quotas)
    return replace(server, context=replace(server.context, settings=settings))


def make(server: Importing, frames: int = 1) -> BuiltSet:
    with server.stores.db.read() as conn:
        store = datastores.get(conn, server.datastore)
    assert store is not None
    instances = [
        BuiltInstance("1.5", 1, frames=[b"f"] * (frames - 1)),
        BuiltInstance("1.6", 2, frames=[b"f"]),
    ]
    return image_set_builders.image_set(
        server.stores, instances, store=(store.key, store.id), is_primary=False
    )


def update(server: Importing, built: BuiltSet, text: str) -> None:
    blob = json.dumps({"SchemaVersion": "1.1", "Study": {"DICOM": {"AdditionalPatientHistory": text}}})
    update_image_set_metadata(
        server.context,
        shapes.UpdateImageSetMetadataRequest(
            datastore_id=built.datastore_id,
            image_set_id=built.id,
            latest_version_id="1",
            update_image_set_metadata_updates=shapes.MetadataUpdates(
                dicom_updates=shapes.DICOMUpdates(updatable_attributes=blob.encode())
            ),
        ),
    )


def copy(server: Importing, built: BuiltSet, only: dict[str, Any] | None = None) -> None:
    named = None if only is None else shapes.MetadataCopies(copiable_attributes=json.dumps(only))
    copy_image_set(
        server.context,
        shapes.CopyImageSetRequest(
            datastore_id=built.datastore_id,
            source_image_set_id=built.id,
            copy_image_set_information=shapes.CopyImageSetInformation(
                source_image_set=shapes.CopySourceImageSetInformation(
                    latest_version_id="1", dicom_copies=named
                )
            ),
        ),
    )


def version(server: Importing, built: BuiltSet) -> str:
    asked = shapes.GetImageSetRequest(datastore_id=built.datastore_id, image_set_id=built.id)
    return image_sets.get_image_set(server.context, asked).version_id


def test_takes_an_update_of_ten_kilobytes_and_no_more(server: Importing) -> None:
    built = make(server)
    with pytest.raises(QuotaExceededError, match="quota is 10240"):
        update(limited(server), built, "x" * 10_240)
    assert version(server, built) == "1"
    update(limited(server), built, "x" * 10_000)
    update(server, make(server), "x" * 10_240)


def test_takes_a_copy_of_a_thousand_frames_and_no_more(server: Importing) -> None:
    copy(limited(server), make(server, 1000))
    built = make(server, 1001)
    with pytest.raises(QuotaExceededError, match="quota is 1000 per request"):
        copy(limited(server), built)
    with server.stores.db.read() as conn:
        series = conn.execute(tables.image_set.select().where(tables.image_set.c.id == built.id)).one()
    only: dict[str, Any] = {series.series_instance_uid: {"Instances": {"1.6": {}}}}
    copy(limited(server), built, {"SchemaVersion": "1.1", "Study": {"Series": only}})
    copy(server, built)


@pytest.mark.parametrize("change", [partial(update, text="x" * 1000), copy], ids=["update", "copy"])
def test_creates_no_document_that_is_longer_than_the_quota(
    server: Importing, change: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = make(server)
    monkeypatch.setattr(limits, "METADATA_QUOTA", 500)
    with pytest.raises(QuotaExceededError, match="longer than 500 bytes"):
        change(limited(server), built)
    assert version(server, built) == "1"
    with server.stores.db.read() as conn:
        assert len(conn.execute(tables.image_set.select()).all()) == 1
    monkeypatch.setattr(limits, "METADATA_QUOTA", 5000)
    change(limited(server), built)


def test_measures_no_document_unless_asked(server: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "METADATA_QUOTA", 0)
    update(server, make(server), "x")
    copy(server, make(server))
