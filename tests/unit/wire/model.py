"""botocore's model, serializer and parser, and values drawn from the model's own constraints."""

from __future__ import annotations

import base64
import datetime
import io
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import HeadersDict, create_request_object, prepare_request_dict
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import strategies as st

from lightwell.wire.render import WireResponse

UTC = datetime.UTC


@cache
def service() -> ServiceModel:
    return ServiceModel(
        Loader().load_service_model("medical-imaging", "service-2", "2023-07-19"), "medical-imaging"
    )


def operation(name: str) -> OperationModel:
    return service().operation_model(name)


def on_the_wire(name: str, params: dict[str, Any]) -> tuple[str, bytes, bytes, bytes]:
    """Method, raw path, raw query and body of the request that boto3 sends."""
    request = create_serializer("rest-json", include_validation=False).serialize_to_request(
        params, operation(name)
    )
    prepare_request_dict(request, endpoint_url="http://localhost:8085")
    prepared = create_request_object(request).prepare()
    parts = urlsplit(prepared.url)
    body = prepared.body or b""
    return (
        prepared.method,
        parts.path.encode(),
        parts.query.encode(),
        body if isinstance(body, bytes) else body.encode(),
    )


def as_read(name: str, rendered: WireResponse) -> dict[str, Any]:
    """What boto3 makes of an answer."""
    headers = HeadersDict({k.decode(): v.decode() for k, v in rendered.headers})
    shape = operation(name).output_shape
    blob = shape.serialization.get("payload") if rendered.status < 300 else None
    # boto3 hands out the body of a streaming answer as a stream.
    body: Any = io.BytesIO(rendered.body) if blob else rendered.body
    answer = {"status_code": rendered.status, "headers": headers, "body": body, "context": {}}
    parsed: dict[str, Any] = create_parser("rest-json").parse(answer, shape)
    if blob:
        parsed[blob] = parsed[blob].read()
    return parsed


def plain(value: Any) -> Any:
    """boto3's values as msgspec's builtins: blobs as base64, times as seconds, no None."""
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


@cache
def values(shape: Shape) -> st.SearchStrategy[Any]:
    """Values that keep every constraint of a shape."""
    metadata = shape.metadata
    if isinstance(shape, StructureShape):
        if metadata.get("union"):
            return st.one_of(*(st.fixed_dictionaries({m: values(s)}) for m, s in shape.members.items()))
        needed = {m: values(shape.members[m]) for m in shape.required_members}
        free = {m: values(s) for m, s in shape.members.items() if m not in needed}
        return st.fixed_dictionaries(needed, optional=free)
    low, high = metadata.get("min", 0), metadata.get("max")
    if isinstance(shape, ListShape):
        return st.lists(values(shape.member), min_size=low, max_size=min(high or 3, 3))
    if isinstance(shape, MapShape):
        return st.dictionaries(values(shape.key), values(shape.value), max_size=3)
    kind = shape.type_name
    if enum := metadata.get("enum"):
        return st.sampled_from(enum)
    if kind == "string":
        return _strings(shape.name, metadata.get("pattern"), low, high)
    if kind == "integer":
        return st.integers(metadata.get("min", -(2**31)), metadata.get("max", 2**31 - 1))
    if kind == "boolean":
        return st.booleans()
    if kind == "timestamp":
        return st.datetimes(
            datetime.datetime(1990, 1, 1), datetime.datetime(2100, 1, 1), timezones=st.just(UTC)
        ).map(lambda t: t.replace(microsecond=0))
    assert kind == "blob"
    return st.binary(min_size=low, max_size=40)


def _strings(name: str, pattern: str | None, low: int, high: int | None) -> st.SearchStrategy[str]:
    if name in ("NextToken", "MetadataFilePath", "Message"):
        text = st.text(
            st.characters(min_codepoint=0x21, max_codepoint=0x3A), min_size=max(low, 1), max_size=40
        )
    elif pattern is None:
        text = st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=low, max_size=40
        )
    else:
        text = st.from_regex(rf"\A(?a:{pattern})\Z")
        if name == "ImageSetExternalVersionId":
            return text.map(lambda v: v[:18])
    return text.filter(lambda v: low <= len(v) <= (high or len(v)) and "\0" not in v)
