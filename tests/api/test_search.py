"""SearchImageSets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from lightwell.stores import Stores
from lightwell.stores.account import datastores
from tests.support import image_set_builders
from tests.support.image_set_builders import NOW
from tests.support.server import Server

Refused = Callable[..., str]


@pytest.fixture
def stores(server: Server) -> Iterator[Stores]:
    found = image_set_builders.open_at(server.data, server.database_url)
    yield found
    found.close()


def fill(stores: Stores, datastore: str, *sets: dict[str, Any]) -> list[str]:
    """Sets with these columns; their ids."""
    with stores.db.read() as conn:
        store = datastores.get(conn, datastore)
    assert store is not None
    rows = [image_set_builders.image_set_row(store.key, **columns) for columns in sets]
    stores.db.write(lambda conn: image_set_builders.insert_image_sets(conn, rows))
    return [row["id"] for row in rows]


def search(client: Any, datastore: str, *filters: dict[str, Any], **more: Any) -> list[str]:
    criteria: dict[str, Any] = {"filters": list(filters)} if filters else {}
    if "sort" in more:
        criteria["sort"] = dict(zip(("sortField", "sortOrder"), more.pop("sort"), strict=True))
    found = client.search_image_sets(datastoreId=datastore, searchCriteria=criteria, **more)
    return [summary["imageSetId"] for summary in found["imageSetsMetadataSummaries"]]


def equal(**value: Any) -> dict[str, Any]:
    return {"operator": "EQUAL", "values": [value]}


def between(name: str, low: Any, high: Any) -> dict[str, Any]:
    return {"operator": "BETWEEN", "values": [{name: low}, {name: high}]}


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000).astimezone()


def test_shows_every_attribute_of_a_set(client: Any, stores: Stores, datastore: str) -> None:
    (id,) = fill(
        stores,
        datastore,
        {
            "readable_version": 3,
            "patient_id": "P1",
            "patient_name": "DOE^JANE",
            "patient_birth_date": "19700101",
            "patient_sex": "F",
            "study_instance_uid": "1.2",
            "study_id": "S1",
            "study_description": "CHEST",
            "accession_number": "A1",
            "series_instance_uid": "1.2.3",
            "series_number": "7",
            "modality": "CT",
            "body_part_examined": "CHEST",
            "study_date": "20200102",
            "study_time": "101500",
            "instance_count": 12,
        },
    )
    answer = client.search_image_sets(datastoreId=datastore)
    (found,) = answer["imageSetsMetadataSummaries"]
    assert "nextToken" not in answer and "sort" not in answer
    assert found.pop("storageTier") in ("FREQUENT_ACCESS", "ARCHIVE_INSTANT_ACCESS")
    assert found == {
        "imageSetId": id,
        "version": 3,
        "createdAt": moment(NOW),
        "updatedAt": moment(NOW),
        "lastAccessedAt": moment(NOW),
        "isPrimary": True,
        "DICOMTags": {
            "DICOMPatientId": "P1",
            "DICOMPatientName": "DOE^JANE",
            "DICOMPatientBirthDate": "19700101",
            "DICOMPatientSex": "F",
            "DICOMStudyInstanceUID": "1.2",
            "DICOMStudyId": "S1",
            "DICOMStudyDescription": "CHEST",
            "DICOMNumberOfStudyRelatedSeries": 1,
            "DICOMNumberOfStudyRelatedInstances": 12,
            "DICOMAccessionNumber": "A1",
            "DICOMSeriesInstanceUID": "1.2.3",
            "DICOMSeriesModality": "CT",
            "DICOMSeriesBodyPart": "CHEST",
            "DICOMSeriesNumber": 7,
            "DICOMStudyDate": "20200102",
            "DICOMStudyTime": "101500",
        },
    }


@pytest.mark.parametrize("number", ["seven", "2147483648", "", "1\\2"])
def test_leaves_out_a_series_number_that_is_no_integer(
    client: Any, stores: Stores, datastore: str, number: str
) -> None:
    fill(stores, datastore, {"series_number": number or None})
    (found,) = client.search_image_sets(datastoreId=datastore)["imageSetsMetadataSummaries"]
    assert "DICOMSeriesNumber" not in found["DICOMTags"]


def test_finds_by_each_attribute(client: Any, stores: Stores, datastore: str) -> None:
    columns = {
        "DICOMPatientId": "patient_id",
        "DICOMAccessionNumber": "accession_number",
        "DICOMStudyId": "study_id",
        "DICOMStudyInstanceUID": "study_instance_uid",
        "DICOMSeriesInstanceUID": "series_instance_uid",
    }
    wanted, _ = fill(stores, datastore, dict.fromkeys(columns.values(), "1.5"), {"is_primary": False})
    for name in columns:
        assert search(client, datastore, equal(**{name: "1.5"})) == [wanted]
        assert search(client, datastore, equal(**{name: "1"})) == []
    assert search(client, datastore, equal(isPrimary=True)) == [wanted]


def test_combines_two_filters_and_sorts_as_asked(client: Any, stores: Stores, datastore: str) -> None:
    ids = fill(
        stores,
        datastore,
        *({"patient_id": "A" if n % 2 else "B", "updated_at": NOW + n * 1000} for n in range(6)),
    )
    filters = (equal(DICOMPatientId="A"), between("updatedAt", moment(NOW + 1000), moment(NOW + 3000)))
    assert search(client, datastore, *filters, sort=("updatedAt", "ASC")) == [ids[1], ids[3]]
    assert search(client, datastore, *filters) == [ids[3], ids[1]]


def test_sorts_sets_without_study_date_last(client: Any, stores: Stores, datastore: str) -> None:
    undated, early, late = fill(
        stores,
        datastore,
        {},
        {"study_moment": "20200101000000.000000"},
        {"study_moment": "20210101000000.000000"},
    )
    sort = "DICOMStudyDateAndTime"
    assert search(client, datastore, sort=(sort, "ASC")) == [early, late, undated]
    assert search(client, datastore, sort=(sort, "DESC")) == [late, early, undated]
    whole = between(sort, {"DICOMStudyDate": "19000101"}, {"DICOMStudyDate": "99991231"})
    assert search(client, datastore, whole, sort=(sort, "ASC")) == [early, late]


def test_includes_both_ends_of_a_range_of_study_times(client: Any, stores: Stores, datastore: str) -> None:
    ids = fill(stores, datastore, *({"study_moment": f"20200101{n:06}.500000"} for n in range(4)))
    given = between(
        "DICOMStudyDateAndTime",
        {"DICOMStudyDate": "20200101", "DICOMStudyTime": "000001.5"},
        {"DICOMStudyDate": "20200101", "DICOMStudyTime": "000002.500000"},
    )
    assert search(client, datastore, given, sort=("DICOMStudyDateAndTime", "ASC")) == ids[1:3]


def test_echoes_the_sort_that_was_asked(client: Any, datastore: str) -> None:
    sort = {"sortField": "createdAt", "sortOrder": "ASC"}
    answer = client.search_image_sets(datastoreId=datastore, searchCriteria={"sort": sort})
    assert answer["sort"] == sort


def test_finds_nothing_of_other_data_stores_nor_unlisted_sets(
    client: Any, stores: Stores, datastore: str
) -> None:
    fill(stores, datastore, {"listed_in": None, "state": "DELETED"})
    fill(stores, client.create_datastore()["datastoreId"], {})
    assert search(client, datastore) == []


def test_gives_every_set_once_over_pages(client: Any, stores: Stores, datastore: str) -> None:
    ids = fill(stores, datastore, *({"updated_at": NOW + n // 10} for n in range(105)))
    paginator = client.get_paginator("search_image_sets")
    pages = list(paginator.paginate(datastoreId=datastore, PaginationConfig={"PageSize": 20}))
    found = [summary["imageSetId"] for page in pages for summary in page["imageSetsMetadataSummaries"]]
    assert [len(page["imageSetsMetadataSummaries"]) for page in pages] == [20, 20, 20, 20, 20, 5]
    assert sorted(found) == sorted(ids)
    assert len(search(client, datastore)) == 50


def test_refuses_a_token_of_another_search(
    client: Any, stores: Stores, datastore: str, refused: Refused
) -> None:
    fill(stores, datastore, {}, {})
    token = client.search_image_sets(datastoreId=datastore, maxResults=1)["nextToken"]
    other = client.create_datastore()["datastoreId"]
    for arguments in (
        {"datastoreId": datastore, "searchCriteria": {"filters": [equal(DICOMPatientId="A")]}},
        {"datastoreId": other},
    ):
        message = refused("ValidationException", client.search_image_sets, nextToken=token, **arguments)
        assert "another search" in message
    refused("ValidationException", client.search_image_sets, nextToken="x", datastoreId=datastore)


@pytest.mark.parametrize(
    "given",
    [
        {"operator": "LIKE", "values": [{"DICOMPatientId": "A"}]},
        {"operator": "EQUAL", "values": [{"DICOMPatientId": "A"}, {"DICOMPatientId": "B"}]},
        {"operator": "BETWEEN", "values": [{"createdAt": 1}]},
        {"operator": "BETWEEN", "values": [{"createdAt": 1}, {"updatedAt": 2}]},
        {"operator": "BETWEEN", "values": [{"createdAt": 2}, {"createdAt": 1}]},
        {"operator": "BETWEEN", "values": [{"DICOMPatientId": "A"}, {"DICOMPatientId": "B"}]},
        {"operator": "EQUAL", "values": [{"DICOMStudyInstanceUID": "not a uid"}]},
        {"operator": "EQUAL", "values": [{"DICOMStudyDateAndTime": {"DICOMStudyDate": "2020"}}]},
    ],
)
def test_refuses_filters_that_say_nothing(
    client: Any, datastore: str, refused: Refused, given: dict[str, Any]
) -> None:
    call, criteria = client.search_image_sets, {"filters": [given]}
    refused("ValidationException", call, datastoreId=datastore, searchCriteria=criteria)


def test_refuses_more_filters_and_results_than_the_model_allows(
    client: Any, datastore: str, refused: Refused
) -> None:
    filters = [equal(DICOMPatientId="A")] * 3
    call = client.search_image_sets
    refused("ValidationException", call, datastoreId=datastore, searchCriteria={"filters": filters})
    refused("ValidationException", call, datastoreId=datastore, maxResults=51)


def test_refuses_an_unknown_data_store(client: Any, refused: Refused) -> None:
    message = refused("ResourceNotFoundException", client.search_image_sets, datastoreId="0" * 32)
    assert "Datastore 0000" in message


def test_refuses_a_deleted_data_store(client: Any, datastore: str, refused: Refused) -> None:
    client.delete_datastore(datastoreId=datastore)
    refused("ResourceNotFoundException", client.search_image_sets, datastoreId=datastore)


def test_finds_names_of_every_script(client: Any, stores: Stores, datastore: str) -> None:
    (id,) = fill(stores, datastore, {"patient_id": "患者-1", "patient_name": "山田^太郎"})
    assert search(client, datastore, equal(DICOMPatientId="患者-1")) == [id]
