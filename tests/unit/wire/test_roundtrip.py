"""Every operation against botocore's own serializer and parser."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightwell.errors import AuthenticationError, ConflictError, QuotaExceededError, ThrottlingError
from lightwell.wire.matching import match
from lightwell.wire.parse import parse
from lightwell.wire.query import query_pairs
from lightwell.wire.render import render, render_error
from lightwell.wire.route import Route
from lightwell.wire.routes import ROUTES
from tests.unit.wire import model

OPERATIONS = sorted(ROUTES)
quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def received(method: str, path: bytes, query: bytes, body: bytes) -> tuple[Route, msgspec.Struct]:
    route, params = match(method, path)
    return route, parse(route, params, query_pairs(query), body)


def test_covers_every_operation_of_the_model() -> None:
    assert set(ROUTES) == set(model.service().operation_names)
    assert len(ROUTES) == 18


@pytest.mark.parametrize("name", OPERATIONS)
@quick
@given(data=st.data())
def test_reads_what_boto3_sends(name: str, data: st.DataObject) -> None:
    params = data.draw(model.values(model.operation(name).input_shape))
    route, request = received(*model.on_the_wire(name, params))
    assert route.operation == name
    if name == "SearchImageSets":
        params.setdefault("searchCriteria", {})  # boto3 sends {} where it is left out
    assert msgspec.to_builtins(request) == model.plain(params)


@pytest.mark.parametrize("name", OPERATIONS)
@quick
@given(data=st.data())
def test_answers_what_boto3_reads(name: str, data: st.DataObject) -> None:
    route = ROUTES[name]
    drawn = data.draw(model.values(model.operation(name).output_shape))
    for header, attribute in route.headers:
        field = next(f for f in msgspec.structs.fields(route.response) if f.name == attribute)
        if field.encode_name in drawn:
            drawn[field.encode_name] = "application/json" if header == "content-type" else "gzip"
    response = msgspec.convert(model.plain(drawn), route.response)
    read = model.as_read(name, render(route, response))
    assert read.pop("ResponseMetadata")["HTTPStatusCode"] == 200
    if route.blob is not None:
        # Where the operation gives no content type, the answer bears the documented default.
        drawn.setdefault("contentType", "application/octet-stream")
    assert model.plain(read) == model.plain(drawn)


@pytest.mark.parametrize(
    "error",
    [
        ConflictError("The data store is being deleted"),
        QuotaExceededError("There may be 10 data stores"),
        ThrottlingError("Rate exceeded", retry_after=1),
        AuthenticationError("InvalidSignatureException", "The signature does not match"),
    ],
)
def test_errors_reach_boto3_with_code_and_message(error: Any) -> None:
    read = model.as_read("CreateDatastore", render_error(error))
    assert read["Error"]["Code"] == error.code
    assert read["Error"]["Message"] == error.message
    assert read["ResponseMetadata"]["HTTPStatusCode"] == error.status


def test_declares_the_errors_of_the_model() -> None:
    for name, route in ROUTES.items():
        assert list(route.errors) == [s.name for s in model.operation(name).error_shapes]
