"""What restricted keys may do: every operation, tags, roles that are passed, and conditions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.api import rows
from tests.api.auth.restricted_keys import ACCOUNT, REGION, allow, deny, key, role, store_arn
from tests.api.copying import Maker
from tests.support import image_set_builders
from tests.support.server import Server

Refused = Callable[..., str]

SET, OTHER, THIRD = "1" * 32, "2" * 32, "3" * 32
ROLE = f"arn:aws:iam::{ACCOUNT}:role/Import"

# Operation → its arguments, and the resources beside the data store that it is asked on.
_ON_SET: dict[str, Any] = {"datastoreId": "", "imageSetId": SET}
OPERATIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "CreateDatastore": ({"datastoreName": "made"}, ["*"]),
    "ListDatastores": ({}, ["*"]),
    "GetDatastore": ({"datastoreId": ""}, []),
    "DeleteDatastore": ({"datastoreId": ""}, []),
    "StartDICOMImportJob": (
        {
            "datastoreId": "",
            "dataAccessRoleArn": ROLE,
            "clientToken": "t",
            "inputS3Uri": "s3://inputs/",
            "outputS3Uri": "s3://outputs/",
        },
        [],
    ),
    "GetDICOMImportJob": ({"datastoreId": "", "jobId": "4" * 32}, []),
    "ListDICOMImportJobs": ({"datastoreId": ""}, []),
    "SearchImageSets": ({"datastoreId": ""}, []),
    "GetImageSet": (_ON_SET, [SET]),
    "GetImageSetMetadata": (_ON_SET, [SET]),
    "GetImageFrame": ({**_ON_SET, "imageFrameInformation": {"imageFrameId": "5" * 32}}, [SET]),
    "ListImageSetVersions": (_ON_SET, [SET]),
    "UpdateImageSetMetadata": (
        {**_ON_SET, "latestVersionId": "1", "updateImageSetMetadataUpdates": {"revertToVersionId": "1"}},
        [SET],
    ),
    "CopyImageSet": (
        {
            "datastoreId": "",
            "sourceImageSetId": SET,
            "copyImageSetInformation": {
                "sourceImageSet": {"latestVersionId": "1"},
                "destinationImageSet": {"imageSetId": OTHER, "latestVersionId": "1"},
            },
        },
        [SET, OTHER],
    ),
    "DeleteImageSet": (_ON_SET, [SET]),
    "TagResource": ({"resourceArn": "", "tags": {"a": "b"}}, []),
    "UntagResource": ({"resourceArn": "", "tagKeys": ["a"]}, []),
    "ListTagsForResource": ({"resourceArn": ""}, []),
}


def call(client: Any, operation: str, store: str, **more: Any) -> str | None:
    """The error of a call, None where there is none."""
    arguments = {**OPERATIONS[operation][0], **more}
    for name, value in (("datastoreId", store), ("resourceArn", store_arn(store))):
        if name in arguments:
            arguments[name] = arguments[name] or value
    name = "".join(f"_{c.lower()}" if c.isupper() else c for c in operation).lstrip("_")
    name = name.replace("_d_i_c_o_m_", "_dicom_")
    try:
        getattr(client, name)(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None


def import_role(server: Server) -> str:
    """The role that imports name here; `test_import_roles` is about it."""
    return role(server, "Import", {"Service": "medical-imaging.amazonaws.com"}, allow("s3:*"))


def resources(operation: str, store: str) -> list[str]:
    named = OPERATIONS[operation][1]
    if named == ["*"]:
        return named
    return [store_arn(store), *(f"{store_arn(store)}/imageset/{id}" for id in named)]


def test_knows_every_operation() -> None:
    from lightwell.wire.routes import ROUTES

    assert set(OPERATIONS) == set(ROUTES)


@pytest.fixture(scope="module")
def nobody(server: Server) -> Any:
    """A client that may do nothing."""
    return server.client(key(server, deny("s3:*")))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_refuses_what_no_policy_allows(nobody: Any, datastore: str, refused: Refused, operation: str) -> None:
    assert call(nobody, operation, datastore) == "AccessDeniedException"
    # Whether a data store is there is not told.
    assert call(nobody, operation, "9" * 32) == "AccessDeniedException"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_lets_do_what_is_allowed_on_each_of_its_resources(
    server: Server, datastore: str, operation: str
) -> None:
    action, named = f"medical-imaging:{operation}", resources(operation, datastore)
    more = []
    if operation == "StartDICOMImportJob":
        more = [allow("iam:PassRole", import_role(server))]
    client = server.client(key(server, allow(action, named), *more))
    assert call(client, operation, datastore) in (None, "ResourceNotFoundException")
    if named == ["*"]:
        return
    assert call(client, operation, "9" * 32) == "AccessDeniedException"
    for missing in named if len(named) > 1 else []:
        rest = [each for each in named if each != missing]
        less = server.client(key(server, allow(action, rest), *more))
        assert call(less, operation, datastore) == "AccessDeniedException"


def test_says_who_may_not_do_what_on_what(server: Server, datastore: str, refused: Refused) -> None:
    arn, user = store_arn(datastore), f"User: arn:aws:iam::{ACCOUNT}:user"
    client = server.client(key(server, allow("*"), deny("medical-imaging:Delete*", arn), name="eve"))
    assert refused("AccessDeniedException", client.delete_datastore, datastoreId=datastore) == (
        f"{user}/eve is not authorized to perform: medical-imaging:DeleteDatastore on resource: {arn} "
        "with an explicit deny in an identity-based policy"
    )
    client = server.client(key(server, allow("medical-imaging:GetDatastore")))
    assert refused("AccessDeniedException", client.list_datastores) == (
        f"{user}/ana is not authorized to perform: medical-imaging:ListDatastores on resource: * "
        "because no identity-based policy allows the medical-imaging:ListDatastores action"
    )


def test_checks_a_request_before_it_asks_who_may_make_it(nobody: Any, datastore: str) -> None:
    assert call(nobody, "GetDICOMImportJob", datastore, jobId="X!") == "ValidationException"


def test_a_key_without_a_policy_may_do_everything(server: Server, datastore: str) -> None:
    from tests.api.auth.test_auth import new_key

    assert call(server.client(new_key(server)), "GetDatastore", datastore) is None


class TestRoles:
    def test_passes_a_role_to_the_service_only_if_that_is_allowed(
        self, server: Server, datastore: str, refused: Refused
    ) -> None:
        assert import_role(server) == ROLE
        start = allow("medical-imaging:StartDICOMImportJob")
        service = {"StringEquals": {"iam:PassedToService": "medical-imaging.amazonaws.com"}}
        another = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
        table = (
            ([start], "AccessDeniedException"),
            ([start, allow("iam:PassRole", ROLE + "2")], "AccessDeniedException"),
            ([start, allow("iam:PassRole", ROLE, **another)], "AccessDeniedException"),
            ([start, allow("iam:PassRole", ROLE, **service)], None),
            ([start, allow("iam:*"), deny("iam:PassRole", ROLE)], "AccessDeniedException"),
        )  # fmt: skip
        for number, (statements, expected) in enumerate(table):
            client = server.client(key(server, *statements))
            found = call(client, "StartDICOMImportJob", datastore, clientToken=f"{datastore}{number}")
            assert found == expected

    def test_names_the_role(self, server: Server, datastore: str, refused: Refused) -> None:
        client = server.client(key(server, allow("medical-imaging:*")))
        arguments = {**OPERATIONS["StartDICOMImportJob"][0], "datastoreId": datastore}
        message = refused("AccessDeniedException", client.start_dicom_import_job, **arguments)
        assert f"is not authorized to perform: iam:PassRole on resource: {ROLE} because" in message

    def test_wants_leave_to_invoke_an_authorizer(self, server: Server, refused: Refused) -> None:
        function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:authorize"
        client = server.client(key(server, allow("medical-imaging:*")))
        message = refused(
            "AccessDeniedException",
            client.create_datastore,
            datastoreName="x",
            lambdaAuthorizerArn=function,
        )
        assert f"lambda:InvokeFunction on resource: {function}" in message


class TestTags:
    def test_wants_tag_resource_where_a_data_store_is_made_with_tags(self, server: Server) -> None:
        create = "medical-imaging:CreateDatastore"
        plain = server.client(key(server, allow(create)))
        assert call(plain, "CreateDatastore", "") is None
        assert call(plain, "CreateDatastore", "", tags={"a": "b"}) == "AccessDeniedException"
        tagging = server.client(
            key(server, allow(create), allow("medical-imaging:TagResource", store_arn("*")))
        )
        assert call(tagging, "CreateDatastore", "", tags={"a": "b"}) is None

    def test_sees_the_tags_of_a_request(self, server: Server, datastore: str) -> None:
        wanted = {"aws:RequestTag/Project": ["x", "y"]}
        only = {"aws:TagKeys": ["Project", "Owner"]}
        client = server.client(
            key(
                server,
                allow("medical-imaging:CreateDatastore", StringEquals=wanted),
                allow("medical-imaging:TagResource", **{"ForAllValues:StringEquals": only}),
                allow("medical-imaging:UntagResource", **{"ForAnyValue:StringEquals": only}),
            )
        )
        assert call(client, "CreateDatastore", "", tags={"Project": "x"}) is None
        assert call(client, "CreateDatastore", "", tags={"Project": "z"}) == "AccessDeniedException"
        assert call(client, "CreateDatastore", "") == "AccessDeniedException"
        both = {"Project": "x", "Cost": "1"}
        assert call(client, "CreateDatastore", "", tags=both) == "AccessDeniedException"
        assert call(client, "TagResource", datastore, tags={"Owner": "ana"}) is None
        assert call(client, "TagResource", datastore, tags={"Cost": "1"}) == "AccessDeniedException"
        assert call(client, "UntagResource", datastore, tagKeys=["Owner", "Cost"]) is None
        assert call(client, "UntagResource", datastore, tagKeys=["Cost"]) == "AccessDeniedException"

    def test_goes_by_the_tags_of_the_data_store_and_of_the_image_set(
        self, server: Server, client: Any, datastore: str
    ) -> None:
        with server.database() as db:
            image_set = rows.insert_image_set(db, datastore)
        tagged = {"StringEquals": {"aws:ResourceTag/Project": "${aws:username}"}}
        ana = server.client(key(server, allow("medical-imaging:*", **tagged)))
        store, set_ = store_arn(datastore), f"{store_arn(datastore)}/imageset/{image_set}"
        assert call(ana, "GetDatastore", datastore) == "AccessDeniedException"
        client.tag_resource(resourceArn=store, tags={"Project": "ana"})
        assert call(ana, "GetDatastore", datastore) is None
        # A search looks at the data store alone, an image set needs the tag, too.
        assert call(ana, "SearchImageSets", datastore) is None
        assert call(ana, "GetImageSet", datastore, imageSetId=image_set) == "AccessDeniedException"
        client.tag_resource(resourceArn=set_, tags={"Project": "ana"})
        assert call(ana, "ListImageSetVersions", datastore, imageSetId=image_set) is None
        client.untag_resource(resourceArn=store, tagKeys=["Project"])
        assert call(ana, "GetImageSet", datastore, imageSetId=image_set) == "AccessDeniedException"
        assert call(ana, "GetImageFrame", datastore, imageSetId=image_set) == "AccessDeniedException"

    def test_takes_no_other_spelling_of_an_arn_for_another_resource(
        self, server: Server, client: Any, datastore: str
    ) -> None:
        arn = store_arn(datastore)
        ana = server.client(key(server, allow("*"), deny("medical-imaging:TagResource", arn)))
        assert call(ana, "TagResource", datastore) == "AccessDeniedException"
        spelled = arn.replace("arn:aws:", "arn:aws-cn:")
        assert call(ana, "TagResource", datastore, resourceArn=spelled) == "AccessDeniedException"


class TestConditions:
    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, None),
            ({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, "AccessDeniedException"),
            ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, None),
            ({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, "AccessDeniedException"),
            ({"NumericGreaterThan": {"aws:EpochTime": "1577836800"}}, None),
            ({"Bool": {"aws:SecureTransport": "false"}}, None),
            ({"Bool": {"aws:SecureTransport": "true"}}, "AccessDeniedException"),
            ({"StringLike": {"aws:UserAgent": "*Boto3*"}}, None),
            ({"StringNotLike": {"aws:UserAgent": "*Boto3*"}}, "AccessDeniedException"),
            ({"StringEquals": {"aws:username": "ana", "aws:PrincipalAccount": ACCOUNT}}, None),
            ({"ArnEquals": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:user/ana"}}, None),
            ({"StringEquals": {"aws:RequestedRegion": REGION}}, None),
            ({"Bool": {"aws:MultiFactorAuthPresent": "true"}}, "AccessDeniedException"),
            ({"StringLike": {"aws:Referer": "*"}}, "AccessDeniedException"),
        ],
    )
    def test_meets(
        self, server: Server, datastore: str, condition: dict[str, Any], expected: str | None
    ) -> None:
        client = server.client(key(server, allow("medical-imaging:GetDatastore", **condition)))
        assert call(client, "GetDatastore", datastore) == expected

    def test_denies_by_what_an_older_version_has_kept_and_nobody_understands(
        self, server: Server, datastore: str
    ) -> None:
        from lightwell.auth import principals
        from lightwell.auth.secret_box import open_secret_box
        from lightwell.clock import Clock

        kept = {"Statement": [allow("*"), deny("*", Sounds={"aws:userid": "x"})]}
        with server.database() as db:
            made = principals.create_key(
                db, open_secret_box(None, server.data), "old", Clock().now(), [json.dumps(kept)]
            )
        client = server.client(Credentials(made.access_key_id, made.secret_access_key))
        assert call(client, "GetDatastore", datastore) == "AccessDeniedException"


class TestReach:
    """Image sets that a change reaches without naming them."""

    @pytest.fixture
    def make(self, client: Any, server: Server, datastore: str) -> Iterator[Maker]:
        stores = image_set_builders.open_at(server.data, server.database_url)
        yield Maker(client, stores, datastore)
        stores.close()

    def test_asks_for_the_primary_set_that_a_promotion_joins(
        self, server: Server, make: Maker, datastore: str
    ) -> None:
        primary, source = make(is_primary=True), make("2.1")
        arn = store_arn(datastore)
        named = [arn, f"{arn}/imageset/{source.id}"]
        copy: dict[str, Any] = {
            "sourceImageSetId": source.id,
            "copyImageSetInformation": {"sourceImageSet": {"latestVersionId": "1"}},
        }
        for resource, expected in ((named, "AccessDeniedException"), ("*", None)):
            ana = server.client(key(server, allow("medical-imaging:CopyImageSet", resource)))
            assert call(ana, "CopyImageSet", datastore, **copy, promoteToPrimary=True) == expected
        assert primary.status()[0] == "2"

    def test_asks_for_all_primary_sets_of_a_study_where_all_are_updated(
        self, server: Server, make: Maker, datastore: str
    ) -> None:
        primary, target = make(is_primary=True), make("2.1")
        kept = f"{store_arn(datastore)}/imageset/{primary.id}"
        update = "medical-imaging:UpdateImageSetMetadata"
        ana = server.client(key(server, allow("*"), deny(update, kept)))
        on = {"imageSetId": target.id, "includeStudyImageSets": True}
        assert call(ana, "UpdateImageSetMetadata", datastore, **on) == "AccessDeniedException"
        assert call(ana, "UpdateImageSetMetadata", datastore, imageSetId=target.id) != "AccessDeniedException"
