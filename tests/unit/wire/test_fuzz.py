"""Nothing that arrives becomes a fault of the server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lightwell.errors import ApiError, UnknownOperationError, ValidationError
from lightwell.wire.matching import match
from lightwell.wire.parse import parse
from lightwell.wire.query import query_pairs
from lightwell.wire.render import render_error
from lightwell.wire.routes import ROUTES
from tests.unit.wire import model

quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(10**18, 10**25),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["", "1", "EQUAL", "s3://abc", "d" * 32]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=10,
)
BODIED = sorted(name for name, route in ROUTES.items() if route.body or route.payload)


def said(error: ApiError) -> str:
    rendered = render_error(error)
    message: str = json.loads(rendered.body)["message"]
    assert 0 < len(message) <= 2048
    assert message.isprintable()
    return message


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for k, v in below for p in places(v, (*path, k)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("name", BODIED)
@quick
@given(data=st.data())
def test_one_odd_value_anywhere_is_accepted_or_named(name: str, data: st.DataObject) -> None:
    params = data.draw(model.values(model.operation(name).input_shape))
    method, path, query, body = model.on_the_wire(name, params)
    assume(body)
    content = json.loads(body)
    content = replaced(content, data.draw(st.sampled_from(places(content))), data.draw(JSON))
    route, labels = match(method, path)
    try:
        parse(route, labels, query_pairs(query), json.dumps(content).encode())
    except ValidationError as error:
        message = said(error)
        # Always our words, never those of the decoder.
        assert " failed to satisfy constraint: " in message or message.startswith("The request body ")


@pytest.mark.parametrize("name", sorted(ROUTES))
@quick
@given(query=st.binary(max_size=60), body=st.binary(max_size=60), label=st.text(max_size=40))
def test_any_bytes_are_accepted_or_refused(name: str, query: bytes, body: bytes, label: str) -> None:
    route = ROUTES[name]
    labels = {k: label for k in ("datastoreId", "imageSetId", "sourceImageSetId", "jobId", "resourceArn")}
    labels = {k: v for k, v in labels.items() if "{" + k + "}" in route.template}
    names = [member.name.encode() for member in route.query]
    raw = b"&".join([query, *(n + b"=" + query for n in names)])
    try:
        parse(route, labels, query_pairs(raw), body)
    except ValidationError as error:
        assert said(error)


@quick
@given(st.text(max_size=8), st.binary(max_size=80))
def test_any_path_is_matched_or_unknown(method: str, path: bytes) -> None:
    for prefix in (b"", b"/", b"/datastore/", b"/tags/"):
        try:
            match(method, prefix + path)
        except UnknownOperationError as error:
            assert said(error)


@quick
@given(st.text(max_size=40), st.integers(0, 30))
def test_cut_and_garbled_json_is_refused(text: str, place: int) -> None:
    body = json.dumps({"tags": {"k": text}}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    labels = {"resourceArn": f"arn:aws:medical-imaging:r:{'0' * 12}:datastore/{'d' * 32}"}
    for changed in (body[:place], body[place:], body[:place] + b"\xff" + body[place:]):
        try:
            parse(ROUTES["TagResource"], labels, [], changed)
        except ValidationError as error:
            assert said(error)
