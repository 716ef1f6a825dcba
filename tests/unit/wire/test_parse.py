"""What a request may hold, and the words for what it may not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lightwell.errors import ValidationError
from lightwell.wire import shapes
from lightwell.wire.parse import parse
from lightwell.wire.query import query_pairs
from lightwell.wire.routes import ROUTES

D, I = "d" * 32, "1" * 32  # noqa: E741
ROLE = "arn:aws:iam::000000000000:role/ImportRole"
ARN = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{D}"
LABELS = {"datastoreId": D, "imageSetId": I, "sourceImageSetId": I, "jobId": I, "resourceArn": ARN}


def read(operation: str, body: Any = b"", query: str = "", **labels: str) -> Any:
    route = ROUTES[operation]
    params = {k: v for k, v in (LABELS | labels).items() if "{" + k + "}" in route.template}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(route, params, query_pairs(query.encode()), content)


def refusal(operation: str, body: Any = b"", query: str = "", **labels: str) -> str:
    with pytest.raises(ValidationError) as raised:
        read(operation, body, query, **labels)
    assert raised.value.status == 400
    assert len(raised.value.message) <= 2048
    return raised.value.message


def one(constraint: str) -> str:
    return f"1 validation error detected: {constraint}"


def job(**changes: Any) -> dict[str, Any]:
    body = {
        "dataAccessRoleArn": ROLE, "clientToken": "t", "inputS3Uri": "s3://bucket-in/a/", "outputS3Uri": "s3://bucket-out/b/"
    }  # fmt: skip
    return body | changes


# What is taken


def test_reads_a_plain_body() -> None:
    request = read("CreateDatastore", {"datastoreName": "a/b", "clientToken": "t", "tags": {"k": ""}})
    assert request == shapes.CreateDatastoreRequest(datastore_name="a/b", client_token="t", tags={"k": ""})


def test_null_is_the_same_as_absent() -> None:
    body = {"clientToken": "t", "datastoreName": None, "tags": None, "losslessStorageFormat": None}
    assert read("CreateDatastore", body) == shapes.CreateDatastoreRequest(client_token="t")
    assert read("SearchImageSets", b"null").search_criteria is None
    assert read("SearchImageSets", {"filters": None}).search_criteria == shapes.SearchCriteria()


def test_ignores_unknown_members_and_query_names() -> None:
    body = {"imageFrameId": I, "more": [1, {"deep": None}], "datastoreId": "other"}
    request = read("GetImageFrame", body, "imageFrameId=x&y")
    assert request.image_frame_information == shapes.ImageFrameInformation(image_frame_id=I)
    assert request.datastore_id == D


def test_a_body_cannot_replace_a_label() -> None:
    assert read("StartDICOMImportJob", job(datastoreId="e" * 32)).datastore_id == D


def test_ignores_the_body_of_an_operation_without_one() -> None:
    assert read("GetImageSetMetadata", b"{broken", "version=2").version_id == "2"
    assert read("GetImageSet", {"versionId": "7"}).version_id is None


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False)])
def test_reads_booleans_of_the_query(text: str, value: bool) -> None:
    body = {"sourceImageSet": {"latestVersionId": "1"}}
    assert read("CopyImageSet", body, f"force={text}").force is value


def test_reads_repeated_tag_keys() -> None:
    assert read("UntagResource", query="tagKeys=k&tagKeys=a%2Bb&tagKeys=a+b").tag_keys == ["k", "a+b", "a+b"]
    assert read("UntagResource").tag_keys == []


def test_reads_blobs_from_base64_and_copied_attributes_as_text() -> None:
    body = {"DICOMUpdates": {"updatableAttributes": "eyJTIjoxLjF9"}}
    updates = read("UpdateImageSetMetadata", body, "latestVersion=1").update_image_set_metadata_updates
    assert updates.dicom_updates.updatable_attributes == b'{"S":1.1}'
    attributes = '{"SchemaVersion":"1.1","Study":{"Series":{"1.2":{"Instances":{}}}}}'
    copied = {"sourceImageSet": {"latestVersionId": "1", "DICOMCopies": {"copiableAttributes": attributes}}}
    source = read("CopyImageSet", copied).copy_image_set_information.source_image_set
    assert source.dicom_copies.copiable_attributes == attributes


def test_counts_characters_not_bytes() -> None:
    assert read("TagResource", {"tags": {"k": "ä" * 256}}).tags == {"k": "ä" * 256}
    assert "less than or equal to 256" in refusal("TagResource", {"tags": {"k": "ä" * 257}})


def test_reads_timestamps_with_and_without_a_fraction() -> None:
    values = [{"updatedAt": 1763970000}, {"updatedAt": 1763980000.25}]
    criteria = read(
        "SearchImageSets", {"filters": [{"operator": "BETWEEN", "values": values}]}
    ).search_criteria
    assert [v.updated_at for v in criteria.filters[0].values] == [1763970000.0, 1763980000.25]


# What is refused, in AWS's words


def test_names_the_pattern_of_a_label() -> None:
    assert refusal("GetDatastore", datastoreId="X") == one(
        "Value 'X' at 'datastoreId' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [0-9a-z]{32}"
    )


@pytest.mark.parametrize("value", [D + "\n", "\n" + D, D + "a", "é" * 32, "٣" * 32, ""])
def test_patterns_hold_for_the_whole_value_and_for_ascii(value: str) -> None:
    assert "pattern: [0-9a-z]{32}" in refusal("GetDatastore", datastoreId=value)


def test_digits_are_ascii_digits() -> None:
    assert r"pattern: \d+" in refusal("GetImageSet", query="version=%D9%A3")


@pytest.mark.parametrize(
    ("query", "value", "wrong"),
    [
        ("maxResults=0", "Value '0' at 'maxResults'", "Member must have value greater than or equal to 1"),
        ("maxResults=51", "Value '51' at 'maxResults'", "Member must have value less than or equal to 50"),
        ("maxResults=-1", "Value '-1' at 'maxResults'", "Member must have value greater than or equal to 1"),
        (
            "datastoreStatus=active",
            "Value 'active' at 'datastoreStatus'",
            "Member must satisfy enum value set: [ACTIVE, CREATE_FAILED, CREATING, DELETED, DELETING]",
        ),
        ("nextToken=", "Value '' at 'nextToken'", "Member must have length greater than or equal to 1"),
        (
            "nextToken=%C3%A4",
            "Value 'ä' at 'nextToken'",
            r"Member must satisfy regular expression pattern: \p{ASCII}{0,8192}",
        ),
        ("maxResults=1&maxResults=2", "Value at 'maxResults'", "Member must be an integer"),
    ],
)
def test_names_what_is_wrong_in_the_query(query: str, value: str, wrong: str) -> None:
    assert refusal("ListDatastores", query=query) == one(f"{value} failed to satisfy constraint: {wrong}")


@pytest.mark.parametrize("value", ["7.0", "+7", "%207", "7_0", "0x7", "", "1e1", "٣", "true", "9" * 30])
def test_only_digits_are_an_integer(value: str) -> None:
    assert "at 'maxResults' failed to satisfy constraint: Member must be an integer" in refusal(
        "ListDatastores", query=f"maxResults={value}"
    )


@pytest.mark.parametrize("value", ["True", "1", "", "yes"])
def test_only_true_and_false_are_booleans(value: str) -> None:
    message = refusal("CopyImageSet", {"sourceImageSet": {"latestVersionId": "1"}}, f"force={value}")
    assert "at 'force' failed to satisfy constraint: Member must be a boolean" in message


def test_names_required_members_that_are_missing_or_null() -> None:
    missing = "Value null at 'clientToken' failed to satisfy constraint: Member must not be null"
    for body in (b"", b"{}", {"clientToken": None}):
        assert missing in refusal("CreateDatastore", body)
    assert refusal("GetImageFrame") == one(
        "Value null at 'imageFrameInformation' failed to satisfy constraint: Member must not be null"
    )
    assert refusal("GetImageFrame", b"{}") == one(
        "Value null at 'imageFrameInformation.imageFrameId' failed to satisfy constraint: "
        "Member must not be null"
    )


def test_names_several_faults_at_once() -> None:
    message = refusal("CreateDatastore", {"datastoreName": "a b", "clientToken": "x" * 65, "tags": 5})
    assert message == (
        "3 validation errors detected: Value 'a b' at 'datastoreName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [A-Za-z0-9._/#-]+; "
        f"Value '{'x' * 65}' at 'clientToken' failed to satisfy constraint: "
        "Member must have length less than or equal to 64; "
        "Value '5' at 'tags' failed to satisfy constraint: Member must be a map"
    )


def test_names_the_tag_that_is_wrong() -> None:
    message = refusal("TagResource", {"tags": {"aws:x": "1", "k": None, "a b": 3}})
    assert (
        "Value 'aws:x' at 'tags' failed to satisfy constraint: Map keys must satisfy constraint: [" in message
    )
    assert "Value null at 'tags.k.member' failed to satisfy constraint: Map value must satisfy" in message
    assert "Value '3' at 'tags.a b.member' failed" in message


def test_names_the_position_in_a_list_and_hides_what_may_be_a_patient() -> None:
    values = [{"DICOMPatientId": "Doe" * 200}, {"DICOMStudyInstanceUID": "Jane"}]
    message = refusal("SearchImageSets", {"filters": [{"operator": "LIKE", "values": values}]})
    assert (
        "Value at 'searchCriteria.filters.1.member.operator' failed to satisfy constraint: Member must "
        in message
    )
    assert "enum value set: [BETWEEN, EQUAL]" in message
    assert "'searchCriteria.filters.1.member.values.2.member.DICOMStudyInstanceUID'" in message
    assert "Jane" not in message
    assert "Doe" not in message


@pytest.mark.parametrize(
    ("value", "fine"),
    [({}, False), ({"isPrimary": True}, True), ({"isPrimary": None}, False),
     ({"isPrimary": True, "createdAt": 1}, False), ({"isPrimary": False, "createdAt": None}, True)],
)  # fmt: skip
def test_a_union_has_exactly_one_member(value: dict[str, Any], fine: bool) -> None:
    body = {"filters": [{"operator": "EQUAL", "values": [value]}]}
    if fine:
        assert read("SearchImageSets", body)
    else:
        assert "Member must have exactly one of [DICOMPatientId, " in refusal("SearchImageSets", body)


@pytest.mark.parametrize("count", [0, 3])
def test_lists_have_their_length(count: int) -> None:
    body = {"filters": [{"operator": "EQUAL", "values": [{"isPrimary": True}]}] * count}
    assert "Value at 'searchCriteria.filters' failed" in refusal("SearchImageSets", body)


@pytest.mark.parametrize("blob", ["", "YWJ", "YW\nJj", "YWJ_", 5, None, [], "YWJj" * 10001])
def test_blobs_are_base64_of_their_length(blob: Any) -> None:
    body = {"DICOMUpdates": {"updatableAttributes": blob}}
    if blob is None:
        assert read("UpdateImageSetMetadata", body, "latestVersion=1")
    else:
        message = refusal("UpdateImageSetMetadata", body, "latestVersion=1")
        assert "at 'updateImageSetMetadataUpdates.DICOMUpdates.updatableAttributes'" in message
        assert "base64" in message or "length" in message


@pytest.mark.parametrize("time", [True, "2024-01-01", 1e12, -1e12, 10**300, [], {}])
def test_timestamps_are_numbers_of_a_date(time: Any) -> None:
    body = {"filters": [{"operator": "EQUAL", "values": [{"createdAt": time}]}]}
    assert "values.1.member.createdAt' failed to satisfy constraint: Member must" in refusal(
        "SearchImageSets", body
    )


@pytest.mark.parametrize("path", [" a", "a ", "ä", "a\nb", "a" * 1025, "a" * 60 + "\t", "a " * 500])
def test_metadata_paths_are_printable_and_trimmed(path: str) -> None:
    mapping = {"studyInstanceUID": "1.2", "metadataFilePath": path}
    configuration = {"dicomJsonMetadataImportConfiguration": {"dicomMetadataMappings": [mapping]}}
    assert "metadataFilePath" in refusal("StartDICOMImportJob", job(importConfiguration=configuration))


@pytest.mark.parametrize("path", ["a", "a b", "dir/study 1/over-ride.json", "~" * 1024])
def test_metadata_paths_may_contain_spaces(path: str) -> None:
    mapping = {"studyInstanceUID": "1.2", "metadataFilePath": path}
    configuration = {"dicomJsonMetadataImportConfiguration": {"dicomMetadataMappings": [mapping]}}
    request = read("StartDICOMImportJob", job(importConfiguration=configuration))
    mappings = request.import_configuration.dicom_json_metadata_import_configuration.dicom_metadata_mappings
    assert mappings[0].metadata_file_path == path


def test_a_version_fits_the_databases() -> None:
    assert read("GetImageSet", query="version=" + "9" * 18).version_id == "9" * 18
    assert "length less than or equal to 18" in refusal("GetImageSet", query="version=" + "9" * 19)


def test_shows_no_control_characters_and_no_end_of_long_values() -> None:
    message = refusal("StartDICOMImportJob", job(jobName="a\nb\x1b[2J" + "c" * 5000))
    assert "'a?b?[2Jccc" in message
    assert "..." in message
    assert message.isprintable()


# Bodies that are no JSON object


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"}", b"nonsense", b"'a'", b'{"clientToken":"t",}', b"{'clientToken':'t'}", b"\xef\xbb\xbf{}",
        b'{"clientToken":"\xff"}', b'{"clientToken":"\xed\xa0\x80"}', b'{"clientToken":"\\ud800"}',
        b'{"clientToken":"t","x":NaN}', b'{"clientToken":"t","x":Infinity}', b'{"clientToken":"t","x":1e999}',
        b'{"clientToken":"t"} {}', b'{"clientToken":"t","x":01}', b'{"clientToken":"a\x01"}',
        '{"clientToken":"t"}'.encode("utf-16"), b'{"clientToken":"t","x":' + b"9" * 5000 + b"}", b" ", b"\0",
    ],
)  # fmt: skip
def test_refuses_what_is_not_json(body: bytes) -> None:
    assert refusal("CreateDatastore", body).startswith("The request body is not valid JSON")
    assert refusal("SearchImageSets", body).startswith("The request body is not valid JSON")


@pytest.mark.parametrize("depth", [500, 2000, 200_000])
@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_refuses_or_ignores_deep_nesting(opened: bytes, closed: bytes, depth: int) -> None:
    body = b'{"tags":{"k":"v"},"x":' + opened * depth + b"1" + closed * depth + b"}"
    try:
        assert read("TagResource", body).tags == {"k": "v"}
    except ValidationError as error:
        assert error.message == "The request body is nested too deeply"
    else:
        assert depth < 200_000
    body = b'{"tags":' + opened * depth + b"1" + closed * depth + b"}"
    assert refusal("TagResource", body)


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"5", b"true", b"null", b'[{"clientToken":"t"}]'])
def test_refuses_what_is_not_an_object(body: bytes) -> None:
    assert refusal("CreateDatastore", body) == "The request body must be a JSON object"
    if body != b"null":
        assert "at 'searchCriteria' failed to satisfy constraint: Member must be a structure" in refusal(
            "SearchImageSets", body
        )


@pytest.mark.parametrize(
    "body",
    [
        b'{"clientToken":"t","clientToken":"u"}',
        b'{"clientToken" :"t","clientToken":"u"}',
        b'{"clientToken":"t","tags":{"a":"1","a":"1"}}',
        b'{"clientToken":"t","x":[{"a":1,"\\u0061":2}]}',
        b'{"clientToken":"t","clientToken":null}',
    ],
)
def test_refuses_a_name_given_twice(body: bytes) -> None:
    assert "twice in one object" in refusal("CreateDatastore", body)


def test_accepts_colons_and_quotes_inside_values() -> None:
    tags = {"a:b": 'x":"y', "k": "arn:aws:x", "n": '\\":'}
    assert read("TagResource", {"tags": tags}).tags == tags


@pytest.mark.parametrize("body", [b'{"tags":{"k":"a\\u0000"}}', b'{"tags":{"k":"v"},"x":{"\\u0000":[]}}'])
def test_refuses_the_character_that_databases_cannot_store(body: bytes) -> None:
    assert "U+0000" in refusal("TagResource", body)


def test_accepts_the_text_of_an_escape() -> None:
    assert read("TagResource", b'{"tags":{"k":"\\\\u0000"}}').tags == {"k": "\\u0000"}


@pytest.mark.parametrize(
    ("member", "value"),
    [("jobName", 5), ("jobName", True), ("jobName", []), ("clientToken", {}), ("inputS3Uri", 1.5),
     ("importConfiguration", []), ("importConfiguration", "x"), ("jobName", 10**300)],
)  # fmt: skip
def test_refuses_the_wrong_type(member: str, value: Any) -> None:
    assert f"at '{member}' failed to satisfy constraint: Member must be a " in refusal(
        "StartDICOMImportJob", job(**{member: value})
    )


@pytest.mark.parametrize(
    "value",
    ["a" * 100_000, "arn:" + "a" * 100_000, "arn:aws" + "-a" * 50_000, "s3://" + "-" * 60_000, "0" * 90_000],
)
@pytest.mark.parametrize("member", ["kmsKeyArn", "lambdaAuthorizerArn", "datastoreName", "clientToken"])
def test_no_pattern_runs_away_on_long_values(member: str, value: str) -> None:
    assert member in refusal("CreateDatastore", {"clientToken": "t", member: value})
