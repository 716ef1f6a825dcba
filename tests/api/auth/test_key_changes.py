"""Keys that are used, disabled and changed while a server runs: `lightwell key` beside boto3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from botocore.credentials import Credentials

from lightwell.stores.account import principals
from tests.api.auth.restricted_keys import ACCOUNT, allow, document, key, role
from tests.api.auth.test_session_tokens import session_of
from tests.api.auth.test_sts import assume, may
from tests.cli.running import Done, lightwell_here
from tests.support.console import ConsoleClient
from tests.support.server import Server, running, until

UNKNOWN = "UnrecognizedClientException"


def run(server: Server, *words: str) -> Done:
    """A command on the server's data folder and database."""
    return lightwell_here(*words, data=server.data, database_url=server.database_url)


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


def test_says_which_sessions_outlive_a_key(server: Server, datastore: str) -> None:
    ana = key(server, allow("*"), name="taker")
    taken = assume(server, role(server, "Lasting", {"AWS": ACCOUNT}, allow("*")), ana)
    quiet = run(server, "key", "disable", key(server, allow("*"), name="idle").access_key)
    assert (quiet.status, quiet.err) == (0, "")
    for word in ("disable", "revoke"):
        done = run(server, "key", word, ana.access_key)
        assert done.status == 0 and "1 session of roles that" in done.err and "user/taker" in done.err
    # As on AWS: a role is not the key's. It ends alone.
    until(lambda: may(server, ana, datastore) == UNKNOWN)
    assert may(server, taken, datastore) is None
    shown = run(server, "key", "list", "--sessions", "--json").json()
    session = next(each for each in shown if each["accessKeyId"] == taken.access_key)
    assert (session["kind"], session["takenBy"]) == ("role", f"arn:aws:iam::{ACCOUNT}:user/taker")
    ended = run(server, "key", "revoke", taken.access_key)
    assert (ended.status, ended.err) == (0, "")
    until(lambda: may(server, taken, datastore) == UNKNOWN)


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


def test_a_key_and_its_sessions_have_the_policies_that_it_is_given(
    server: Server, datastore: str, tmp_path: Path
) -> None:
    ana = key(server, allow("medical-imaging:GetDatastore"))
    session = session_of(server, ana)
    before = listed(server, ana)["revision"]
    file = tmp_path / "policy.json"

    def put(*statements: Any, revision: int | None = None) -> Done:
        file.write_text(document(statements))
        only = () if revision is None else ("--if-revision", str(revision))
        return run(server, "key", "put-policy", ana.access_key, "--policy", str(file), *only)

    assert may(server, ana, datastore) is None and may(server, session, datastore) is None
    assert put(allow("medical-imaging:ListDatastores"), revision=before).status == 0
    for who in (ana, session):
        until(lambda who=who: may(server, who, datastore) == "AccessDeniedException")  # type: ignore[misc]
        server.client(who).list_datastores()
    late = put(allow("*"), revision=before)
    assert late.status == 1 and "changed meanwhile" in late.err
    assert listed(server, ana)["policies"][0]["Statement"][0]["Action"] == "medical-imaging:ListDatastores"
    with server.database() as db, db.read() as conn:
        row = principals.get(conn, session.access_key)
    assert row is not None and row.policies is not None and "ListDatastores" in row.policies[0], (
        "a server that is older than `parent`"
    )
    assert run(server, "key", "put-policy", ana.access_key, "--admin").status == 0
    until(lambda: may(server, session, datastore) is None)
    assert listed(server, ana)["policies"] is None and listed(server, ana)["revision"] > before
    for words in ((), ("--admin", "--policy", str(file))):
        assert run(server, "key", "put-policy", ana.access_key, *words).status == 2
    root = run(server, "key", "put-policy", server.root.access_key, "--policy", str(file))
    assert root.status == 1 and "cannot be given policies" in root.err


def test_the_console_changes_policies_for_whoever_may_give_them(server: Server, datastore: str) -> None:
    ana = key(server, allow("medical-imaging:GetDatastore"))
    path, root = f"keys/{ana.access_key}/policies", ConsoleClient(server)
    seen = listed(server, ana)["revision"]
    lists = {"policies": [document([allow("medical-imaging:ListDatastores")])]}
    writer = ConsoleClient(server, key(server, allow("iam:PutUserPolicy"), name="writer"))
    assert writer.refused("PUT", path, {"isAdministrator": True})[:2] == (403, "AccessDeniedException")
    assert writer("PUT", path, {**lists, "revision": seen}) == {"warnings": []}
    until(lambda: may(server, ana, datastore) == "AccessDeniedException")
    assert writer.refused("PUT", path, {**lists, "revision": seen})[:2] == (409, "ConflictException")
    root("PUT", path, {"isAdministrator": True})
    until(lambda: may(server, ana, datastore) is None)
    # Who may not take it away: to change what an administrator may do is more than to write policies.
    assert writer.refused("PUT", path, lists)[:2] == (403, "AccessDeniedException")
    assert root.refused("PUT", path, {"policies": []})[0] == 400
    assert root.refused("PUT", path, {"policies": ["{"]})[0] == 400
    assert root.refused("PUT", f"keys/{server.root.access_key}/policies", lists)[0] == 409
    assert may(server, ana, datastore) is None


def test_a_rotated_key_and_its_sessions_are_good_until_the_overlap_ends(
    server: Server, datastore: str
) -> None:
    ana = key(server, allow("medical-imaging:GetDatastore"))
    session = session_of(server, ana)
    done = run(server, "key", "rotate", ana.access_key, "--overlap", "1h").json()
    new = Credentials(done["accessKeyId"], done["secretAccessKey"])
    for who in (ana, session, new):
        assert may(server, who, datastore) is None
    shown, successor = listed(server, ana), listed(server, new)
    assert (shown["expiresAt"], shown["replacedBy"]) == (done["oldEndsAt"], new.access_key)
    assert (successor["name"], successor["policies"]) == (shown["name"], shown["policies"])
    assert successor["expiresAt"] is None and done["expiresAt"] is None
    again = run(server, "key", "rotate", ana.access_key)
    assert again.status == 1 and new.access_key in again.err
    # The second time without an overlap worth the name.
    later = session_of(server, new)
    done = run(server, "key", "rotate", new.access_key, "--overlap", "0s", "--expires", "90d").json()
    newest = Credentials(done["accessKeyId"], done["secretAccessKey"])
    assert may(server, newest, datastore) is None and done["expiresAt"] is not None
    for who in (new, later):
        until(lambda who=who: may(server, who, datastore) == "ExpiredTokenException")  # type: ignore[misc]
    sessions = [each["accessKeyId"] for each in run(server, "key", "list", "--sessions", "--json").json()]
    assert session.access_key in sessions and later.access_key not in sessions
    assert "nothing: ended" in run(server, "key", "list").out
    assert may(server, ana, datastore) is None


def test_the_console_rotates_for_whoever_may_make_such_a_key(server: Server, datastore: str) -> None:
    ana = key(server, allow("medical-imaging:GetDatastore"))
    boss = ConsoleClient.of_new_key(server, "boss").credentials
    assert boss is not None
    rights = allow(["iam:CreateAccessKey", "iam:UpdateAccessKey", "iam:PutUserPolicy"])
    maker = ConsoleClient(server, key(server, rights, name="maker"))
    made = maker("POST", f"keys/{ana.access_key}/rotation", {"overlapSeconds": 3600})
    assert may(server, Credentials(made["accessKeyId"], made["secretAccessKey"]), datastore) is None
    assert made["expiresAt"] is None and listed(server, ana)["expiresAt"] is not None
    denied = (403, "AccessDeniedException")
    assert maker.refused("POST", f"keys/{boss.access_key}/rotation", {})[:2] == denied
    few = ConsoleClient(
        server, key(server, allow(["iam:CreateAccessKey", "iam:UpdateAccessKey"]), name="few")
    )
    assert few.refused("POST", f"keys/{made['accessKeyId']}/rotation", {})[:2] == denied
    root = ConsoleClient(server)
    assert root.refused("POST", f"keys/{server.root.access_key}/rotation", {})[0] == 409
    assert root.refused("POST", f"keys/{made['accessKeyId']}/rotation", {"overlapSeconds": -1})[0] == 400
    assert listed(server, boss)["replacedBy"] is None
