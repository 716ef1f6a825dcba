"""What stands for a function, what it is told and what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lightwell.auth.lambda_authorizer import (
    INVOKE_PATH,
    AuthorizerDecision,
    AuthorizerFailure,
    HttpTarget,
    PythonTarget,
    event,
    parse_target,
    read_decision,
)
from lightwell.errors import ConfigurationError


def test_tells_the_function_what_aws_does() -> None:
    told = event("0" * 32, "GetDICOMInstance", "a.b.c")
    assert told == (
        b'{"datastoreId":"%s","operation":"GetDICOMInstance","bearerToken":"a.b.c"}' % (b"0" * 32)
    )


def test_reads_a_decision() -> None:
    said = {"isTokenValid": True, "roleArn": "arn", "more": [1, {"x": None}]}
    assert read_decision(json.dumps(said).encode()) == AuthorizerDecision(True, "arn")
    assert read_decision(b'{"isTokenValid":false,"roleArn":"","errorType":"x"}') == AuthorizerDecision(
        False, ""
    )


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"", "misconfigured"),
        (b"null", "misconfigured"),
        (b"no json", "misconfigured"),
        (b"[]", "misconfigured"),
        (b"[" * 50_000, "misconfigured"),
        (b'"text"', "misconfigured"),
        (b"{}", "misconfigured"),
        (b'{"isTokenValid":true}', "misconfigured"),
        (b'{"roleArn":"x"}', "misconfigured"),
        (b'{"isTokenValid":"true","roleArn":"x"}', "misconfigured"),
        (b'{"isTokenValid":1,"roleArn":"x"}', "misconfigured"),
        (b'{"isTokenValid":null,"roleArn":"x"}', "misconfigured"),
        (b'{"isTokenValid":true,"roleArn":null}', "misconfigured"),
        (b'{"isTokenValid":true,"roleArn":["x"]}', "misconfigured"),
        (b'{"isTokenValid":true,"roleArn":"x"}{}', "misconfigured"),
        (b'{"isTokenValid":true,"roleArn":"\xff"}', "misconfigured"),
        (b'{"errorMessage":"x","errorType":"ValueError","stackTrace":[]}', "failed"),
        (b'{"errorType":null}', "failed"),
    ],
)
def test_takes_nothing_else_for_one(said: bytes, kind: str) -> None:
    with pytest.raises(AuthorizerFailure) as failure:
        read_decision(said)
    assert failure.value.kind == kind


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("python:authorize:handler", PythonTarget("authorize", "handler")),
        ("python:a.b_1.c:_f", PythonTarget("a.b_1.c", "_f")),
        ("http://127.0.0.1:9000", HttpTarget(False, "127.0.0.1", 9000, "127.0.0.1:9000", INVOKE_PATH)),
        ("http://function/", HttpTarget(False, "function", 80, "function", INVOKE_PATH)),
        ("https://x.example/a/b?c=d", HttpTarget(True, "x.example", 443, "x.example", "/a/b?c=d")),
        ("http://[::1]:8080/f", HttpTarget(False, "::1", 8080, "[::1]:8080", "/f")),
    ],
)
def test_reads_targets(text: str, target: Any) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "authorize:handler",
        "python:",
        "python:authorize",
        "python:authorize:handler:more",
        "python:a..b:f",
        "python:a b:f",
        "python:1a:f",
        "python:a/b:f",
        "ftp://host",
        "http://",
        "http://:80",
        "http://host:0",
        "http://host:99999",
        "http://user:secret@host",
        "http://host/#fragment",
        "http://host/a b",
        "http://host/\r\nx: y",
        "http://höst/",
        "http://host/" + "x" * 3000,
        "http://[::1",
    ],
)
def test_refuses_other_targets(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_target(text)
