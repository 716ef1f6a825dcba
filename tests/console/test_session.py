"""config, me, allowed, usage: what a page asks first; and the frame that all routes share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lightwell.auth.bearer_token import _SESSION as _NAME
from lightwell.auth.roles import WebIdentity
from lightwell.domain.arn import datastore_arn
from lightwell.web.console.sessions import _session_name
from tests.support.console import ACCOUNT, ConsoleClient, allow
from tests.support.server import REGION, Server


def test_config_needs_no_signature(server: Server) -> None:
    reply = server.call("GET", "/console/api/config")
    config = json.loads(reply.body)
    assert reply.status == 200 and reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store" and "x-amzn-requestid" in reply.headers
    assert (
        config["region"] == REGION
        and config["service"] == "medical-imaging"
        and config["accountId"] == ACCOUNT
        and config["name"] == "lightwell"
    )


def test_people_are_sent_to_the_console(server: Server) -> None:
    page = server.call("GET", "/console/", headers={"accept": "text/html"})
    at_root = server.call("GET", "/", headers={"accept": "text/html"})
    assert "default-src 'none'" in page.headers["content-security-policy"]
    if page.status == 503:
        assert b"make console" in page.body and at_root.status == 200
    else:
        assert page.status == 200 and page.headers["cache-control"] == "no-cache"
        assert (at_root.status, at_root.headers["location"]) == (302, "/console/")
    # Programs that look for the API's root are not.
    assert server.call("GET", "/", headers={"accept": "application/json"}).status != 302
    assert server.call("GET", "/consoles").status in (403, 404)


def test_me_says_who_signed(root: ConsoleClient, limited: Callable[..., ConsoleClient]) -> None:
    me = root("GET", "me")
    assert me["arn"] == f"arn:aws:iam::{ACCOUNT}:root" and (me["kind"], me["name"]) == ("root", "root")
    assert me["accessKeyId"] == root.server.root.access_key and me["expiration"] is None
    assert me["accountId"] == ACCOUNT and me["region"] == REGION
    nobody = limited(allow("medical-imaging:GetDatastore"), name="anna")("GET", "me")
    assert (nobody["kind"], nobody["name"]) == ("user", "anna")


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "nothing", None, (404, "UnknownOperationException")),
        ("GET", "", None, (404, "UnknownOperationException")),
        ("DELETE", "me", None, (405, "MethodNotAllowedException")),
        ("GET", "me", {}, (400, "ValidationException")),
        ("GET", "me?x=1", None, (400, "ValidationException")),
        ("POST", "allowed", None, (400, "ValidationException")),
        ("POST", "allowed", [], (400, "ValidationException")),
        ("POST", "allowed", {"checks": [], "more": 1}, (400, "ValidationException")),
        ("POST", "allowed", {"checks": [{"action": "x"}]}, (400, "ValidationException")),
        ("POST", "allowed", {"checks": [{"action": "iam:ListRoles"}] * 201}, (400, "ValidationException")),
        ("GET", "datastores/none/usage", None, (404, "ResourceNotFoundException")),
    ],
)
def test_refuses_what_is_wrong(
    root: ConsoleClient, method: str, path: str, body: object, expected: tuple[int, str]
) -> None:
    assert root.refused(method, path, body)[:2] == expected


def test_refuses_what_is_not_signed(server: Server) -> None:
    assert server.call("GET", "/console/api/me").status == 403
    forged = server.signed("POST", "/console/api/allowed", b'{"checks":[]}')
    forged.data = b'{"checks":[{"action":"iam:ListRoles"}]}'
    reply = server.send(forged)
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")


def test_says_what_is_allowed(
    root: ConsoleClient, limited: Callable[..., ConsoleClient], client: Any, server: Server
) -> None:
    tagged = client.create_datastore(datastoreName="tagged", clientToken="t", tags={"kind": "open"})[
        "datastoreId"
    ]
    arn = datastore_arn(REGION, ACCOUNT, tagged)
    user = limited(
        allow("medical-imaging:Get*", arn),
        allow("iam:PassRole"),
        {
            **allow("medical-imaging:DeleteDatastore"),
            "Condition": {"StringEquals": {"aws:ResourceTag/kind": "open"}},
        },
        {**allow("medical-imaging:GetDICOMImportJob", arn), "Effect": "Deny"},
    )
    checks = [
        {"action": "medical-imaging:GetDatastore", "resource": arn},
        {"action": "medical-imaging:GetDatastore", "resource": datastore_arn(REGION, ACCOUNT, "0" * 32)},
        {"action": "medical-imaging:GetDICOMImportJob", "resource": arn},
        {"action": "medical-imaging:DeleteDatastore", "resource": arn},
        {"action": "medical-imaging:CreateDatastore"},
        {"action": "iam:PassRole", "resource": f"arn:aws:iam::{ACCOUNT}:role/x"},
        {"action": "medical-imaging:GetDatastore", "resource": datastore_arn(REGION, ACCOUNT, "*")},
        {"action": "medical-imaging:UpdateImageSet", "resource": datastore_arn(REGION, ACCOUNT, "*")},
    ]
    assert user("POST", "allowed", {"checks": checks}) == {
        "allowed": [True, False, False, True, False, True, True, False]
    }
    assert root("POST", "allowed", {"checks": checks}) == {"allowed": [True] * 8}


def test_usage_is_for_those_who_may_see_the_data_store(
    root: ConsoleClient, limited: Callable[..., ConsoleClient], client: Any
) -> None:
    store = client.create_datastore(datastoreName="usage", clientToken="u")["datastoreId"]
    found = root("GET", f"datastores/{store}/usage")
    assert found["imageSets"] == 0 and found["packBytes"] == 0 and found["isEstimated"] is False
    other = limited(allow("medical-imaging:GetDatastore", datastore_arn(REGION, ACCOUNT, "0" * 32)))
    status, name, message = other.refused("GET", f"datastores/{store}/usage")
    assert (status, name) == (403, "AccessDeniedException")
    assert "is not authorized to perform: medical-imaging:GetDatastore on resource: " in message


def test_counts_requests_by_their_names(root: ConsoleClient, server: Server) -> None:
    root("GET", "me")
    text = server.call("GET", "/metrics").body.decode()
    assert 'lightwell_requests_total{operation="ConsoleMe",status="200"}' in text


def test_people_share_no_session_name_for_what_a_name_may_not_have() -> None:
    def name(subject: str, given: str) -> str:
        return _session_name(WebIdentity("https://id", subject, "console", {"preferred_username": given}))

    assert name("1", "ann.miller") == "ann.miller"
    pairs = (("ann.m\u00fcller", "ann.m\u00f6ller"), ("a" * 70, "a" * 71), ("\u00fc", "\u00f6"))
    for one, other in pairs:
        made = name("1", one), name("2", other)
        assert made[0] != made[1] and all(_NAME.fullmatch(each) for each in made)
