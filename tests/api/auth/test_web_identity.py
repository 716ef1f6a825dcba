"""AssumeRoleWithWebIdentity with tokens of a real OpenID provider, by boto3, and what the console adds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from sqlalchemy import update

from lightwell.auth.policies.validation import check_identity_policy, check_trust_policy
from lightwell.clock import Clock
from lightwell.stores.account import principals, roles
from lightwell.stores.db.tables import role
from tests.api.auth.restricted_keys import ACCOUNT, REGION, allow, document
from tests.api.auth.test_sts import may, sts, taken
from tests.dicomweb.support.openid import Provider
from tests.dicomweb.support.tokens import part
from tests.support.server import Server, running, until

Trust = Callable[..., str]


@pytest.fixture(scope="module")
def server(openid: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    env = {
        "LIGHTWELL_OIDC_ISSUER": openid.issuer,
        "LIGHTWELL_OIDC_CLIENT_ID": "console",
        "LIGHTWELL_OIDC_AUDIENCES": "briefly",
    }
    with running(tmp_path_factory.mktemp("web-identity") / "data", env=env) as found:
        yield found


@pytest.fixture(scope="module")
def ana(openid: Provider) -> str:
    return openid.id_token("ana")


@pytest.fixture
def trust(server: Server, openid: Provider) -> Trust:
    """Makes a role that people of the provider may take under conditions: claims, without the issuer."""
    host = openid.issuer.removeprefix("http://")

    def make(name: str, provider: str = host, **conditions: dict[str, Any]) -> str:
        statement = {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{provider}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                operator.replace("_", ":"): {
                    claim if claim.startswith("sts:") else f"{host}:{claim}": values
                    for claim, values in tests.items()
                }
                for operator, tests in conditions.items()
            },
        }
        text = check_trust_policy(document([statement]).replace("ISSUER", host)).text
        policy = check_identity_policy(document([allow("medical-imaging:GetDatastore")])).text
        with server.database() as db:
            db.write(lambda conn: roles.put(conn, name, text, [policy], Clock().now()))
        return f"arn:aws:iam::{ACCOUNT}:role/{name}"

    return make


def unsigned(server: Server) -> Any:
    config = Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}, parameter_validation=False)
    return boto3.client("sts", endpoint_url=server.url, region_name=REGION, config=config)


def take(server: Server, arn: str, token: str, **more: Any) -> dict[str, Any]:
    given = {"RoleArn": arn, "RoleSessionName": "someone", "WebIdentityToken": token, **more}
    answer: dict[str, Any] = unsigned(server).assume_role_with_web_identity(**given)
    return answer


def refusal(server: Server, arn: str, token: str, **more: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        take(server, arn, token, **more)
    response = caught.value.response
    return (
        response["Error"]["Code"],
        response["Error"]["Message"],
        response["ResponseMetadata"]["HTTPStatusCode"],
    )


def is_refused(server: Server, arn: str, token: str) -> bool:
    try:
        take(server, arn, token, DurationSeconds=901)
    except ClientError:
        return True
    return False


def roles_of(server: Server, token: str) -> dict[str, Any]:
    reply = server.call("POST", "/console/api/oidc/roles", json.dumps({"token": token}).encode())
    assert reply.status == 200, reply.body
    found: dict[str, Any] = json.loads(reply.body)
    return found


def test_gives_a_role_to_whoever_signed_in(server: Server, openid: Provider, trust: Trust, ana: str) -> None:
    arn = trust("Anyone", StringEquals={"aud": "console"})
    store = server.client().create_datastore(datastoreName="test")["datastoreId"]
    answer = take(server, arn, ana, DurationSeconds=900)
    assert answer["SubjectFromWebIdentityToken"] == "ana"
    assert (answer["Provider"], answer["Audience"]) == (openid.issuer, "console")
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/Anyone/someone"
    session = taken(answer)
    assert may(server, session, store) is None
    with pytest.raises(ClientError, match="is not authorized"):
        server.client(session).list_datastores()
    # Nor may it last longer than the role allows.
    with server.database() as db:
        db.write(
            lambda conn: conn.execute(
                update(role).where(role.c.name == "Anyone").values(max_session_seconds=900)
            )
        )
    until(lambda: roles_of(server, ana)["roles"][0]["maxSessionSeconds"] == 900)
    until(lambda: is_refused(server, arn, ana))
    assert "MaxSessionDuration" in refusal(server, arn, ana, DurationSeconds=901)[1]
    # A session policy narrows it, and it is one like those of AssumeRole.
    narrow = taken(take(server, arn, ana, Policy=document([allow("sts:*")])))
    assert may(server, narrow, store) == "AccessDeniedException"
    with server.database() as db, db.read() as conn:
        row = principals.get(conn, session.access_key)
    assert row is not None
    assert (row.provider, row.subject) == (openid.issuer, "ana")
    # The log says who it was, whatever the session is called; the token is not in it.
    until(lambda: any("role taken with a token" in line for line in server.err))
    said = next(line for line in server.err if "role taken with a token" in line)
    assert '"subject":"ana"' in said
    assert session.access_key in said
    assert not any(ana.split(".")[2] in line for line in server.err)


def test_the_sdk_takes_the_role_by_itself(
    server: Server, trust: Trust, ana: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(ana)
    monkeypatch.setenv("AWS_ROLE_ARN", trust("ForSdk"))
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.Session(region_name=REGION).client("sts")
    assert ":assumed-role/ForSdk/" in client.get_caller_identity()["Arn"]


def test_trust_policies_ask_for_claims(server: Server, openid: Provider, trust: Trust, ana: str) -> None:
    everyone = trust("ForEveryone")
    readers = trust("ForReaders", ForAnyValue_StringEquals={"groups": ["readers", "admins"]})
    nested = trust("ForNested", ForAnyValue_StringEquals={"realm_access.roles": "image-reader"})
    mail = trust("ForMail", StringLike={"email": "*@example.org"}, Bool={"email_verified": "true"})
    named = trust("ForNamed", StringEquals={"sts:RoleSessionName": "${ISSUER:preferred_username}"})
    bob = openid.id_token("bob")
    for arn in (everyone, readers, nested, mail):
        take(server, arn, ana)
    assert refusal(server, named, ana)[0] == "AccessDenied"
    take(server, named, ana, RoleSessionName="ana")
    for arn in (readers, nested):
        code, words, status = refusal(server, arn, bob)
        assert (code, status) == ("AccessDenied", 403)
        assert words == "Not authorized to perform sts:AssumeRoleWithWebIdentity"
    take(server, mail, bob)
    # Other policies: about another client or provider, about AssumeRole, or none at all.
    other = trust("ForOther", StringEquals={"aud": "other"})
    foreign = trust("ForForeign", provider="id.example.org")
    for arn in (other, foreign, f"arn:aws:iam::{ACCOUNT}:role/None", "arn:aws:iam::111111111111:role/Else"):
        assert refusal(server, arn, ana)[0] == "AccessDenied"
    with pytest.raises(ClientError, match="not authorized"):
        sts(server).assume_role(RoleArn=everyone, RoleSessionName="me")

    found = roles_of(server, ana)
    assert {role["name"] for role in found["roles"]} >= {"ForEveryone", "ForReaders", "ForNested", "ForNamed"}
    assert {"name": "ForMail", "arn": mail, "maxSessionSeconds": 43_200} in found["roles"]
    assert (found["sessionName"], found["subject"], found["name"]) == ("ana", "ana", "ana of the tests")
    names = {role["name"] for role in roles_of(server, bob)["roles"]}
    assert not names & {"ForReaders", "ForNested", "ForOther", "ForForeign"}


def test_refuses_tokens_that_are_not_good(server: Server, openid: Provider, trust: Trust, ana: str) -> None:
    arn = trust("NotForThese")
    header, payload, signature = ana.split(".")
    wrong = "A" if signature[10] != "A" else "B"
    forged = [
        f"{header}.{payload}.{signature[:10]}{wrong}{signature[11:]}",
        f"{part({'alg': 'none'})}.{payload}.{signature}",
        f"{part({'alg': 'HS256', 'kid': 'first'})}.{payload}.{signature}",
        f"{part({'alg': 'RS256', 'kid': 'second'})}.{payload}.{signature}",
        f"{header}.{part({'iss': 'https://id.example.org', 'sub': 'ana'})}.{signature}",
        openid.token("images:read"),  # an access token, for others
        "a.b.c",
        "no token",
        "x" * 20_001,
    ]
    for token in forged:
        code, _, status = refusal(server, arn, token)
        assert (code, status) == ("InvalidIdentityToken", 400), token[:60]
    assert "No OpenIDConnect provider found" in refusal(server, arn, forged[4])[1]
    assert "ID token" in refusal(server, arn, forged[5])[1]
    reply = server.call("POST", "/console/api/oidc/roles", json.dumps({"token": forged[0]}).encode())
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (400, "InvalidIdentityToken")

    brief = openid.id_token("ana", client="briefly")
    time.sleep(2.1)
    code, words, status = refusal(server, arn, brief)
    assert (code, status) == ("ExpiredTokenException", 400)
    assert words.startswith("Token expired")


def test_checks_what_is_asked_for(server: Server, trust: Trust, ana: str) -> None:
    arn = trust("Checked")
    for more, words in (
        ({"DurationSeconds": 899}, "durationSeconds"),
        ({"DurationSeconds": 43_201}, "durationSeconds"),
        ({"RoleSessionName": "a b"}, "roleSessionName"),
        ({"RoleArn": "x"}, "roleArn"),
        ({"WebIdentityToken": ""}, "webIdentityToken"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/X"}]}, "PolicyArns"),
        ({"ProviderId": "www.amazon.com"}, "ProviderId"),
    ):
        with pytest.raises(ClientError) as caught:
            given = {"RoleArn": arn, "RoleSessionName": "me", "WebIdentityToken": ana, **more}
            unsigned(server).assume_role_with_web_identity(**given)
        assert caught.value.response["Error"]["Code"] == "ValidationError"
        assert words in caught.value.response["Error"]["Message"]
    assert refusal(server, arn, ana, Policy="{")[0] == "MalformedPolicyDocument"
    # Other actions need a signature still.
    with pytest.raises(ClientError) as caught:
        unsigned(server).get_caller_identity()
    assert caught.value.response["Error"]["Code"] == "MissingAuthenticationToken"


def test_tells_the_console_of_the_provider(server: Server, openid: Provider) -> None:
    reply = server.call("GET", "/console/api/config", headers={})
    assert json.loads(reply.body)["oidc"] == {
        "issuer": openid.issuer,
        "clientId": "console",
        "scope": "openid profile email",
        "redirectPath": "/console/callback",
        "authorizationEndpoint": f"{openid.issuer}/auth",
        "tokenEndpoint": f"{openid.issuer}/token",
        "endSessionEndpoint": f"{openid.issuer}/session/end",
        "message": None,
    }


def test_the_session_ends_by_signing_out(server: Server, trust: Trust, ana: str) -> None:
    session = taken(take(server, trust("SignsOut"), ana))
    signed = server.signed("POST", "/console/api/sign-out", b"{}", credentials=session)
    assert server.send(signed).status == 204
    until(lambda: _code(server, session) == "InvalidClientTokenId")


def _code(server: Server, session: Credentials) -> str:
    try:
        sts(server, session).get_caller_identity()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""
