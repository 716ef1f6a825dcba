"""CopyImageSet with promoteToPrimary, in each of its cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.copying import SERIES, Maker, subset
from tests.support import image_set_builders
from tests.support.server import Server

Refused = Callable[..., str]
DONT_MATCH = "INVALID_REQUEST:  {} of SourceImageSet and DestinationImageSet don't match."


@pytest.fixture
def make(client: Any, server: Server, datastore: str) -> Iterator[Maker]:
    stores = image_set_builders.open_at(server.data, server.database_url)
    yield Maker(client, stores, datastore)
    stores.close()


def test_makes_a_new_primary_set_where_the_series_has_none(make: Maker) -> None:
    source = make()
    promoted = source.made(promoteToPrimary=True)
    assert promoted.id != source.id
    assert promoted.status() == ("1", "ACTIVE", "COPIED")
    assert promoted.properties()["isPrimary"] is True
    assert source.properties()["isPrimary"] is False
    assert promoted.text() == source.text().replace(source.id, promoted.id)
    assert [event[:2] + event[5:6] for event in make.events(source, promoted)] == [
        ("Copying With Read Only Access", 0, False),
        ("Copying", 1, True),
        ("Copied", 1, True),
    ]


def test_promotes_a_subset(make: Maker) -> None:
    promoted = make().made(only=subset("1.2"), promoteToPrimary=True)
    assert promoted.properties()["isPrimary"] is True
    assert list(promoted.instances()) == ["1.2"]


def test_adds_to_the_primary_set_that_agrees_and_answers_its_id(make: Maker) -> None:
    primary, other, source = make(is_primary=True), make("3.1"), make("2.1")
    answer = source.copy(promoteToPrimary=True)["destinationImageSetProperties"]
    assert (answer["imageSetId"], answer["latestVersionId"]) == (primary.id, "2")
    assert primary.status() == ("2", "ACTIVE", "COPIED")
    assert primary.properties()["isPrimary"] is True
    assert sorted(primary.instances()) == ["1.1", "1.2", "1.3", "2.1"]
    assert other.made(promoteToPrimary=True).id == primary.id
    assert primary.statuses() == [("3", "COPIED"), ("2", "COPIED"), ("1", "CREATED")]


@pytest.mark.parametrize("force", [False, True])
def test_fails_on_a_set_of_its_own_where_the_primary_set_does_not_match(make: Maker, force: bool) -> None:
    primary, source = make(is_primary=True), make("2.1", patient={"PatientName": "DOE^JOHN"})
    failed = source.made(promoteToPrimary=True, force=force)
    assert failed.id not in (primary.id, source.id)
    found = failed.properties()
    assert failed.status() == ("1", "ACTIVE", "COPY_FAILED")
    assert (found["isPrimary"], found["message"]) == (False, DONT_MATCH.format("Patient"))
    assert primary.statuses() == [("1", "CREATED")]
    assert make.events(source, failed, primary)[1:] == [
        ("Copying", 1, "1", "LOCKED", "COPYING", False, make.events(source, failed)[1][6]),
        ("Copy Failed", 1, "1", "ACTIVE", "COPY_FAILED", False, None),
    ]


def test_fails_where_the_primary_set_has_an_instance_already(make: Maker) -> None:
    primary = make(is_primary=True)
    failed = primary.made().made(promoteToPrimary=True)
    assert failed.status() == ("1", "ACTIVE", "COPY_FAILED")
    assert "SOPInstanceUID 1.1" in failed.properties()["message"]
    assert primary.statuses() == [("1", "CREATED")]


@pytest.mark.parametrize("force", [False, True])
def test_fails_where_it_contradicts_another_primary_set_of_the_study(make: Maker, force: bool) -> None:
    other = make("3.1", is_primary=True, series={"SeriesInstanceUID": "1.2.4.9"})
    source = make(patient={"PatientID": "P2"})
    failed = source.made(promoteToPrimary=True, force=force)
    found = failed.properties()
    assert failed.status() == ("1", "ACTIVE", "COPY_FAILED")
    assert found["message"].startswith("INVALID_REQUEST:  PatientID, StudyDate,")
    assert found["isPrimary"] is False
    source.update(1, {"Patient": {"DICOM": {"PatientID": "P1"}}})
    assert source.made(2, promoteToPrimary=True).properties()["isPrimary"] is True
    assert other.statuses() == [("1", "CREATED")]


def test_shows_no_content_of_what_failed_and_lets_it_be_deleted(
    make: Maker, client: Any, refused: Refused
) -> None:
    make(is_primary=True)
    failed = make().made(promoteToPrimary=True)
    found = client.search_image_sets(datastoreId=make.datastore, searchCriteria={})
    assert failed.id not in {one["imageSetId"] for one in found["imageSetsMetadataSummaries"]}
    refused("ResourceNotFoundException", failed.text)
    assert "no content" in refused("ConflictException", failed.copy)
    assert failed.statuses() == [("1", "COPY_FAILED")]
    client.delete_image_set(**failed.ids)
    assert failed.status() == ("1", "DELETED", "DELETED")


def test_refuses_a_set_that_is_primary_and_a_version_that_is_stale(make: Maker, refused: Refused) -> None:
    primary = make(is_primary=True)
    assert "already primary" in refused("ConflictException", primary.copy, promoteToPrimary=True)
    message = refused("ResourceNotFoundException", primary.copy, version=2, promoteToPrimary=True)
    assert message == "Requested version(s) of ImageSet(s) is not the latest."
    assert make.events(primary) == []


def test_walks_the_way_round_to_change_a_primary_set(make: Maker, client: Any) -> None:
    primary = make(is_primary=True)
    copied = primary.made()
    copied.update(1, {"Patient": {"DICOM": {"PatientID": "1234"}}})
    client.delete_image_set(**primary.ids)
    promoted = copied.made(2, promoteToPrimary=True)
    client.delete_image_set(**copied.ids)
    assert promoted.properties()["isPrimary"] is True
    assert promoted.document()["Patient"]["DICOM"]["PatientID"] == "1234"
    assert list(promoted.document()["Study"]["Series"]) == [SERIES]
    for uid, shown in promoted.instances().items():
        assert promoted.frame(shown["ImageFrames"][0]["ID"]) == f"frame {uid}".encode()
    found = client.search_image_sets(datastoreId=make.datastore, searchCriteria={})
    assert [one["imageSetId"] for one in found["imageSetsMetadataSummaries"]] == [promoted.id]
