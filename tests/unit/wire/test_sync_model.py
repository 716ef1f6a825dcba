"""The committed wire types against the service model that is installed."""

from __future__ import annotations

import importlib.util
import re
import sys
import typing
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from lightwell.wire import shapes
from lightwell.wire.routes import ROUTES


def tool() -> ModuleType:
    path = Path(__file__).parents[3] / "tools" / "sync_model.py"
    spec = importlib.util.spec_from_file_location("sync_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_files_match_the_model() -> None:
    for path, wanted in tool().generate().items():
        assert path.read_bytes() == wanted.encode(), f"run {sys.executable} tools/sync_model.py"


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("datastoreId", "datastore_id"),
        ("StartDICOMImportJob", "start_dicom_import_job"),
        ("DICOMStudyInstanceUID", "dicom_study_instance_uid"),
        ("inputS3Uri", "input_s3_uri"),
        ("ImageSetWorkflowStatus", "image_set_workflow_status"),
    ],
)
def test_names_read_as_snake_case(name: str, snake: str) -> None:
    assert tool().snake(name) == snake


def test_spells_the_workflow_status_of_listed_versions_with_a_capital() -> None:
    item = shapes.ImageSetProperties(
        image_set_id="i", version_id="1", image_set_state="ACTIVE", image_set_workflow_status="CREATED"
    )
    assert "ImageSetWorkflowStatus" in msgspec.to_builtins(item)
    answer = shapes.GetImageSetResponse(
        datastore_id="d", image_set_id="i", version_id="1", image_set_state="ACTIVE",
        image_set_workflow_status="CREATED",
    )  # fmt: skip
    assert "imageSetWorkflowStatus" in msgspec.to_builtins(answer)


def test_responses_have_no_constraints() -> None:
    answer = shapes.DatastoreProperties(
        datastore_id="no id", datastore_status="odd", datastore_name="x" * 999
    )
    assert msgspec.convert(msgspec.to_builtins(answer), shapes.DatastoreProperties) == answer


def test_every_pattern_matches_whole_texts_of_ascii_classes_only() -> None:
    found = 0
    for name, kind in vars(shapes).items():
        for meta in getattr(kind, "__metadata__", ()):
            if meta.pattern is not None:
                found += 1
                assert re.fullmatch(r"\\A\(\?a:\(\?:.*\)\)\\Z", meta.pattern), name
    assert found > 10


def test_every_route_binds_each_member_of_its_request_once() -> None:
    for route in ROUTES.values():
        labels = re.findall(r"\{(\w+)\}", route.template)
        bound = [*labels, *(q.member for q in route.query), *route.body]
        if route.payload is not None:
            bound.append(route.payload)
        names = [f.encode_name for f in msgspec.structs.fields(route.request)]
        assert sorted(bound) == sorted(names), route.operation
        assert typing.get_type_hints(route.request)
