"""Temporary credentials: AssumeRole and GetCallerIdentity, by boto3's own STS client."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import methodcaller
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from sqlalchemy import select

from lightwell.clock import Clock
from lightwell.stores.account import principals, roles
from lightwell.stores.db.tables import access_key
from tests.api.auth.restricted_keys import ACCOUNT, REGION, allow, deny, document, key, role, store_arn
from tests.cli.running import Done, lightwell_here
from tests.support.server import Reply, Server, until

Refused = Callable[..., str]
EVERYBODY = {"AWS": ACCOUNT}


def sts(server: Server, credentials: Credentials | None = None) -> Any:
    who = credentials or server.root
    return boto3.client(
        "sts",
        endpoint_url=server.url,
        region_name=REGION,
        aws_access_key_id=who.access_key,
        aws_secret_access_key=who.secret_key,
        aws_session_token=who.token,
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
    )


def taken(answer: dict[str, Any]) -> Credentials:
    found = answer["Credentials"]
    return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])


def assume(server: Server, arn: str, who: Credentials | None = None, **more: Any) -> Credentials:
    return taken(sts(server, who).assume_role(RoleArn=arn, RoleSessionName="me", **more))


def may(server: Server, credentials: Credentials, datastore: str) -> str | None:
    """The error of GetDatastore, None where there is none."""
    try:
        server.client(credentials).get_datastore(datastoreId=datastore)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None


def test_tells_who_one_is(server: Server) -> None:
    root = sts(server).get_caller_identity()
    assert (root["Arn"], root["Account"], root["UserId"]) == (
        f"arn:aws:iam::{ACCOUNT}:root",
        ACCOUNT,
        ACCOUNT,
    )
    # It needs no permission, and no Deny takes it away.
    ana = sts(server, key(server, deny("*"))).get_caller_identity()
    assert ana["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/ana"
    assert ana["UserId"].startswith("AIDA")


def test_gives_credentials_of_a_role(server: Server, datastore: str) -> None:
    arn = role(server, "Reader", EVERYBODY, allow("medical-imaging:Get*"))
    answer = sts(server).assume_role(RoleArn=arn, RoleSessionName="viewer-1")
    user = answer["AssumedRoleUser"]
    assert user["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader/viewer-1"
    assert user["AssumedRoleId"].startswith("AROA")
    assert user["AssumedRoleId"].endswith(":viewer-1")
    left = answer["Credentials"]["Expiration"] - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    credentials = taken(answer)
    assert may(server, credentials, datastore) is None
    assert sts(server, credentials).get_caller_identity()["Arn"] == user["Arn"]
    assert sts(server, credentials).get_caller_identity()["UserId"] == user["AssumedRoleId"]
    with pytest.raises(ClientError) as caught:
        server.client(credentials).delete_datastore(datastoreId=datastore)
    assert f"User: {user['Arn']} is not authorized" in caught.value.response["Error"]["Message"]


def test_keeps_secrets_encrypted(server: Server) -> None:
    credentials = assume(server, role(server, "Sealed", EVERYBODY, allow("*")))
    with server.database() as db, db.read() as conn:
        row = conn.execute(select(access_key).where(access_key.c.id == credentials.access_key)).one()
    assert credentials.token is not None
    for secret in (credentials.secret_key, credentials.token):
        assert secret.encode() not in bytes(row.secret) + bytes(row.session_token)
    assert (row.role, row.session_name, row.is_root) == ("Sealed", "me", False)


def test_wants_the_token_of_the_session(server: Server, datastore: str) -> None:
    found = assume(server, role(server, "Tokened", EVERYBODY, allow("*")))
    without = Credentials(found.access_key, found.secret_key)
    assert may(server, without, datastore) == "UnrecognizedClientException"


def test_both_the_caller_and_the_role_must_agree(server: Server, refused: Refused) -> None:
    arn = role(server, "Both", EVERYBODY, allow("*"))
    closed = role(server, "Closed", {"Service": "medical-imaging.amazonaws.com"}, allow("*"))
    assumes, other = (key(server, allow("sts:AssumeRole", each)) for each in ([arn, closed], [closed]))
    assume(server, arn, assumes)
    for who, wanted in ((other, arn), (assumes, closed), (None, closed), (None, arn + "less")):
        message = refused("AccessDenied", sts(server, who).assume_role, RoleArn=wanted, RoleSessionName="me")
        assert f"is not authorized to perform: sts:AssumeRole on resource: {wanted}" in message


def test_asks_the_trust_policy_for_its_conditions(server: Server, refused: Refused) -> None:
    arn = role(server, "Partner", EVERYBODY, allow("*"), StringEquals={"sts:ExternalId": "secret-7"})
    assume(server, arn, ExternalId="secret-7")
    for more in ({}, {"ExternalId": "other"}):
        refused("AccessDenied", sts(server).assume_role, RoleArn=arn, RoleSessionName="me", **more)


def test_narrows_a_session_by_a_policy(server: Server, client: Any, datastore: str) -> None:
    arn = role(server, "Wide", EVERYBODY, allow("medical-imaging:*"))
    other = client.create_datastore(datastoreName="other")["datastoreId"]
    policy = document([allow("medical-imaging:GetDatastore", store_arn(datastore)), allow("sts:*")])
    narrow = assume(server, arn, Policy=policy)
    assert may(server, narrow, datastore) is None
    assert may(server, narrow, other) == "AccessDeniedException"
    assert may(server, assume(server, arn), other) is None
    narrowed = sts(server).assume_role(RoleArn=arn, RoleSessionName="me", Policy=policy)
    assert 1 <= narrowed["PackedPolicySize"] <= 100


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ({"DurationSeconds": 899}, "ValidationError", "durationSeconds"),
        ({"DurationSeconds": 43201}, "ValidationError", "durationSeconds"),
        ({"RoleSessionName": "a b"}, "ValidationError", "roleSessionName"),
        ({"RoleSessionName": "x" * 65}, "ValidationError", "roleSessionName"),
        ({"RoleArn": "x" * 20}, "AccessDenied", "not authorized"),
        ({"RoleArn": "arn:aws:iam::111111111111:role/X"}, "AccessDenied", ACCOUNT),
        ({"Policy": "{"}, "MalformedPolicyDocument", "not valid JSON"),
        ({"Policy": "{" + " " * 2048}, "ValidationError", "policy"),
        ({"Policy": '{"Version": "2012-10-17", "Statement": []}'}, "MalformedPolicyDocument", "Statement"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/X"}]}, "ValidationError", "PolicyArns"),
        ({"Tags": [{"Key": "a", "Value": "b"}]}, "ValidationError", "Tags"),
        ({"SerialNumber": "x" * 9, "TokenCode": "123456"}, "ValidationError", "SerialNumber"),
        ({"SourceIdentity": "ana"}, "ValidationError", "SourceIdentity"),
    ],
)
def test_refuses(server: Server, refused: Refused, arguments: dict[str, Any], code: str, words: str) -> None:
    arn = role(server, "Any", EVERYBODY, allow("*"))
    given = {"RoleArn": arn, "RoleSessionName": "me", **arguments}
    assert words in refused(code, sts(server).assume_role, **given)


def test_lets_a_session_take_another_role_for_an_hour_at_most(server: Server, refused: Refused) -> None:
    first = role(server, "First", EVERYBODY, allow("sts:AssumeRole"))
    second = role(server, "Second", {"AWS": first}, allow("*"))
    session = assume(server, first, DurationSeconds=43_200)
    assume(server, second, session)
    more = {"RoleArn": second, "RoleSessionName": "me", "DurationSeconds": 3_601}
    assert "1 hour" in refused("ValidationError", sts(server, session).assume_role, **more)
    refused("AccessDenied", sts(server).assume_role, RoleArn=second, RoleSessionName="me")


def test_lets_no_session_last_longer_than_its_role_allows(
    server: Server, refused: Refused, tmp_path: Path
) -> None:
    role(server, "Brief", EVERYBODY, allow("*"))
    trust, policy = tmp_path / "trust.json", tmp_path / "policy.json"
    trusting = {"Effect": "Allow", "Principal": EVERYBODY, "Action": "sts:AssumeRole"}
    trust.write_text(document([trusting]))
    policy.write_text(document([allow("*")]))

    def put(*words: str) -> Done:
        files = ("--trust-policy", trust, "--policy", policy)
        return lightwell_here(
            "role", "put", "Brief", *files, *words, data=server.data, database_url=server.database_url
        )

    def lasts(**more: Any) -> timedelta:
        now = datetime.now(UTC)
        answer = sts(server).assume_role(RoleArn=arn, RoleSessionName="me", **more)
        return timedelta(seconds=round((answer["Credentials"]["Expiration"] - now).total_seconds() / 60) * 60)

    arn = f"arn:aws:iam::{ACCOUNT}:role/Brief"
    assert lasts(DurationSeconds=43_200) == timedelta(hours=12)
    assert put("--max-session", "2h").status == 0
    until(lambda: _is_refused(server, arn, 7_201))
    asked = {"RoleArn": arn, "RoleSessionName": "me", "DurationSeconds": 7_201}
    assert refused("ValidationError", sts(server).assume_role, **asked) == (
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
    )
    assert lasts(DurationSeconds=7_200) == timedelta(hours=2)
    assert lasts() == timedelta(hours=1)
    # Policies alone leave it; and who asks for no time gets no more than the role has.
    assert put().status == 0 and put("--max-session", "15m").status == 0 and put().status == 0
    until(lambda: _is_refused(server, arn, 7_200))
    assert lasts() == lasts(DurationSeconds=900) == timedelta(minutes=15)
    listed = lightwell_here("role", "list", data=server.data, database_url=server.database_url).out
    assert "15 min" in next(line for line in listed.splitlines() if line.startswith(f"{arn} "))
    for wrong in ("13h", "14m", "long"):
        assert put("--max-session", wrong).status == 2


def _is_refused(server: Server, arn: str, seconds: int) -> bool:
    try:
        assume(server, arn, DurationSeconds=seconds)
    except ClientError:
        return True
    return False


def test_ends_a_session(server: Server, datastore: str) -> None:
    arn = role(server, "Short", EVERYBODY, allow("*"))
    ended, gone = assume(server, arn), assume(server, arn)
    now = Clock().now()
    with server.database() as db:
        for credentials, at in ((ended, now - 1_000), (gone, now - 25 * 3600 * 1000)):
            ends = access_key.update().where(access_key.c.id == credentials.access_key).values(expires_at=at)
            db.write(methodcaller("execute", ends))
        assert may(server, ended, datastore) == "ExpiredTokenException"
        assume(server, arn)
        with db.read() as conn:
            assert principals.get(conn, ended.access_key) is not None
            assert principals.get(conn, gone.access_key) is None


def test_ends_the_sessions_of_a_role_that_is_deleted(server: Server, datastore: str) -> None:
    arn = role(server, "Gone", EVERYBODY, allow("*"))
    credentials = assume(server, arn)
    with server.database() as db:
        db.write(lambda conn: roles.remove(conn, "Gone"))
        assert may(server, credentials, datastore) == "UnrecognizedClientException"
    # One of the same name is another role.
    role(server, "Gone", EVERYBODY, allow("*"))
    with server.database() as db, db.read() as conn:
        kept = principals.get(conn, credentials.access_key)
        again = roles.get(conn, "Gone")
    assert kept is not None
    assert again is not None
    assert again.created_at > kept.created_at


# The protocol ---------------------------------------------------------------------------------------------


def posted(server: Server, body: bytes, service: str = "sts", path: str = "/", method: str = "POST") -> Reply:
    request = AWSRequest(method, server.url + path, data=body)
    request.headers["Content-Type"] = "application/x-www-form-urlencoded"
    SigV4Auth(server.root, service, REGION).add_auth(request)
    return server.send(request)


def code(reply: Reply) -> tuple[int, str | None]:
    namespace = "{https://sts.amazonaws.com/doc/2011-06-15/}"
    assert reply.headers["content-type"] == "text/xml"
    root = ElementTree.fromstring(reply.body)
    assert root.tag == f"{namespace}ErrorResponse"
    assert root.findtext(f"{namespace}RequestId") == reply.headers["x-amzn-requestid"]
    return reply.status, root.findtext(f"{namespace}Error/{namespace}Code")


def test_speaks_the_query_protocol(server: Server) -> None:
    identity = b"Action=GetCallerIdentity&Version=2011-06-15"
    assert posted(server, identity).status == 200
    assert posted(server, b"", path="/?" + identity.decode(), method="GET").status == 200
    for body, expected in (
        (b"Action=Fly", (400, "InvalidAction")),
        (b"", (400, "InvalidAction")),
        (b"Action=AssumeRole&Action=GetCallerIdentity", (400, "ValidationError")),
        (b"Action=AssumeRole", (400, "ValidationError")),
        (b"\xff", (400, "ValidationError")),
    ):
        assert code(posted(server, body)) == expected
    assert code(posted(server, identity, service="medical-imaging")) == (403, "SignatureDoesNotMatch")
    assert code(server.call("POST", "/", identity)) == (403, "MissingAuthenticationToken")


def test_names_errors_as_sts_does(server: Server, refused: Refused) -> None:
    refused("InvalidClientTokenId", sts(server, Credentials("AKLW" + "A" * 16, "s")).get_caller_identity)
    wrong = Credentials(server.root.access_key, "wrong")
    refused("SignatureDoesNotMatch", sts(server, wrong).get_caller_identity)
    session = assume(server, role(server, "Names", EVERYBODY, allow("*")))
    with server.database() as db:
        statement = access_key.update().where(access_key.c.id == session.access_key).values(expires_at=1)
        db.write(lambda conn: conn.execute(statement))
    refused("ExpiredToken", sts(server, session).get_caller_identity)


def test_escapes_what_it_repeats(server: Server) -> None:
    reply = posted(server, b"Action=%3Cb%3E%26")
    assert code(reply) == (400, "InvalidAction")
    assert b"&lt;b&gt;&amp;" in reply.body
