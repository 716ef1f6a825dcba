"""Keys that are used, disabled and changed while a server runs: `lightwell key` beside boto3."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from botocore.credentials import Credentials

from lightwell.cli.main import main
from lightwell.stores.account import principals
from tests.api.auth.restricted_keys import allow, key
from tests.api.auth.test_session_tokens import session_of
from tests.api.auth.test_sts import may
from tests.cli.running import Done
from tests.support.console import ConsoleClient
from tests.support.server import Server, running, until

UNKNOWN = "UnrecognizedClientException"


def run(server: Server, *words: str) -> Done:
    """A command on the server's data folder and database, in this process: another would take a second."""
    out, err = StringIO(), StringIO()
    places = ("--data", str(server.data), "--database-url", server.database_url)
    with redirect_stdout(out), redirect_stderr(err):
        status = main([*words, *places])
    return Done(status, out.getvalue(), err.getvalue())


def listed(server: Server, who: Credentials) -> dict[str, Any]:
    shown: dict[str, Any] = next(
        each for each in run(server, "key", "list", "--json").json() if each["accessKeyId"] == who.access_key
    )
    return shown


def test_a_key_that_is_disabled_is_refused_with_all_that_depends_on_it(
    server: Server, datastore: str
) -> None:
    ana = key(server, allow("*"))
    session = session_of(server, ana)
    presigned = server.signed("GET", "/datastore?maxResults=1", credentials=ana, query_expires=3000)
    viewer = ConsoleClient(server, session)("POST", f"datastores/{datastore}/viewer-token", {})["token"]

    def viewer_status() -> int:
        headers = {"Authorization": f"Bearer {viewer}", "Accept": "application/dicom+json"}
        return server.call("GET", f"/datastore/{datastore}/studies", headers=headers).status

    def all_may() -> bool:
        return (may(server, ana, datastore), may(server, session, datastore)) == (None, None) and (
            server.send(presigned).status,
            viewer_status(),
        ) == (200, 200)

    assert all_may()
    assert run(server, "key", "disable", ana.access_key).status == 0
    until(lambda: may(server, ana, datastore) == UNKNOWN)
    until(lambda: may(server, session, datastore) == UNKNOWN)
    until(lambda: server.send(presigned).status == 403)
    until(lambda: viewer_status() == 403)
    assert listed(server, ana)["status"] == "Inactive"
    assert f"{ana.access_key}  " in (table := run(server, "key", "list").out) and "disabled" in table
    sessions = run(server, "key", "list", "--sessions", "--json").json()
    assert session.access_key not in [each["accessKeyId"] for each in sessions]
    assert run(server, "key", "disable", ana.access_key).status == 0
    # Nothing was lost: what depends on the key is good again, too.
    assert run(server, "key", "enable", ana.access_key).status == 0
    until(all_may)
    assert listed(server, ana)["status"] == "Active"


def test_nobody_disables_root_or_a_session_or_what_is_not_there(server: Server) -> None:
    session = session_of(server, key(server, allow("*")))
    for id, why in (
        (server.root.access_key, "is the root key, which cannot be disabled"),
        (session.access_key, "are temporary credentials"),
        ("AKLW" + "X" * 16, "There is no valid access key"),
    ):
        done = run(server, "key", "disable", id)
        assert done.status == 1 and why in done.err, done
    server.client(session).list_datastores()


def test_the_console_disables_any_key_but_the_one_that_asks(server: Server, datastore: str) -> None:
    boss, other = ConsoleClient.of_new_key(server, "boss").credentials, key(server, allow("*"))
    assert boss is not None
    path = f"keys/{other.access_key}/status"
    mine = f"keys/{boss.access_key}/status"
    for credentials in (boss, session_of(server, boss)):
        asks = ConsoleClient(server, credentials)
        assert asks.refused("PUT", mine, {"status": "Inactive"})[:2] == (409, "ConflictException")
        asks("PUT", path, {"status": "Inactive"}, status=204)
        until(lambda: may(server, other, datastore) == UNKNOWN)
        shown = next(each for each in asks("GET", "keys")["keys"] if each["accessKeyId"] == other.access_key)
        assert shown["status"] == "Inactive"
        asks("PUT", path, {"status": "Active"}, status=204)
        until(lambda: may(server, other, datastore) is None)
    assert ConsoleClient(server).refused("PUT", path, {"status": "off"})[0] == 400
    limited = ConsoleClient(server, key(server, allow("iam:DeleteAccessKey")))
    assert limited.refused("PUT", path, {"status": "Inactive"})[:2] == (403, "AccessDeniedException")
    assert may(server, other, datastore) is None


def test_shows_when_and_from_where_a_key_was_last_used(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        ana, idle = key(server, allow("*")), key(server, allow("*"))
        session = session_of(server, ana)
        server.client(session).list_datastores()
        wrong = Credentials(idle.access_key, "x" * 40)
        assert may(server, wrong, "0" * 32) == "InvalidSignatureException"
        root = server.root.access_key
    # A server writes what it has noted when it ends.
    with server.database() as db, db.read() as conn:
        found = [principals.get(conn, id) for id in (ana.access_key, session.access_key, root)]
        never = principals.get(conn, idle.access_key)
    for each in found[:2]:
        assert each is not None and each.last_used_from == "127.0.0.1"
        assert each.last_used_at is not None and each.last_used_at >= each.created_at
    assert found[2] is not None and found[2].last_used_at is None
    assert never is not None and never.last_used_at is None
    shown = run(server, "key", "list").out
    assert "127.0.0.1" in next(line for line in shown.splitlines() if line.startswith(ana.access_key))
    assert listed(server, idle)["lastUsedAt"] is None
