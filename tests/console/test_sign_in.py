"""One-time links and signing out: how the local administrator's session begins and ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.credentials import Credentials
from sqlalchemy import select

from lightwell.auth.key_sessions import LINK_SECONDS, ConsoleLinks
from lightwell.auth.secret_box import SecretBox, open_secret_box
from lightwell.cli.main import main
from lightwell.clock import Clock
from lightwell.observe.audit.search import Wanted, search
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.db.tables import access_key
from tests.support.console import ACCOUNT, ConsoleClient, allow
from tests.support.server import Reply, Server, until


def links(server: Server) -> ConsoleLinks:
    return ConsoleLinks(open_secret_box(None, server.data))


def exchange(server: Server, token: str) -> Reply:
    return server.call("POST", "/console/api/link", json.dumps({"token": token}).encode())


def test_a_link_signs_in_once(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["console", "--data", str(server.data), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    address, _, token = said["link"].partition("#link=")
    assert address == f"{server.url}/console/"
    assert 0 < said["expiresAt"] - Clock().now() / 1000 <= LINK_SECONDS

    made = json.loads(exchange(server, token).body)
    session = Credentials(made["accessKeyId"], made["secretAccessKey"], made["sessionToken"])
    console = ConsoleClient(server, session)
    me = console("GET", "me")
    assert (me["kind"], me["expiration"]) == ("root", made["expiration"])
    server.client(session).list_datastores()
    again = exchange(server, token)
    assert again.status == 403
    assert "lightwell console" in json.loads(again.body)["message"]
    with server.database() as db, db.read() as conn:
        row = conn.execute(select(access_key).where(access_key.c.id == session.access_key)).one()
    assert (row.name, row.parent) == ("console link", server.root.access_key)
    assert 11.9 < (row.expires_at - row.created_at) / 3_600_000 <= 12

    # Signed out, it is over in all processes, and the link is not good again.
    assert console.send("POST", "sign-out", {}).status == 204
    until(lambda: console.send("GET", "me").status == 403)
    assert exchange(server, token).status == 403


def test_a_server_prints_a_link_when_it_is_ready(server: Server) -> None:
    until(lambda: any(line.startswith("console: ") for line in server.out))
    (said,) = [line for line in server.out if line.startswith("console: ")]
    # That it was made is on record, as if `lightwell console` had made it.
    found = search(AuditFolder(server.data, None).root, Wanted(), lambda *why: pytest.fail(str(why)))
    made = [(each.writer, each.record.kind) for each in found if each.record.query == {"by": "serve"}]
    assert made == [("cli", "access")]
    address, _, token = said.removeprefix("console: ").partition("#link=")
    assert address == f"{server.url}/console/"
    # At any time before it expires; how long ago it was printed depends on the tests before.
    assert links(server).access_key_id(token, 0).startswith("ASLW")
    # Its log has neither the link nor what was given for it.
    assert not any(token in line for line in server.err)


def test_only_one_of_many_that_follow_a_link_gets_in(server: Server) -> None:
    token = links(server).make(Clock().now())
    with ThreadPoolExecutor(8) as pool:
        statuses = [reply.status for reply in pool.map(lambda _: exchange(server, token), range(16))]
    assert sorted(statuses) == [200] + [403] * 15


def test_refuses_links_that_are_old_or_not_its_own(server: Server) -> None:
    now = Clock().now()
    good = links(server).make(now)
    old = links(server).make(now - LINK_SECONDS * 1000)
    foreign = ConsoleLinks(SecretBox(b"x" * 32, "elsewhere")).make(now)
    changed = ("A" if good[0] != "A" else "B") + good[1:]
    for token in (old, foreign, changed, good[:-2], "", "é", "A" * 9000, good + "=" * 4, f" {good}"):
        reply = exchange(server, token)
        assert reply.status == 403, token
        assert reply.headers["x-amzn-errortype"] == "AccessDeniedException"
    assert "expired" in json.loads(exchange(server, old).body)["message"]
    for body in (b"", b"{}", b"[]", b'{"token": 1}', b'{"token": "x", "more": 1}', b"\xff"):
        assert server.call("POST", "/console/api/link", body).status == 400
    assert exchange(server, good).status == 200


def test_signs_out_sessions_only(server: Server, limited: Callable[..., ConsoleClient]) -> None:
    status, name, words = limited(allow("*")).refused("POST", "sign-out", {})
    assert (status, name) == (400, "ValidationException")
    assert "lightwell key revoke" in words
    assert server.call("POST", "/console/api/sign-out", b"{}").status == 403


def test_the_console_verb_wants_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["console", "--data", str(tmp_path)]) == 1
    assert "lightwell serve --open" in capsys.readouterr().err


def test_without_a_provider_no_token_is_good(server: Server) -> None:
    reply = server.call("POST", "/console/api/oidc/roles", b'{"token": "a.b.c"}')
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (400, "InvalidIdentityToken")
    assert "oidc_issuer" in json.loads(reply.body)["message"]
    assert json.loads(server.call("GET", "/console/api/config", headers={}).body)["oidc"] is None


def test_lists_and_ends_sessions(server: Server, limited: Callable[..., ConsoleClient]) -> None:
    made = json.loads(exchange(server, links(server).make(Clock().now())).body)
    session = Credentials(made["accessKeyId"], made["secretAccessKey"], made["sessionToken"])
    console, root = ConsoleClient(server, session), ConsoleClient(server)
    listed, token = [], ""
    while True:
        page = console("GET", f"sessions?maxResults=2{token}")
        listed += page["sessions"]
        if page["nextToken"] is None:
            break
        token = f"&nextToken={page['nextToken']}"
    (own,) = [each for each in listed if each["isOwn"]]
    assert (own["accessKeyId"], own["kind"], own["name"]) == (session.access_key, "link", "root")
    assert own["expiresAt"] == made["expiration"]
    assert len({each["accessKeyId"] for each in listed}) == len(listed)
    may_list = limited(allow("iam:ListAccessKeys"))
    assert may_list("GET", "sessions")["sessions"]
    for who, method, path in (
        (limited(allow("medical-imaging:*")), "GET", "sessions"),
        (may_list, "DELETE", f"sessions/{session.access_key}"),
    ):
        assert who.refused(method, path)[0] == 403
    # Who may end a session is asked of its own user: denied for one, it remains, whatever else is allowed.
    deny = {"Effect": "Deny", "Action": "*", "Resource": f"arn:aws:iam::{ACCOUNT}:root"}
    but_root = limited(allow("iam:DeleteAccessKey"), deny)
    assert but_root.refused("DELETE", f"sessions/{session.access_key}")[0] == 403
    assert but_root.refused("DELETE", "sessions/none")[0] == 404
    assert root.send("DELETE", f"sessions/{session.access_key}").status == 204
    until(lambda: console.send("GET", "me").status == 403)
    for id in (session.access_key, server.root.access_key, "none"):
        assert root.refused("DELETE", f"sessions/{id}")[0] == 404
    root("GET", "me")
