"""An unmodified boto3 client against the wire and the signature check alone, without a socket."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import msgspec
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from lightwell.auth.sigv4 import SignedRequest, read_signature, verify
from lightwell.errors import ApiError, ConflictError, NotFoundError
from lightwell.wire import shapes
from lightwell.wire.matching import match
from lightwell.wire.parse import parse
from lightwell.wire.query import query_pairs
from lightwell.wire.render import WireResponse, render, render_error

D, I = "d" * 32, "1" * 32  # noqa: E741
ARN = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{D}/imageset/{I}"
SECRET = "secret"
Operation = Callable[[Any], msgspec.Struct]


class _Raw(io.BytesIO):
    def stream(self) -> Iterator[bytes]:
        yield self.read()


def answer(request: AWSPreparedRequest, operation: Operation) -> WireResponse:
    parts = urlsplit(request.url)
    body = request.body or b""
    headers = [
        (k.lower().encode(), v if isinstance(v, bytes) else v.encode()) for k, v in request.headers.items()
    ]
    headers.append((b"host", parts.netloc.encode()))
    signed = SignedRequest(request.method, parts.path.encode(), parts.query.encode(), headers)
    try:
        verify(read_signature(signed), signed, SECRET, lambda: hashlib.sha256(body).hexdigest(), time.time())
        route, params = match(request.method, signed.raw_path)
        return render(route, operation(parse(route, params, query_pairs(signed.query), body)))
    except ApiError as error:
        return render_error(error)


def client(operation: Operation, *, secret: str = SECRET, token: str | None = None) -> Any:
    def send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        made = answer(request, operation)
        headers = {k.decode(): v.decode() for k, v in made.headers}
        return AWSResponse(request.url, made.status, headers, _Raw(made.body))

    made = boto3.session.Session(
        aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key=secret, aws_session_token=token
    ).client(
        "medical-imaging",
        region_name="us-east-1",
        endpoint_url="http://localhost:8085",
        config=Config(retries={"max_attempts": 0}),
    )
    made.meta.events.register("before-send.medical-imaging", send)
    return made


def test_creates_a_data_store_with_a_token_of_its_own() -> None:
    def create(request: shapes.CreateDatastoreRequest) -> shapes.CreateDatastoreResponse:
        assert len(request.client_token) == 36
        assert request.tags == {"a:b": "c d"}
        return shapes.CreateDatastoreResponse(datastore_id=D, datastore_status="CREATING")

    read = client(create).create_datastore(datastoreName="demo", tags={"a:b": "c d"})
    assert (read["datastoreId"], read["datastoreStatus"]) == (D, "CREATING")


@pytest.mark.parametrize("token", [None, "session/token=="])
def test_tags_by_an_encoded_arn(token: str | None) -> None:
    def untag(request: shapes.UntagResourceRequest) -> shapes.UntagResourceResponse:
        assert request == shapes.UntagResourceRequest(resource_arn=ARN, tag_keys=["a:b", "c+d", "e"])
        return shapes.UntagResourceResponse()

    client(untag, token=token).untag_resource(resourceArn=ARN, tagKeys=["a:b", "c+d", "e"])


def test_streams_a_frame() -> None:
    def frame(request: shapes.GetImageFrameRequest) -> shapes.GetImageFrameResponse:
        assert request.image_frame_information.image_frame_id == I
        return shapes.GetImageFrameResponse(image_frame_blob=b"\x00\xff" * 500, content_type="image/jph")

    read = client(frame).get_image_frame(
        datastoreId=D, imageSetId=I, imageFrameInformation={"imageFrameId": I}
    )
    assert read["contentType"] == "image/jph"
    assert read["imageFrameBlob"].read() == b"\x00\xff" * 500


def test_sends_metadata_compressed() -> None:
    def metadata(request: shapes.GetImageSetMetadataRequest) -> shapes.GetImageSetMetadataResponse:
        assert request.version_id == "3"
        return shapes.GetImageSetMetadataResponse(
            image_set_metadata_blob=b"\x1f\x8b", content_type="application/json", content_encoding="gzip"
        )

    read = client(metadata).get_image_set_metadata(datastoreId=D, imageSetId=I, versionId="3")
    assert (read["contentType"], read["contentEncoding"]) == ("application/json", "gzip")
    assert read["imageSetMetadataBlob"].read() == b"\x1f\x8b"


def test_pages_through_a_search() -> None:
    def search(request: shapes.SearchImageSetsRequest) -> shapes.SearchImageSetsResponse:
        assert request.max_results == 1
        page = int(request.next_token or 0)
        item = shapes.ImageSetsMetadataSummary(image_set_id=f"{page:032d}", created_at=1763978405.25)
        return shapes.SearchImageSetsResponse(
            image_sets_metadata_summaries=[item], next_token=str(page + 1) if page < 2 else None
        )

    pages = client(search).get_paginator("search_image_sets").paginate(
        datastoreId=D, PaginationConfig={"PageSize": 1}
    )  # fmt: skip
    found = [s for page in pages for s in page["imageSetsMetadataSummaries"]]
    assert [int(s["imageSetId"]) for s in found] == [0, 1, 2]
    assert found[0]["createdAt"].timestamp() == 1763978405.25


@pytest.mark.parametrize(
    ("error", "name"),
    [(NotFoundError("Requested version is not the latest."), "ResourceNotFoundException"),
     (ConflictError("busy"), "ConflictException")],
)  # fmt: skip
def test_raises_the_errors_of_the_model(error: ApiError, name: str) -> None:
    def fail(_: Any) -> msgspec.Struct:
        raise error

    made = client(fail)
    with pytest.raises(getattr(made.exceptions, name)) as raised:
        made.get_image_set(datastoreId=D, imageSetId=I)
    assert raised.value.response["message"] == error.message


def test_raises_a_validation_error_for_what_boto3_does_not_check() -> None:
    made = client(lambda _: shapes.ListDatastoresResponse())
    with pytest.raises(
        made.exceptions.ValidationException, match="1 validation error detected: Value '51' at"
    ):
        made.list_datastores(maxResults=51)


def test_refuses_a_wrong_secret_before_it_looks_at_the_request() -> None:
    with pytest.raises(ClientError) as raised:
        client(lambda _: shapes.ListDatastoresResponse(), secret="wrong").list_datastores(maxResults=51)
    assert raised.value.response["Error"]["Code"] == "InvalidSignatureException"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
