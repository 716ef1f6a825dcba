"""GetSessionToken, by boto3's own STS client: a key's session is the key's user, and ends with the key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from sqlalchemy import Connection, select, update

from lightwell.auth.sessions import MOST_SESSIONS
from lightwell.clock import Clock
from lightwell.stores.account import principals
from lightwell.stores.db.tables import access_key
from tests.api.auth.restricted_keys import ACCOUNT, allow, deny, key, role
from tests.api.auth.test_sts import may, posted, sts, taken
from tests.support.server import Server, until

Refused = Callable[..., str]


def session_of(server: Server, who: Credentials | None = None, **more: Any) -> Credentials:
    return taken(sts(server, who).get_session_token(**more))


def test_stands_for_the_key(server: Server, datastore: str) -> None:
    ana = key(server, allow("medical-imaging:GetDatastore"))
    answer = sts(server, ana).get_session_token(DurationSeconds=900)
    left = answer["Credentials"]["Expiration"] - datetime.now(UTC)
    assert timedelta(minutes=14) < left <= timedelta(minutes=15)
    session = taken(answer)
    assert session.access_key != ana.access_key
    identity = sts(server, session).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/ana"
    assert may(server, session, datastore) is None
    with pytest.raises(ClientError, match="is not authorized"):
        server.client(session).list_datastores()
    # Root's may do what root may, and no policy is needed to be given one.
    root = session_of(server)
    assert sts(server, root).get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    server.client(root).list_datastores()
    session_of(server, key(server, deny("*")))


def test_has_no_more_of_them_than_anybody_needs(server: Server) -> None:
    ana, now = key(server, allow("*")), Clock().now()
    first = session_of(server, ana)
    with server.database() as db:

        def fill(conn: Connection) -> None:
            found = principals.get(conn, first.access_key)
            assert found is not None
            # One that was ended leaves room.
            ended = replace(found, id="ASLW" + "Z" * 16, revoked_at=now)
            others = [replace(found, id=f"ASLW{n:0>16}") for n in range(MOST_SESSIONS - 2)]
            for each in (ended, *others):
                principals.insert(conn, each)

        db.write(fill)
    session_of(server, ana)
    with pytest.raises(ClientError, match="LimitExceeded"):
        session_of(server, ana)
    session_of(server)


def test_has_the_policies_that_the_key_has_now(server: Server, datastore: str) -> None:
    ana = key(server, allow("medical-imaging:GetDatastore"))
    session = session_of(server, ana)
    assert may(server, session, datastore) is None
    with server.database() as db:
        taken_away = update(access_key).where(access_key.c.id == ana.access_key).values(policies="[]")
        db.write(lambda conn: conn.execute(taken_away))
    until(lambda: may(server, session, datastore) == "AccessDeniedException")


def test_ends_with_its_key(server: Server, datastore: str) -> None:
    ana = key(server, allow("*"))
    session = session_of(server, ana)
    assert may(server, session, datastore) is None
    with server.database() as db:
        assert db.write(lambda conn: principals.revoke(conn, ana.access_key, Clock().now()))
        with db.read() as conn:
            good = principals.sessions(conn, Clock().now(), 1000)
    assert session.access_key not in [key.id for key in good]
    until(lambda: may(server, session, datastore) == "UnrecognizedClientException")


def test_may_use_policies_about_when_it_was_made(server: Server, datastore: str) -> None:
    old = deny("*", DateLessThan={"aws:TokenIssueTime": "2100-01-01T00:00:00Z"})
    ana = key(server, allow("*"), old)
    assert may(server, ana, datastore) is None
    assert may(server, session_of(server, ana), datastore) == "AccessDeniedException"


def test_is_kept_so_that_an_older_server_grants_no_more(server: Server) -> None:
    ana = key(server, allow("medical-imaging:GetDatastore"))
    for who in (ana, server.root):
        session = session_of(server, who)
        with server.database() as db, db.read() as conn:
            row = conn.execute(select(access_key).where(access_key.c.id == session.access_key)).one()
        # Without policies a key may do everything.
        assert row.policies is not None
        assert (row.is_root, row.role, row.parent) == (False, None, who.access_key)


def test_takes_roles_like_its_key(server: Server, datastore: str, refused: Refused) -> None:
    arn = role(server, "ForSessions", {"AWS": f"arn:aws:iam::{ACCOUNT}:user/ana"}, allow("*"))
    session = session_of(server, key(server, allow("sts:AssumeRole")))
    more = {"RoleArn": arn, "RoleSessionName": "me", "DurationSeconds": 7200}
    assert may(server, taken(sts(server, session).assume_role(**more)), datastore) is None
    for temporary in (session, taken(sts(server, session).assume_role(**more))):
        words = refused("AccessDenied", sts(server, temporary).get_session_token)
        assert words == "Cannot call GetSessionToken with session credentials"


def test_refuses(server: Server, refused: Refused) -> None:
    client = sts(server)
    for seconds in (899, 129_601):
        words = refused("ValidationError", client.get_session_token, DurationSeconds=seconds)
        assert "durationSeconds" in words
    more = {"SerialNumber": "arn:aws:iam::1:mfa/x", "TokenCode": "123456"}
    assert "not supported" in refused("ValidationError", client.get_session_token, **more)
    assert posted(server, b"Action=GetSessionToken&DurationSeconds=x").status == 400
    reply = server.call("POST", "/", b"Action=GetSessionToken", headers={})
    assert reply.status == 403
    session = session_of(server)
    without = Credentials(session.access_key, session.secret_key)
    refused("InvalidClientTokenId", sts(server, without).get_caller_identity)
