"""``key create --policy``, ``role`` and ``policy explain``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lightwell.cli.server.serve import prepare
from lightwell.settings import load
from tests.cli.running import lightwell_here

STORE = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{'a' * 32}"
READ = {"Sid": "Read", "Effect": "Allow", "Action": "medical-imaging:Get*", "Resource": "*"}
NEAR = {
    "Effect": "Deny",
    "Action": "*",
    "Resource": "*",
    "Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
}
TRUST = {"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder that was served once."""
    folder = tmp_path / "data"
    assert prepare(load({"data": folder}, environ={}, file=None)) == 0
    return folder


def policy(folder: Path, name: str, *statements: Any) -> str:
    file = folder.parent / f"{name}.json"
    file.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    return str(file)


def test_explains_what_a_restricted_key_may_do(data: Path) -> None:
    files = ["--policy", policy(data, "read", READ), "--policy", policy(data, "near", NEAR)]
    made = lightwell_here("key", "create", "--name", "ana", *files, data=data).json()
    (_, listed) = lightwell_here("key", "list", "--json", data=data).json()
    assert [each["Statement"] for each in listed["policies"]] == [[READ], [NEAR]]
    ask = ["policy", "explain", "--key", made["accessKeyId"], "--resource", STORE, "--action"]
    found = lightwell_here(
        *ask, "getdatastore", "--context", "aws:SourceIp=10.1.1.1", "--json", data=data
    ).json()
    assert (found["allowed"], found["deciding"]) == (True, "statement 1 (Read) of policy 1")
    assert found["action"] == "medical-imaging:GetDatastore"
    found = lightwell_here(
        *ask, "GetDatastore", "--context", "aws:SourceIp=192.0.2.1", "--json", data=data
    ).json()
    assert (found["allowed"], found["deciding"]) == (False, "statement 1 of policy 2")
    assert [line["applies"] for line in found["statements"]] == [True, True]
    shown = lightwell_here(*ask, "DeleteDatastore", "--context", "aws:SourceIp=10.1.1.1", data=data).out
    assert shown.startswith("DENIED")
    assert "no statement in any policy allows it" in shown
    for wrong in (["GetDataStor"], ["GetDatastore", "--context", "aws:SourceIP4=x"]):
        done = lightwell_here(*ask, *wrong, data=data)
        assert done.status == 2
        assert "did you mean" in done.err


def test_puts_lists_and_deletes_roles(data: Path) -> None:
    put = ["role", "put", "Reader", "--trust-policy", policy(data, "trust", TRUST)]
    arn = "arn:aws:iam::000000000000:role/Reader"
    assert lightwell_here(*put, "--policy", policy(data, "read", READ), data=data).out == f"{arn}\n"
    assert lightwell_here(*put, "--policy", policy(data, "near", READ, NEAR), data=data).status == 0
    (role,) = lightwell_here("role", "list", "--json", data=data).json()
    assert (role["arn"], role["trustPolicy"]["Statement"]) == (arn, [TRUST])
    assert [each["Statement"] for each in role["policies"]] == [[READ, NEAR]]
    ask = ["policy", "explain", "--role", "Reader", "--action", "GetDatastore", "--resource", STORE]
    assert lightwell_here(*ask, "--json", data=data).json()["allowed"] is False
    assert lightwell_here("role", "delete", "Reader", data=data).status == 0
    assert lightwell_here("role", "delete", "Reader", data=data).status == 1
    assert lightwell_here(*ask, data=data).status == 1


def test_explains_what_an_import_may_do_in_buckets(data: Path) -> None:
    listing = {
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": "arn:aws:s3:::inputs",
        "Condition": {"StringLike": {"s3:prefix": "studies/*"}},
    }
    reading = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::inputs/studies/*"}
    files = ["--trust-policy", policy(data, "trust", TRUST), "--policy", policy(data, "in", listing, reading)]
    put = lightwell_here("role", "put", "Import", *files, data=data)
    assert (put.status, put.err) == (0, "")
    ask = ["policy", "explain", "--role", "Import", "--json", "--action"]
    for asked, allowed in (
        (["s3:getobject", "--resource", "arn:aws:s3:::inputs/studies/1.dcm"], True),
        (["s3:GetObject", "--resource", "arn:aws:s3:::inputs/other/1.dcm"], False),
        (["s3:ListBucket", "--resource", "arn:aws:s3:::inputs", "--context", "s3:prefix=studies/"], True),
        (["s3:ListBucket", "--resource", "arn:aws:s3:::inputs"], False),
        (["s3:PutObject", "--resource", "arn:aws:s3:::inputs/studies/1.dcm"], False),
    ):
        assert lightwell_here(*ask, *asked, data=data).json()["allowed"] is allowed, asked


def test_refuses_a_role_that_will_not_do(data: Path) -> None:
    read, trust = policy(data, "read", READ), policy(data, "trust", TRUST)
    for name, trusting, policies in (("a b", trust, read), ("Reader", read, read), ("Reader", trust, trust)):
        done = lightwell_here(
            "role", "put", name, "--trust-policy", trusting, "--policy", policies, data=data
        )
        assert (done.status, done.out) == (2, "")
    assert lightwell_here("role", "list", data=data).out == ""
