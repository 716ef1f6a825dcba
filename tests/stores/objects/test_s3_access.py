"""The look at S3 before work begins, against a real server and what is none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lightwell.cli.main import main
from lightwell.settings import load
from lightwell.stores.objects import s3_client
from lightwell.stores.objects.s3_access import AccessProblem, look, look_at_storage
from lightwell.work import s3_check
from tests.support.services import S3, new_bucket


@pytest.fixture(scope="module")
def silent_port() -> Iterator[int]:
    """A port of loopback on which connections are neither accepted nor refused."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, it is no answer that S3 is late."""
    monkeypatch.setitem(s3_client._PATIENCE, "brief", (60, 60, 0))


def looked(s3: str, bucket: str) -> AccessProblem:
    found = look(bucket, "some/prefix", endpoint_url=s3, region="us-east-1")
    assert found is not None
    assert f"(endpoint {s3})" in found.text
    assert f"s3://{bucket}/some/prefix" in found.text
    return found


@pytest.mark.usefixtures("patient")
def test_finds_nothing_wrong_with_a_bucket_that_works(s3_endpoint: S3) -> None:
    bucket = new_bucket(s3_endpoint)
    assert look(bucket, "none/such", endpoint_url=s3_endpoint.url, region="us-east-1") is None
    for url in (f"s3://{bucket}/frames", f"s3://{bucket}", "file:///tmp/objects"):
        assert look_at_storage(url, endpoint_url=s3_endpoint.url, region="us-east-1") is None


@pytest.mark.usefixtures("patient")
def test_tells_credentials_from_a_bucket(s3_endpoint: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = new_bucket(s3_endpoint)
    missing = looked(s3_endpoint.url, "lightwell-none-such")
    assert (missing.kind, "there is no such bucket" in missing.text) == ("bucket", True)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    wrong = looked(s3_endpoint.url, bucket)
    assert (wrong.kind, "(SignatureDoesNotMatch)" in wrong.text) == ("credentials", True)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NOSUCHKEY")
    unknown = looked(s3_endpoint.url, bucket)
    assert (unknown.kind, "(InvalidAccessKeyId)" in unknown.text) == ("credentials", True)


def test_does_not_wait_for_a_metadata_service_that_is_not_there(
    s3_endpoint: S3, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{silent_port}")
    found = looked(s3_endpoint.url, "bucket")
    assert (found.kind, "there are no AWS credentials" in found.text) == ("credentials", True)


def test_says_of_what_may_pass_why_no_answer_comes(s3_endpoint: S3, silent_port: int) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        refused = looked(f"http://127.0.0.1:{port}", "bucket")
    assert (refused.kind, f"127.0.0.1:{port}: connection refused" in refused.text) == ("may pass", True)
    late = looked(f"http://127.0.0.1:{silent_port}", "bucket")
    assert (late.kind, f"127.0.0.1:{silent_port} does not answer" in late.text) == ("may pass", True)


@pytest.mark.usefixtures("patient")
def test_ends_an_import_that_s3_refuses(
    s3_endpoint: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = new_bucket(s3_endpoint)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    given = ["import", f"s3://{bucket}/in/", "--s3-endpoint-url", s3_endpoint.url]
    assert main([*given, "--data", str(tmp_path / "data")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "S3 refused the credentials (SignatureDoesNotMatch)" in said.err
    assert said.err.endswith("; nothing was imported\n")


@pytest.mark.usefixtures("patient")
def test_tells_the_log_of_a_server(
    s3_endpoint: S3, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = new_bucket(s3_endpoint)
    given = {"storage_url": f"s3://{bucket}/frames", "storage_endpoint_url": s3_endpoint.url}
    settings = load({**given, "s3_endpoint_url": s3_endpoint.url})
    s3_check.report(settings)
    assert caplog.messages == []
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NOSUCHKEY")
    s3_check.report(settings)
    storage, buckets = caplog.messages
    assert storage.startswith(f"s3://{bucket}/frames: S3 refused the credentials (InvalidAccessKeyId)")
    assert "import jobs cannot use its buckets" in buckets
