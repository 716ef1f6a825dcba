"""Who may call: signatures as boto3 makes them and as it does not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore.credentials import Credentials
from sqlalchemy import insert

from lightwell.auth import principals
from lightwell.auth.principals import new_credentials
from lightwell.auth.secret_box import open_secret_box
from lightwell.clock import Clock
from lightwell.stores.account import principals as table
from lightwell.stores.db import tables
from tests.support.server import Reply, Server, until

Refused = Callable[..., str]
HOUR_MS = 3_600_000


def refusal(reply: Reply) -> tuple[int, str]:
    assert reply.headers["x-amzn-requestid"]
    assert json.loads(reply.body)["message"]
    return reply.status, reply.headers["x-amzn-errortype"]


def new_key(server: Server, name: str = "reader") -> Credentials:
    with server.database() as db:
        made = principals.create_key(db, open_secret_box(None, server.data), name, Clock().now())
    return Credentials(made.access_key_id, made.secret_access_key)


def new_session(server: Server, ends_in: int) -> Credentials:
    """Temporary credentials, as nothing but a later version hands out."""
    made, secret_box, now = new_credentials(), open_secret_box(None, server.data), Clock().now()
    row = {
        "id": made.access_key_id,
        "name": "Reader/session",
        "secret": secret_box.encrypt(made.secret_access_key),
        "session_token": secret_box.encrypt("the+session/token=="),
        "is_root": False,
        "created_at": now,
        "expires_at": now + ends_in,
    }
    with server.database() as db:
        db.write(lambda conn: conn.execute(insert(tables.access_key), row))
    return Credentials(made.access_key_id, made.secret_access_key, "the+session/token==")


def test_takes_no_request_without_a_signature(server: Server) -> None:
    for method, path in (
        ("GET", "/datastore"),
        ("GET", "/"),
        ("POST", "/nowhere"),
        ("OPTIONS", "/datastore"),
    ):
        reply = server.call(method, path, headers={"Accept": "application/json"})
        assert refusal(reply) == (403, "MissingAuthenticationToken")
    reply = server.call("GET", f"/datastore/{'0' * 32}/studies")
    assert b"bearer token" in reply.body, "a viewer whose token is lost is told what to send"
    reply = server.call("HEAD", "/datastore")
    assert (reply.status, reply.body) == (403, b"")


def test_refuses_an_unsound_authorization_header(server: Server) -> None:
    for text in ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b/c", "AWS4-HMAC-SHA256 \x80\xff"):
        reply = server.call("GET", "/datastore", headers={"Authorization": text})
        assert refusal(reply)[0] == 403


def test_refuses_an_unknown_key(server: Server, refused: Refused) -> None:
    client = server.client(Credentials("AKLW" + "A" * 16, "secret"))
    refused("UnrecognizedClientException", client.list_datastores)
    refused("UnrecognizedClientException", client.list_datastores)


def test_refuses_a_wrong_secret(server: Server, refused: Refused) -> None:
    client = server.client(Credentials(server.root.access_key, "not the secret"))
    refused("InvalidSignatureException", client.list_datastores)


def test_checks_the_signature_before_the_request(server: Server, refused: Refused) -> None:
    client = server.client(Credentials(server.root.access_key, "not the secret"))
    refused("InvalidSignatureException", client.list_datastores, maxResults=51)


def test_refuses_a_body_that_was_changed(server: Server) -> None:
    request = server.signed("POST", "/datastore", b'{"datastoreName":"a","clientToken":"t"}')
    request.data = b'{"datastoreName":"b","clientToken":"t"}'
    assert refusal(server.send(request)) == (403, "InvalidSignatureException")


def test_refuses_a_query_that_was_changed(server: Server) -> None:
    request = server.signed("GET", "/datastore?maxResults=1")
    request.url = request.url.replace("maxResults=1", "maxResults=2")
    assert refusal(server.send(request)) == (403, "InvalidSignatureException")


def test_takes_the_host_that_the_client_used(server: Server) -> None:
    for host in ("runtime-medical-imaging.example.org", "localhost:1"):
        request = server.signed("GET", "/datastore", headers={"Host": host})
        assert server.send(request).status == 200


def test_takes_presigned_requests(server: Server) -> None:
    request = server.signed("GET", "/datastore?maxResults=1", query_expires=60)
    assert server.send(request).status == 200
    request.url = request.url.replace("maxResults=1", "maxResults=2")
    assert refusal(server.send(request)) == (403, "InvalidSignatureException")


def test_tells_unknown_paths_apart_only_to_those_who_may_ask(server: Server) -> None:
    for method, path in (("GET", "/nowhere"), ("PATCH", "/datastore"), ("HEAD", "/datastore")):
        reply = server.send(server.signed(method, path))
        assert (reply.status, reply.headers["x-amzn-errortype"]) == (404, "UnknownOperationException")


def test_takes_temporary_credentials_until_they_end(server: Server, refused: Refused) -> None:
    session = new_session(server, HOUR_MS)
    server.client(session).list_datastores(maxResults=1)
    for token in (None, "another"):
        client = server.client(Credentials(session.access_key, session.secret_key, token))
        refused("UnrecognizedClientException", client.list_datastores)
    refused("ExpiredTokenException", server.client(new_session(server, -1)).list_datastores)


def test_refuses_a_session_token_for_a_lasting_key(server: Server, refused: Refused) -> None:
    key = new_key(server)
    client = server.client(Credentials(key.access_key, key.secret_key, "token"))
    refused("UnrecognizedClientException", client.list_datastores)


def test_takes_a_new_key_at_once_and_a_revoked_one_not_for_long(server: Server) -> None:
    key = new_key(server)
    server.client(key).list_datastores(maxResults=1)
    with server.database() as db:
        assert db.write(lambda conn: table.revoke(conn, key.access_key, Clock().now()))
    for _ in range(100):
        reply = server.send(server.signed("GET", "/datastore", credentials=key))
        if reply.status != 200:
            break
        time.sleep(0.1)
    assert refusal(reply) == (403, "UnrecognizedClientException")


def test_takes_a_key_that_was_guessed_before_it_was_made(server: Server) -> None:
    made = new_credentials()
    key = Credentials(made.access_key_id, made.secret_access_key)
    assert server.send(server.signed("GET", "/datastore", credentials=key)).status == 403
    secret_box, now = open_secret_box(None, server.data), Clock().now()
    sealed = principals.encrypted_key(secret_box, made, "late", is_root=False, now=now)
    with server.database() as db:
        db.write(lambda conn: table.insert(conn, sealed))
    for _ in range(100):
        reply = server.send(server.signed("GET", "/datastore", credentials=key))
        if reply.status == 200:
            break
        time.sleep(0.1)
    assert reply.status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/version", "/metrics"])
def test_asks_no_signature_of_those_who_watch_the_server(server: Server, path: str) -> None:
    assert server.call("GET", path).status == 200
    assert server.call("HEAD", path).body == b""
    reply = server.call("POST", path)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
    assert reply.headers["x-amzn-errortype"] == "MethodNotAllowedException"


def test_logs_no_secret_and_no_query(server: Server, client: Any) -> None:
    reply = server.send(server.signed("GET", "/datastore?nextToken=patient-name", query_expires=60))
    answer = client.list_datastores(maxResults=1)
    for id in (reply.headers["x-amzn-requestid"], answer["ResponseMetadata"]["RequestId"]):
        until(partial(_has_logged, server, id))
    text = "\n".join(server.err)
    assert "patient-name" not in text
    assert server.root.secret_key not in text
    assert "Signature=" not in text


def _has_logged(server: Server, request: str) -> bool:
    return any('"event":"request"' in line and request in line for line in server.err)
