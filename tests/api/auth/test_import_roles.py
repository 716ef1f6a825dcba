"""The roles that import jobs name: who may name which, and what they must be allowed to do."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.auth.restricted_keys import ACCOUNT, REGION, Statement, allow, deny, key, role, store_arn
from tests.support.ct_files import ct, write
from tests.support.server import Server, ended_job

Refused = Callable[..., str]

SERVICE = {"Service": "medical-imaging.amazonaws.com"}
IN, OUT = "arn:aws:s3:::inputs", "arn:aws:s3:::outputs"
LIST, GET, PUT = (
    allow("s3:ListBucket", IN),
    allow("s3:GetObject", f"{IN}/*"),
    allow("s3:PutObject", f"{OUT}/*"),
)
CANNOT = "dataAccessRoleArn cannot be used for this import. "


@pytest.fixture(scope="module")
def importer(server: Server) -> Any:
    """A client that may start imports and pass any role."""
    return server.client(key(server, allow(["medical-imaging:*", "iam:PassRole"])))


def name() -> str:
    return f"Import-{uuid.uuid4().hex}"


def arguments(datastore: str, arn: str, **more: Any) -> dict[str, Any]:
    given = {
        "datastoreId": datastore,
        "dataAccessRoleArn": arn,
        "clientToken": uuid.uuid4().hex,
        "inputS3Uri": "s3://inputs/studies/",
        "outputS3Uri": "s3://outputs/results/",
    }
    return {**given, **more}


def started(client: Any, datastore: str, arn: str, **more: Any) -> bool:
    answer = client.start_dicom_import_job(**arguments(datastore, arn, **more))
    return bool(answer["jobStatus"] == "SUBMITTED")


def refusal(refused: Refused, client: Any, datastore: str, arn: str, **more: Any) -> str:
    message = refused(
        "AccessDeniedException", client.start_dicom_import_job, **arguments(datastore, arn, **more)
    )
    assert message.startswith(CANNOT)
    return message.removeprefix(CANNOT)


class TestTheRole:
    @pytest.mark.parametrize(
        "arn",
        [
            f"arn:aws:iam::{ACCOUNT}:role/NoSuchRole",
            "arn:aws:iam::111122223333:role/Import",
            f"arn:aws-cn:iam::{ACCOUNT}:role/Import",
            f"arn:aws:iam::{ACCOUNT}:role/some/path/Import",
        ],
    )
    def test_has_to_be_one(
        self, server: Server, importer: Any, datastore: str, refused: Refused, arn: str
    ) -> None:
        refusal(refused, importer, datastore, arn)
        # A developer's test names what comes to mind.
        assert started(server.client(), datastore, arn)

    def test_has_to_be_for_the_service(
        self, server: Server, importer: Any, datastore: str, refused: Refused
    ) -> None:
        for trust in (
            {"Service": "lambda.amazonaws.com"},
            {"AWS": f"arn:aws:iam::{ACCOUNT}:user/ana"},
            {"AWS": "*"},
        ):
            arn = role(server, name(), trust, LIST, GET, PUT)
            message = refusal(refused, importer, datastore, arn)
            assert message == (
                f"The trust policy of {arn} does not let medical-imaging.amazonaws.com assume it."
            )

    def test_has_to_be_for_the_data_store(
        self, server: Server, importer: Any, datastore: str, refused: Refused
    ) -> None:
        for condition, works in (
            ({"ArnLike": {"aws:SourceArn": store_arn("*")}}, True),
            ({"ArnEquals": {"aws:SourceArn": store_arn(datastore)}}, True),
            ({"ArnEquals": {"aws:SourceArn": store_arn("9" * 32)}}, False),
            ({"StringEquals": {"aws:SourceAccount": ACCOUNT}}, True),
            ({"StringEquals": {"aws:SourceAccount": "111122223333"}}, False),
        ):
            arn = role(server, name(), SERVICE, LIST, GET, PUT, **condition)
            if works:
                assert started(importer, datastore, arn)
            else:
                refusal(refused, importer, datastore, arn)

    def test_may_be_trusted_in_the_region(self, server: Server, importer: Any, datastore: str) -> None:
        regional = {"Service": [f"medical-imaging.{REGION}.amazonaws.com"]}
        assert started(importer, datastore, role(server, name(), regional, LIST, GET, PUT))

    def test_has_to_be_passed_first(self, server: Server, datastore: str, refused: Refused) -> None:
        arn = role(server, name(), SERVICE, LIST, GET, PUT)
        start = allow("medical-imaging:StartDICOMImportJob")
        ana = server.client(key(server, start))
        for each in (arn, f"arn:aws:iam::{ACCOUNT}:role/NoSuchRole"):
            message = refused(
                "AccessDeniedException", ana.start_dicom_import_job, **arguments(datastore, each)
            )
            assert f"perform: iam:PassRole on resource: {each} because" in message
        assert started(server.client(key(server, start, allow("iam:PassRole", arn))), datastore, arn)


_REFUSALS: list[tuple[list[Statement], str, str]] = [
    ([GET, PUT], "s3:ListBucket", IN),
    ([LIST, PUT], "s3:GetObject", f"{IN}/studies/*"),
    ([LIST, GET], "s3:PutObject", f"{OUT}/results/"),
    ([allow("s3:*", [OUT, f"{OUT}/*"]), GET], "s3:ListBucket", IN),
    ([LIST, allow("s3:GetObject", f"{IN}/other/*"), PUT], "s3:GetObject", f"{IN}/studies/*"),
    ([LIST, GET, allow("s3:PutObject", f"{OUT}/other/*")], "s3:PutObject", f"{OUT}/results/"),
    ([allow("s3:*"), deny("s3:GetObject", f"{IN}/stud*")], "s3:GetObject", f"{IN}/studies/*"),
    ([allow("s3:*"), deny("s3:*", f"{OUT}/*")], "s3:PutObject", f"{OUT}/results/"),
    ([allow("s3:ListBucket", IN, StringLike={"s3:prefix": "other/*"}), GET, PUT], "s3:ListBucket", IN),
    ([allow("s3:*", IpAddress={"aws:SourceIp": "127.0.0.0/8"})], "s3:ListBucket", IN),
    ([allow("s3:*"), deny("s3:*", NotIpAddress={"aws:SourceIp": "10.0.0.0/8"})], "s3:ListBucket", IN),
]


def test_reads_what_the_role_may_read(server: Server, importer: Any, datastore: str) -> None:
    prefix = f"roles-{datastore}"
    for number, path in enumerate(("1.dcm", "secret/2.dcm")):
        write(server.data / "buckets" / "inputs" / prefix / path, ct(number + 1))
    (server.data / "buckets" / "outputs").mkdir(exist_ok=True)
    secret = deny("s3:GetObject", f"{IN}/{prefix}/secret/*")
    arn = role(server, name(), SERVICE, LIST, GET, PUT, secret)
    uris = {"inputS3Uri": f"s3://inputs/{prefix}/", "outputS3Uri": f"s3://outputs/{prefix}/"}
    job = importer.start_dicom_import_job(**arguments(datastore, arn, **uris))["jobId"]
    properties = ended_job(importer, datastore, job)
    assert properties["jobStatus"] == "COMPLETED", properties
    folder = server.data / "buckets" / properties["outputS3Uri"].removeprefix("s3://")
    (failure,) = (json.loads(line) for line in (folder / "FAILURE/failure.ndjson").read_text().splitlines())
    assert failure["inputFile"] == f"{prefix}/secret/2.dcm"
    assert failure["exception"]["exceptionType"] == "AccessDeniedException"
    (success,) = (json.loads(line) for line in (folder / "SUCCESS/success.ndjson").read_text().splitlines())
    assert success["inputFile"] == f"{prefix}/1.dcm"


class TestItsRights:
    @pytest.mark.parametrize(("statements", "action", "resource"), _REFUSALS)
    def test_are_asked_for_the_very_buckets(
        self,
        server: Server,
        importer: Any,
        datastore: str,
        refused: Refused,
        statements: list[Statement],
        action: str,
        resource: str,
    ) -> None:
        arn = role(server, name(), SERVICE, *statements)
        message = refusal(refused, importer, datastore, arn)
        session = f"arn:aws:sts::{ACCOUNT}:assumed-role/{arn.rpartition('/')[2]}/ImportJob"
        assert message.startswith(
            f"User: {session} is not authorized to perform: {action} on resource: {resource}"
        )
        listed = importer.list_dicom_import_jobs(datastoreId=datastore)["jobSummaries"]
        assert arn not in {job["dataAccessRoleArn"] for job in listed}

    @pytest.mark.parametrize(
        "statements",
        [
            [LIST, GET, PUT],
            [LIST, allow("s3:GetObject", f"{IN}/studies/*"), allow("s3:PutObject", f"{OUT}/results/*")],
            [LIST, allow("s3:GetObject", f"{IN}/studies/*.dcm"), PUT],
            [allow("s3:*"), deny("s3:GetObject", f"{IN}/studies/secret/*")],
            [allow("s3:ListBucket", IN, StringLike={"s3:prefix": "studies/*"}), GET, PUT],
            [allow("s3:ListBucket", IN, StringEquals={"s3:prefix": ["studies/", "x"]}), GET, PUT],
            [allow("s3:*", StringEquals={"aws:ResourceAccount": ACCOUNT, "s3:ResourceAccount": ACCOUNT})],
            [allow("s3:*"), deny("s3:*", Bool={"aws:SecureTransport": "false"})],
            [allow("s3:*"), deny("s3:PutObject", Null={"s3:x-amz-acl": "false"})],
        ],
    )
    def test_suffice(
        self, server: Server, importer: Any, datastore: str, statements: list[Statement]
    ) -> None:
        assert started(importer, datastore, role(server, name(), SERVICE, *statements))

    def test_are_asked_for_a_prefix_as_it_may_be_meant(
        self, server: Server, importer: Any, datastore: str, refused: Refused
    ) -> None:
        for prefix in ("studies", "studies/"):
            listing = allow("s3:ListBucket", IN, StringEquals={"s3:prefix": prefix})
            arn = role(server, name(), SERVICE, listing, GET, PUT)
            assert started(importer, datastore, arn, inputS3Uri="s3://inputs/studies")
        refusal(refused, importer, datastore, arn, inputS3Uri="s3://inputs/stud")
        whole = role(
            server, name(), SERVICE, allow("s3:ListBucket", IN, StringEquals={"s3:prefix": ""}), GET, PUT
        )
        for uri in ("s3://inputs", "s3://inputs/"):
            assert started(importer, datastore, whole, inputS3Uri=uri, outputS3Uri="s3://outputs")

    def test_are_asked_for_the_files_of_a_metadata_override(
        self, server: Server, importer: Any, datastore: str, refused: Refused
    ) -> None:
        arn = role(server, name(), SERVICE, allow("s3:*"), deny("s3:GetObject", f"{IN}/studies/secret/*"))

        def configured(path: str) -> dict[str, Any]:
            mapping = {"studyInstanceUID": "1.2.3", "metadataFilePath": path}
            return {"dicomJsonMetadataImportConfiguration": {"dicomMetadataMappings": [mapping]}}

        assert started(importer, datastore, arn, importConfiguration=configured("study.json"))
        for path in ("secret/study.json", "/secret/study.json"):
            message = refusal(refused, importer, datastore, arn, importConfiguration=configured(path))
            assert f"s3:GetObject on resource: {IN}/studies/secret/study.json" in message

    def test_are_those_of_the_role_and_not_of_who_names_it(
        self, server: Server, datastore: str, refused: Refused
    ) -> None:
        ana = server.client(key(server, allow("*")))
        arn = role(server, name(), SERVICE, allow("medical-imaging:*"))
        assert "s3:ListBucket" in refusal(refused, ana, datastore, arn)
        bob = server.client(key(server, allow(["medical-imaging:*", "iam:*"]), deny("s3:*")))
        assert started(bob, datastore, role(server, name(), SERVICE, LIST, GET, PUT))
