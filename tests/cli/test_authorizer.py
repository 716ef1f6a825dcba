"""``lightwell authorizer``: what stands for a function."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from lightwell.cli.doctor.outgoing import outgoing
from lightwell.cli.doctor.warning import DoctorWarning
from lightwell.cli.main import main
from lightwell.cli.server.authorizer_targets import warn_of_targets
from lightwell.errors import ConfigurationError
from lightwell.settings import load
from lightwell.stores.db.database import Database
from lightwell.stores.db.open import open_database
from lightwell.stores.db.schema import migrate

ARN = "arn:aws:lambda:us-east-1:000000000000:function:authorize"
BUILTIN = "arn:aws:lambda:us-east-1:000000000000:function:lightwell-builtin"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    db = Database(f"sqlite:///{folder / 'lightwell.db'}")
    migrate(db)
    db.close()
    return folder


def run(data: Path, *arguments: str) -> int:
    return main(["authorizer", *arguments, "--data", str(data)])


def test_says_what_stands_for_a_function(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "put", ARN, "https://functions.example/authorize") == 0
    assert run(data, "put", f"{ARN}:live", "python:authorize:handler") == 0
    capsys.readouterr()
    assert run(data, "list", "--json") == 0
    first, second, third = json.loads(capsys.readouterr().out)
    assert (first["arn"], first["target"]) == (ARN, "https://functions.example/authorize")
    assert (second["arn"], second["target"]) == (f"{ARN}:live", "python:authorize:handler")
    assert (third["arn"], third["target"]) == (BUILTIN, "builtin")
    assert run(data, "put", ARN, "python:other:handler") == 0
    assert run(data, "delete", f"{ARN}:live") == 0
    capsys.readouterr()
    assert run(data, "list") == 0
    heading, row, builtin = (" ".join(line.split()) for line in capsys.readouterr().out.splitlines())
    assert (heading.split()[0], row) == ("LAMBDA", f"{ARN} python:other:handler")
    assert builtin == f"{BUILTIN} builtin"
    assert run(data, "delete", f"{ARN}:live") == 1


@pytest.mark.parametrize(
    ("arn", "target", "reason"),
    [
        ("authorize", "python:a:b", "not the ARN of a Lambda function"),
        ("arn:aws:iam::000000000000:role/authorize", "python:a:b", "not the ARN of a Lambda function"),
        (ARN.replace("us-east-1", "eu-west-1"), "python:a:b", "another Region or account"),
        (ARN.replace(":000000000000:", ":000000000001:"), "python:a:b", "another Region or account"),
        (BUILTIN, "python:a:b", "part of the server"),
        ("builtin", "python:a:b", "part of the server"),
        (ARN, "authorize:handler", "python:PACKAGE.MODULE:FUNCTION"),
        (ARN, "http://user:secret@host", "user name or password"),
    ],
)
def test_refuses_what_could_never_work(
    data: Path, capsys: pytest.CaptureFixture[str], arn: str, target: str, reason: str
) -> None:
    assert run(data, "put", arn, target) == 2
    assert reason in capsys.readouterr().err
    assert run(data, "list") == 0
    assert capsys.readouterr().out.split("\n")[1:] == [f"{BUILTIN}  builtin", ""]


def test_puts_and_calls_no_target_where_none_may_be(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inside = "http://10.0.0.5:9000/authorize"
    assert run(data, "put", ARN, inside) == 2
    monkeypatch.setenv("LIGHTWELL_AUTHORIZER_HOSTS", "10.0.0.0/24, functions.internal")
    assert run(data, "put", ARN, inside) == 0
    assert outgoing(load({"data": data})) == (
        "endpoints are called by TLS or on this machine, and authorizers are where they may be"
    )
    monkeypatch.delenv("LIGHTWELL_AUTHORIZER_HOSTS")
    # A server tells its log when it starts.
    with closing(open_database(load({"data": data}))) as db:
        warn_of_targets(load({"data": data}), db)
    (told,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "never called" in told.getMessage()
    assert "10.0.0.5 is not a public address" in str(vars(told))
    endpoint = {
        "s3_endpoint_url": "http://user:hush@s3.internal:9000",
        "storage_endpoint_url": "http://localhost:1",
    }
    with pytest.raises(DoctorWarning) as caught:
        outgoing(load({"data": data, **endpoint}))
    assert ARN in str(caught.value) and "10.0.0.5 is not a public address" in str(caught.value)
    assert "s3_endpoint_url is http://" in str(caught.value) and "hush" not in str(caught.value)
    assert "storage_endpoint_url" not in str(caught.value)
    monkeypatch.setenv("LIGHTWELL_AUTHORIZER_HOSTS", "http://functions.internal")
    with pytest.raises(ConfigurationError, match="no ports"):
        load({"data": data})
