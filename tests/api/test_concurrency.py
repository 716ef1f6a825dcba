"""Writers that name the same version of an image set: one wins, the others learn that they came too late."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support import image_set_builders, services
from tests.support.image_set_builders import BuiltInstance
from tests.support.server import Server, running

THREADS, ROUNDS = 8, 6
STALE = "Requested version(s) of ImageSet(s) is not the latest."


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of three HTTP processes."""
    data = tmp_path_factory.mktemp(f"several-{request.param}") / "data"
    with ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            url = stack.enter_context(services.new_database(request.getfixturevalue("postgres_server")))
        yield stack.enter_context(running(data, database_url=url, workers=3))


def race(server: Server, calls: list[Any]) -> list[Any]:
    """The answer of each call, or the ClientError that it raised; all start at once."""
    clients = [server.client() for _ in calls]
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(place: int) -> None:
        barrier.wait()
        try:
            results[place] = calls[place](clients[place])
        except ClientError as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    return results


def blob(part: str, dicom: dict[str, Any]) -> dict[str, Any]:
    document = {"SchemaVersion": 1.1, part: {"DICOM": dicom}}
    return {"DICOMUpdates": {"updatableAttributes": json.dumps(document)}}


def test_lets_exactly_one_of_many_writers_win(processes: Server) -> None:
    stores = image_set_builders.open_at(processes.data, processes.database_url)
    built = image_set_builders.image_set(stores, [BuiltInstance("1.1", 1)], is_primary=False)
    stores.close()
    ids = {"datastoreId": built.datastore_id, "imageSetId": built.id}

    def writer(version: int, place: int) -> Any:
        updates = blob("Patient", {"PatientName": f"WRITER^{place}"})
        if place == 0 and version > 1:
            updates = {"revertToVersionId": "1"}
        return lambda client: client.update_image_set_metadata(
            **ids, latestVersionId=str(version), updateImageSetMetadataUpdates=updates
        )

    for version in range(1, ROUNDS + 1):
        results = race(processes, [writer(version, place) for place in range(THREADS)])
        won = [result for result in results if not isinstance(result, ClientError)]
        lost = [result.response["Error"] for result in results if isinstance(result, ClientError)]
        assert [answer["latestVersionId"] for answer in won] == [str(version + 1)]
        assert {(error["Code"], error["Message"]) for error in lost} == {("ResourceNotFoundException", STALE)}
    client = processes.client()
    versions = client.list_image_set_versions(**ids)["imageSetPropertiesList"]
    assert [v["versionId"] for v in versions] == [str(n) for n in range(ROUNDS + 1, 0, -1)]
    assert {v["ImageSetWorkflowStatus"] for v in versions[:-1]} == {"UPDATED"}


def test_keeps_the_sets_of_a_study_in_step(processes: Server) -> None:
    stores = image_set_builders.open_at(processes.data, processes.database_url)
    store = stores.db.write(image_set_builders.datastore)
    built = [
        image_set_builders.image_set(
            stores,
            [BuiltInstance(f"1.{number}", 1)],
            store=store,
            study={"StudyDate": "20200102", "StudyInstanceUID": "1.2.3"},
            series={"Modality": "CT", "SeriesInstanceUID": f"1.2.3.{number}"},
        )
        for number in range(4)
    ]
    stores.close()

    def writer(version: int, place: int) -> Any:
        return lambda client: client.update_image_set_metadata(
            datastoreId=store[1],
            imageSetId=built[place % 4].id,
            latestVersionId=str(version),
            updateImageSetMetadataUpdates=blob("Study", {"StudyDescription": f"{version} {place}"}),
            includeStudyImageSets=True,
        )

    client = processes.client()
    for version in range(1, ROUNDS + 1):
        results = race(processes, [writer(version, place) for place in range(THREADS)])
        assert sum(not isinstance(result, ClientError) for result in results) == 1
        assert {str(r) for r in results if isinstance(r, ClientError)} == {
            "An error occurred (ResourceNotFoundException) when calling the UpdateImageSetMetadata operation "
            f"(reached max retries: 0): {STALE}"
        }
        found = client.search_image_sets(datastoreId=store[1], searchCriteria={})[
            "imageSetsMetadataSummaries"
        ]
        assert {s["version"] for s in found} == {version + 1}
        assert len({s["DICOMTags"]["DICOMStudyDescription"] for s in found}) == 1
