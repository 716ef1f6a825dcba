"""Import jobs of callers who have policies do what their role may, at the time that it is done."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lightwell.auth.policies.validation import check_identity_policy, check_trust_policy
from lightwell.clock import Clock
from lightwell.domain.imports.jobs import Job
from lightwell.stores.account import roles
from lightwell.wire import shapes
from tests.support.ct_files import ROOT, ct, write
from tests.support.imports import IN, OUT, ROLE, Importing

NAME = ROLE.rpartition("/")[2]
INPUT, OUTPUT = f"arn:aws:s3:::{IN}", f"arn:aws:s3:::{OUT}"
ALL = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


def allow(action: str, *resources: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": list(resources), **more}


def deny(action: str, *resources: str, **more: Any) -> dict[str, Any]:
    return {**allow(action, *resources, **more), "Effect": "Deny"}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def put(
    server: Importing, *statements: dict[str, Any], service: str = "medical-imaging.amazonaws.com"
) -> None:
    """Make the role, or make it another."""
    trust = document({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"})
    kept = check_identity_policy(document(*statements)).text
    server.stores.db.write(
        lambda conn: roles.put(conn, NAME, check_trust_policy(trust).text, [kept], Clock().now())
    )


@pytest.fixture
def restricted(server: Importing) -> Importing:
    """Where jobs are started by somebody who has policies; with four files."""
    for number, key in enumerate(("studies/1.dcm", "studies/2.dcm", "studies/secret/3.dcm", "other/4.dcm")):
        write(server.input / key, ct(number + 1, series=str(number)))
    server.context = replace(server.context, authorized_image_sets=frozenset())
    return server


def done(server: Importing, job: Job) -> Job:
    server.work()
    return server.job(job.id)


class TestFiles:
    def test_that_the_role_may_not_read_are_not_read(self, restricted: Importing) -> None:
        put(restricted, ALL, deny("s3:GetObject", f"{INPUT}/studies/secret/*"))
        report = restricted.run("studies/")
        assert {line["inputFile"] for line in report.success} == {"studies/1.dcm", "studies/2.dcm"}
        (line,) = report.failure
        assert line["inputFile"] == "studies/secret/3.dcm"
        assert line["exception"]["exceptionType"] == "AccessDeniedException"
        assert line["exception"]["message"] == (
            f"User: arn:aws:sts::000000000000:assumed-role/{NAME}/ImportJob is not authorized to perform: "
            f"s3:GetObject on resource: {INPUT}/studies/secret/3.dcm with an explicit deny in an "
            "identity-based policy"
        )
        assert report.manifest["numberOfFilesWithCustomerError"] == 1
        assert report.manifest["numberOfScannedFiles"] == 3

    def test_are_those_that_it_may_read(self, restricted: Importing) -> None:
        put(restricted, ALL, deny("s3:GetObject", f"{INPUT}/*.dcm"), allow("s3:GetObject", f"{INPUT}/*"))
        assert len(restricted.run("studies/").failure) == 3
        restricted.close_engine()
        only = allow("s3:GetObject", f"{INPUT}/studies/?.dcm")
        put(restricted, allow("s3:ListBucket", INPUT), only, allow("s3:PutObject", f"{OUTPUT}/*"))
        report = restricted.run()
        assert {line["inputFile"] for line in report.success} == {"studies/1.dcm", "studies/2.dcm"}
        assert set(report.messages()) == {"studies/secret/3.dcm", "other/4.dcm"}

    def test_of_an_administrator_need_no_role(self, restricted: Importing) -> None:
        restricted.context = replace(restricted.context, authorized_image_sets=None)
        put(restricted, deny("s3:*", "*"))
        assert len(restricted.run().success) == 4


class TestAJob:
    @pytest.mark.parametrize(
        ("statements", "action"),
        [
            ([deny("s3:ListBucket", INPUT)], "s3:ListBucket"),
            (
                [allow("s3:ListBucket", INPUT, Condition={"StringEquals": {"s3:prefix": "x"}})],
                "s3:ListBucket",
            ),
            ([ALL, deny("s3:PutObject", f"{OUTPUT}/*/FAILURE/failure.ndjson")], "s3:PutObject"),
            ([ALL, deny("s3:PutObject", f"{OUTPUT}/*manifest.json")], "s3:PutObject"),
        ],
    )
    def test_fails_that_may_not_list_or_write(
        self, restricted: Importing, statements: list[dict[str, Any]], action: str
    ) -> None:
        put(restricted, *statements)
        job = done(restricted, restricted.start("studies/"))
        assert job.status == "FAILED"
        assert f"is not authorized to perform: {action} on resource" in str(job.message)
        assert list(restricted.output.rglob("*")) == []

    def test_has_the_role_as_it_is_when_it_runs(self, restricted: Importing) -> None:
        put(restricted, ALL)
        gone, other = restricted.start("studies/"), restricted.start("other/")
        restricted.stores.db.write(lambda conn: roles.remove(conn, NAME))
        assert [(job := done(restricted, each)).status for each in (gone, other)] == ["FAILED", "FAILED"]
        assert "There is no role" in str(job.message)

    def test_fails_where_the_service_is_not_trusted_any_more(self, restricted: Importing) -> None:
        put(restricted, ALL, service="lambda.amazonaws.com")
        job = done(restricted, restricted.start("studies/"))
        assert job.status == "FAILED"
        assert "does not let medical-imaging.amazonaws.com assume it" in str(job.message)

    def test_lists_the_folder_that_its_input_means(self, restricted: Importing) -> None:
        rest = allow("s3:GetObject", f"{INPUT}/*"), allow("s3:PutObject", f"{OUTPUT}/*")
        for prefix in ("studies", "studies/"):
            listing = allow("s3:ListBucket", INPUT, Condition={"StringEquals": {"s3:prefix": prefix}})
            put(restricted, listing, *rest)
            restricted.close_engine()
            assert len(restricted.run("studies").success) == 3
        # What is no folder is a prefix of keys, which is more.
        write(restricted.input / "studies2.dcm", ct(9, series="9"))
        listing = allow("s3:ListBucket", INPUT, Condition={"StringEquals": {"s3:prefix": "stud/"}})
        put(restricted, listing, *rest)
        restricted.close_engine()
        assert done(restricted, restricted.start("stud")).status == "FAILED"

    def test_reads_no_metadata_override_that_it_may_not(self, restricted: Importing) -> None:
        secret = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "SECRET^NAME"}]}}
        path = restricted.input / "studies" / "secret" / "study.json"
        path.write_text(json.dumps(secret))
        put(restricted, ALL, deny("s3:GetObject", f"{INPUT}/studies/secret/*.json"))
        mapping = shapes.DicomMetadataMapping(
            study_instance_uid=f"{ROOT}.1", metadata_file_path="secret/study.json"
        )
        configuration = shapes.ImportConfiguration(
            dicom_json_metadata_import_configuration=shapes.DicomJsonMetadataImportConfiguration(
                dicom_metadata_mappings=[mapping]
            )
        )
        job = done(restricted, restricted.start("studies/", import_configuration=configuration))
        assert job.status == "FAILED"
        assert f"s3:GetObject on resource: {INPUT}/studies/secret/study.json" in str(job.message)
