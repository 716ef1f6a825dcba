"""Which operation a request line means."""

from __future__ import annotations

import pytest

from lightwell.errors import UnknownOperationError
from lightwell.wire.matching import match
from lightwell.wire.routes import ROUTES

D, I = "d" * 32, "1" * 32  # noqa: E741
ARN = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{D}/imageset/{I}"
ENCODED = ARN.replace(":", "%3A").replace("/", "%2F")


@pytest.mark.parametrize("operation", sorted(ROUTES))
def test_finds_every_operation_at_its_template(operation: str) -> None:
    route = ROUTES[operation]
    path = route.template
    for label in ("datastoreId", "imageSetId", "sourceImageSetId", "jobId", "resourceArn"):
        path = path.replace("{" + label + "}", f"value-{label}")
    found, params = match(route.method, path.encode())
    assert found is route
    assert params == {label: f"value-{label}" for label in params}
    assert len(params) == route.template.count("{")


@pytest.mark.parametrize("path", [f"/tags/{ENCODED}", f"/tags/{ENCODED.lower()}", f"/tags/{ARN}"])
def test_takes_an_arn_encoded_or_plain(path: str) -> None:
    route, params = match("DELETE", path.encode())
    assert route.operation == "UntagResource"
    assert params == {"resourceArn": ARN}


def test_decodes_a_label_after_the_path_was_split() -> None:
    route, params = match("GET", b"/datastore/a%2Fb%20c%C3%A4+d")
    assert route.operation == "GetDatastore"
    assert params == {"datastoreId": "a/b cä+d"}


def test_bytes_that_are_not_utf8_reach_validation() -> None:
    assert match("GET", b"/datastore/%FF\xff%zz%00")[1] == {"datastoreId": "\ufffd\ufffd%zz\ufffd"}


def test_ignores_one_slash_after_a_complete_path() -> None:
    assert match("POST", f"/datastore/{D}/searchImageSets/".encode())[0].operation == "SearchImageSets"
    assert match("DELETE", f"/datastore/{D}/".encode())[1] == {"datastoreId": D}
    assert match("POST", b"/datastore/")[0].operation == "CreateDatastore"


def test_an_empty_id_is_not_the_list_of_data_stores() -> None:
    route, params = match("GET", b"/datastore/")
    assert route.operation == "GetDatastore"
    assert params == {"datastoreId": ""}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/"),
        ("GET", "//"),
        ("GET", "datastore"),
        ("GET", "*"),
        ("PUT", "/datastore"),
        ("HEAD", f"/datastore/{D}"),
        ("get", "/datastore"),
        ("POST", f"/datastore/{D}"),
        ("GET", f"/datastore/{D}/imageSet/{I}/getImageSet"),
        ("POST", f"/datastore/{D}/imageset/{I}/getImageSet"),
        ("POST", f"/datastore/{D}/imageSet/{I}/getImageSets"),
        ("POST", f"/datastore/{D}/imageSet/{I}/getImageSet/x"),
        ("POST", f"/datastore/{D}//searchImageSets"),
        ("GET", f"/datastore/{D}//"),
        ("GET", f"/datastore/{D}/studies"),
        ("GET", "/tags"),
        ("PUT", f"/tags/{ENCODED}"),
        ("GET", "/listDICOMImportJobs/datastore"),
        ("GET", "/%64atastore"),
    ],
)
def test_refuses_unknown_paths(method: str, path: str) -> None:
    with pytest.raises(UnknownOperationError) as refusal:
        match(method, path.encode())
    assert refusal.value.status == 404
    assert refusal.value.code == "UnknownOperationException"
