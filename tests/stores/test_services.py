"""The services of the tests: missing ones are told, and fail in CI."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests import services


@contextlib.contextmanager
def missing() -> Iterator[str]:
    raise services.Unavailable("no such server")
    yield ""


def enter() -> None:
    with services.wanted(missing()):
        raise AssertionError("entered")


def test_fails_in_ci_without_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI needs this service: no such server"):
        enter()


def test_skips_elsewhere_without_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such server"):
        enter()
