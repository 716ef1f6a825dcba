"""The services of the tests: missing ones are told, and fail in CI; several of a kind run on one machine."""

from __future__ import annotations

import contextlib

import pytest

from tests.support import services
from tests.support.services import S3, boto3_client


class Missing(contextlib.AbstractContextManager[str]):
    """A service that cannot start."""

    def __enter__(self) -> str:
        raise services.Unavailable("no such server")

    def __exit__(self, *_: object) -> None:
        pass


def enter() -> None:
    with services.wanted(Missing()):
        raise AssertionError("entered")


def test_fails_in_ci_without_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI needs this service: no such server"):
        enter()


def test_skips_elsewhere_without_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such server"):
        enter()


def test_starts_an_s3_server_beside_another(s3_server: S3) -> None:
    """As two processes of one test run do."""
    with services.wanted(services.seaweedfs()) as second:
        assert isinstance(second, S3) and second.url != s3_server.url
        for server in (s3_server, second):
            client = boto3_client(server)
            client.create_bucket(Bucket="beside")
            client.put_object(Bucket="beside", Key="whose", Body=server.url.encode())
            client.close()
        client = boto3_client(s3_server)
        assert client.get_object(Bucket="beside", Key="whose")["Body"].read().decode() == s3_server.url
        client.close()
