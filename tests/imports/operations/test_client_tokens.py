"""Client tokens: a request that is sent twice makes nothing twice, and means nothing else."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from lightwell.errors import ConflictError, NotFoundError
from lightwell.operations import datastores, import_jobs
from lightwell.operations.context import Caller
from lightwell.wire import shapes
from lightwell.wire.routes import ROUTES
from tests.support.imports import ROLE, Importing


def create(server: Importing, token: str, **more: Any) -> str:
    asked = shapes.CreateDatastoreRequest(client_token=token, **more)
    return datastores.create_datastore(server.context, asked).datastore_id


def start(server: Importing, token: str, **more: Any) -> str:
    values: dict[str, Any] = {
        "datastore_id": server.datastore,
        "data_access_role_arn": ROLE,
        "input_s3_uri": "s3://in-bucket/a/",
        "output_s3_uri": "s3://out-bucket/",
        **more,
    }
    asked = shapes.StartDICOMImportJobRequest(client_token=token, **values)
    return import_jobs.start_dicom_import_job(server.context, asked).job_id


def configuration(path: str) -> shapes.ImportConfiguration:
    mapping = shapes.DicomMetadataMapping(study_instance_uid="1.2", metadata_file_path=path)
    return shapes.ImportConfiguration(
        dicom_json_metadata_import_configuration=shapes.DicomJsonMetadataImportConfiguration(
            dicom_metadata_mappings=[mapping]
        )
    )


OTHER_STORES: list[dict[str, Any]] = [
    {"datastore_name": "b"},
    {"tags": {"a": "b"}},
    {"kms_key_arn": "arn:aws:kms:us-east-1:000000000000:key/b"},
    {"lambda_authorizer_arn": "arn:aws:lambda:us-east-1:000000000000:function:b"},
    {"lossless_storage_format": "JPEG_2000_LOSSLESS"},
]
OTHER_JOBS: list[dict[str, Any]] = [
    {"job_name": "b"},
    {"data_access_role_arn": ROLE + "b"},
    {"input_s3_uri": "s3://in-bucket/b/"},
    {"output_s3_uri": "s3://out-bucket/b"},
    {"input_owner_account_id": "1" * 12},
    {"import_configuration": configuration("b.json")},
    {"datastore_id": "0" * 32},
]


def test_knows_every_operation_that_takes_a_token() -> None:
    taking = {
        name for name in ROUTES if "client_token" in getattr(shapes, f"{name}Request").__struct_fields__
    }
    assert taking == {"CreateDatastore", "StartDICOMImportJob"}


def test_answers_a_repeat_as_before(server: Importing) -> None:
    store = create(server, "t1", tags={"a": "1", "b": "2"})
    assert create(server, "t1", tags={"b": "2", "a": "1"}) == store
    job = start(server, "t1", import_configuration=configuration("a.json"))
    assert start(server, "t1", import_configuration=configuration("a.json")) == job
    server.work()
    assert start(server, "t1", import_configuration=configuration("a.json")) == job


@pytest.mark.parametrize("other", OTHER_STORES, ids=lambda other: next(iter(other)))
def test_refuses_a_token_with_other_parameters_of_a_store(sqlite: Importing, other: dict[str, Any]) -> None:
    create(sqlite, "t1", datastore_name="a")
    with pytest.raises(ConflictError, match="clientToken"):
        create(sqlite, "t1", **{"datastore_name": "a", **other})
    create(sqlite, "t2", **{"datastore_name": "a", **other})


@pytest.mark.parametrize("other", OTHER_JOBS, ids=lambda other: next(iter(other)))
def test_refuses_a_token_with_other_parameters_of_a_job(sqlite: Importing, other: dict[str, Any]) -> None:
    job = start(sqlite, "t1")
    with pytest.raises(ConflictError, match="clientToken"):
        start(sqlite, "t1", **other)
    assert start(sqlite, "t1") == job


def test_keeps_tokens_of_operations_and_accounts_apart(server: Importing) -> None:
    store, job = create(server, "same"), start(server, "same")
    other = Caller("111122223333", "arn:aws:iam::111122223333:root", "AK")
    stranger = replace(server, context=replace(server.context, caller=other))
    assert create(stranger, "same", datastore_name="b") != store
    assert start(stranger, "same", job_name="b") != job
    # Another user of the account is the same caller as far as tokens go.
    user = replace(server.context.caller, arn="arn:aws:iam::000000000000:user/ana")
    colleague = replace(server, context=replace(server.context, caller=user))
    assert create(colleague, "same") == store


@pytest.mark.parametrize("make", [create, start])
def test_makes_one_of_many_requests_at_once(server: Importing, make: Callable[[Importing, str], str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: make(server, "race"), range(16)))) == 1


def test_does_not_keep_the_token_of_a_refused_request(server: Importing) -> None:
    with pytest.raises(NotFoundError):
        start(server, "t1", datastore_id="0" * 32)
    assert start(server, "t1")


def test_answers_for_a_job_whose_store_is_deleted(server: Importing) -> None:
    job = start(server, "t1")
    server.work()
    deleted = shapes.DeleteDatastoreRequest(datastore_id=server.datastore)
    datastores.delete_datastore(server.context, deleted)
    assert start(server, "t1") == job
    with pytest.raises(NotFoundError):
        start(server, "t2")
