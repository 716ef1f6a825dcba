"""Paths of the DICOMweb surface."""

from __future__ import annotations

import pytest

from lightwell.errors import MethodNotAllowedError
from lightwell.web.dicomweb.resources import resource

BASE = "/datastore/" + "a" * 32


@pytest.mark.parametrize(
    ("method", "path", "operation", "kind"),
    [
        ("GET", "/studies", "SearchDICOMStudies", "search"),
        ("GET", "/studies/1.2/series", "SearchDICOMSeries", "search"),
        ("GET", "/studies/1.2/series/1.3/instances", "SearchDICOMInstances", "search"),
        ("GET", "/studies/1.2/instances", "SearchDICOMStudyInstances", "search"),
        ("GET", "/series", "SearchDICOMAllSeries", "search"),
        ("GET", "/instances", "SearchDICOMAllInstances", "search"),
        ("POST", "/studies", "StoreDICOM", "store"),
        ("POST", "/studies/1.2", "StoreDICOMStudy", "store"),
        ("GET", "/studies/1.2/series/1.3/instances/1.4", "GetDICOMInstance", "part10"),
        ("HEAD", "/studies/1.2/series/1.3/instances/1.4", "GetDICOMInstance", "part10"),
        ("GET", "/studies/1.2/series/1.3/instances/1.4/metadata", "GetDICOMInstanceMetadata", "metadata"),
        ("GET", "/studies/1.2/series/1.3/metadata", "GetDICOMSeriesMetadata", "metadata"),
        ("GET", "/studies/1.2/series/1.3/instances/1.4/frames/1%2C2", "GetDICOMInstanceFrames", "frames"),
        ("GET", "/studies/1.2/series/1.3/instances/1.4/bulkdata/ab", "GetDICOMBulkdata", "bulkdata"),
        ("GET", "/studies/1.2/series/1.3/instances/1.4/bulkdata", "GetDICOMBulkdata", "bulkdata-collection"),
        ("GET", "/studies/1.2/thumbnail", "GetDICOMInstanceFrames", "thumbnail"),
        (
            "GET",
            "/studies/1.2/series/1.3/instances/1.4/frames/1/rendered",
            "GetDICOMInstanceFrames",
            "rendered",
        ),
        ("DELETE", "/studies/1.2", "DeleteImageSet", "delete"),
        ("OPTIONS", "", "SearchDICOMStudies", "capabilities"),
    ],
)
def test_names_the_operation_of_a_path(method: str, path: str, operation: str, kind: str) -> None:
    for end in ("", "/"):
        found = resource(method, (BASE + path + end).encode())
        assert found is not None
        assert (found.operation, found.kind, found.datastore_id) == (operation, kind, "a" * 32)


def test_decodes_the_labels_of_a_path() -> None:
    found = resource("GET", (BASE + "/studies/1%2E2/series/1.3/instances/1.4/frames/1%2C2").encode())
    assert found is not None
    assert (found.study, found.series, found.instance, found.item) == ("1.2", "1.3", "1.4", "1,2")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/searchImageSets"),
        ("GET", "/imageSet/" + "b" * 32 + "/getImageSet"),
        ("GET", "/studies/1.2/unknown"),
        ("GET", "/studies/1.2/series/1.3/instances/1.4/frames"),
    ],
)
def test_leaves_other_paths_to_the_native_api(method: str, path: str) -> None:
    assert resource(method, (BASE + path).encode()) is None


def test_recognises_wado_uri_by_its_query() -> None:
    found = resource("GET", BASE.encode(), b"requestType=WADO&studyUID=1")
    assert found is not None and found.kind == "wado-uri"


def test_lists_the_methods_that_a_resource_supports() -> None:
    with pytest.raises(MethodNotAllowedError) as caught:
        resource("PUT", (BASE + "/studies/1.2").encode())
    assert caught.value.allowed == "DELETE, GET, HEAD, POST"
