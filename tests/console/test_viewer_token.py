"""A session handed to a viewer: what its token opens, for how long, and when it is dead."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.credentials import Credentials

from lightwell.auth.principals import Principal
from lightwell.auth.secret_box import SecretBox, open_secret_box
from lightwell.auth.viewer_token import RENEWED_SECONDS, SECONDS, ViewerTokens
from lightwell.clock import Clock
from tests.dicomweb.support.tokens import part
from tests.support.console import ACCOUNT, ConsoleClient, allow
from tests.support.server import Reply, Server, until

REGION = "us-east-1"


@pytest.fixture
def store(client: Any) -> str:
    created: str = client.create_datastore(datastoreName="viewed")["datastoreId"]
    return created


def ask(server: Server, store: str, token: str, path: str = "studies", method: str = "GET") -> Reply:
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/dicom+json"}
    return server.call(method, f"/datastore/{store}/{path}", headers=headers)


def renewal(server: Server, store: str, token: str | None) -> Reply:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    path = f"/console/api/datastores/{store}/viewer-token/renewal"
    return server.call("POST", path, b"{}", headers=headers)


def session_of(server: Server, who: Credentials) -> Credentials:
    sts = boto3.client(
        "sts",
        endpoint_url=server.url,
        region_name=REGION,
        aws_access_key_id=who.access_key,
        aws_secret_access_key=who.secret_key,
    )
    found = sts.get_session_token()["Credentials"]
    return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])


def minted(console: ConsoleClient, store: str) -> dict[str, Any]:
    found: dict[str, Any] = console("POST", f"datastores/{store}/viewer-token", {})
    return found


def test_opens_one_data_store_with_the_policies_of_the_session(
    server: Server, client: Any, store: str, limited: Callable[..., ConsoleClient]
) -> None:
    other = client.create_datastore(datastoreName="other")["datastoreId"]
    searches = limited(allow("medical-imaging:SearchDICOM*"))
    made = minted(searches, store)
    assert made["mayStore"] is False
    token = made["token"]
    assert ask(server, store, token).status in (200, 204)
    refused = ask(server, store, token, "studies/1.2/series/1.3/metadata")
    assert refused.status == 403
    assert b"user/limited is not authorized" in refused.body
    # Another data store, the native API and the console's want another token, or none at all.
    assert ask(server, other, token).status == 403
    headers = {"Authorization": f"Bearer {token}"}
    assert server.call("GET", f"/datastore/{store}", headers=headers).status == 403
    assert server.call("GET", "/console/api/me", headers=headers).status == 403
    assert minted(limited(allow("medical-imaging:*")), store)["mayStore"] is True


def test_deletes_nothing(server: Server, root: ConsoleClient, store: str) -> None:
    token = minted(root, store)["token"]
    assert ask(server, store, token).status in (200, 204)
    reply = ask(server, store, token, "studies/1.2", method="DELETE")
    assert reply.status == 403
    assert b"DeleteImageSet" in reply.body


def test_ends_with_the_session(server: Server, store: str) -> None:
    console = ConsoleClient(server, session_of(server, server.root))
    token = minted(console, store)["token"]
    assert ask(server, store, token).status in (200, 204)
    assert console.send("POST", "sign-out", {}).status == 204
    until(lambda: ask(server, store, token).status == 403)
    until(lambda: renewal(server, store, token).status == 403)


def test_is_renewed_while_it_is_good(server: Server, root: ConsoleClient, store: str, client: Any) -> None:
    reply = renewal(server, store, minted(root, store)["token"])
    assert reply.status == 200
    again = json.loads(reply.body)
    assert ask(server, store, again["token"]).status in (200, 204)
    other = client.create_datastore(datastoreName="another")["datastoreId"]
    for token, of in ((None, store), ("a.b.c", store), (again["token"], other)):
        assert renewal(server, of, token).status == 403
    box = open_secret_box(None, server.data)
    # A key without an end would otherwise be a viewer's for ever.
    now = Clock().now()
    long_ago = now // 1000 - RENEWED_SECONDS
    first = json.loads(base64.urlsafe_b64decode(again["token"].split(".")[1] + "=="))["began"]
    assert first <= now // 1000 < first + 60
    nearly = _made(box, server.root.access_key, store, now, began=long_ago + 60)
    assert json.loads(base64.urlsafe_b64decode(nearly.split(".")[1] + "=="))["exp"] <= now // 1000 + 60
    assert renewal(server, store, nearly).status == 200
    old = _made(box, server.root.access_key, store, Clock().now() - SECONDS * 1000)
    assert renewal(server, store, old).status == 401
    expired = ask(server, store, old)
    assert expired.status == 401
    assert expired.headers["www-authenticate"].startswith('Bearer error="invalid_token"')


def test_believes_no_other_token(server: Server, root: ConsoleClient, store: str) -> None:
    now, box = Clock().now(), open_secret_box(None, server.data)
    good = minted(root, store)["token"]
    header, payload, signature = good.split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "=="))["typ"] == "lightwell-viewer+jwt"
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert (claims["exp"] - claims["iat"], claims["sub"]) == (SECONDS, f"arn:aws:iam::{ACCOUNT}:root")
    for token in (
        _made(SecretBox(b"x" * 32, "elsewhere"), server.root.access_key, store, now),
        _made(box, "AKLW" + "A" * 16, store, now),
        f"{header}.{part({**claims, 'exp': claims['exp'] + 9000})}.{signature}",
        f"{part({'alg': 'none', 'typ': 'lightwell-viewer+jwt'})}.{payload}.{signature}",
        f"{header}.{payload}.",
    ):
        assert ask(server, store, token).status in (403, 424), token
    assert server.call("POST", "/console/api/datastores/short/viewer-token", b"{}").status == 403
    status, name, _ = root.refused("POST", "datastores/short/viewer-token", {})
    assert (status, name) == (400, "ValidationException")


def _made(box: SecretBox, key: str, store: str, now: int, began: int | None = None) -> str:
    principal = Principal(key, f"arn:aws:iam::{ACCOUNT}:root", "", None, None)
    return ViewerTokens(box, REGION, ACCOUNT).mint(principal, store, now, may_store=True, began=began).text
