"""Keys, roles, authorizers and policies: who may make them, and what they may do afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from lightwell.domain.arn import builtin_authorizer_arn, datastore_arn
from lightwell.stores.account import authorizers
from lightwell.stores.db.tables import access_key
from tests.support.console import ACCOUNT, ConsoleClient, allow
from tests.support.server import REGION, Server, until

ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
USER = f"arn:aws:iam::{ACCOUNT}:user/"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/"
DENIED = (403, "AccessDeniedException")


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


LISTS = policy(allow("medical-imaging:ListDatastores"))
NOTHING = policy(allow("medical-imaging:GetDatastore", datastore_arn(REGION, ACCOUNT, "0" * 32)))


def signed_in(root: ConsoleClient, made: dict[str, str]) -> ConsoleClient:
    return ConsoleClient(root.server, Credentials(made["accessKeyId"], made["secretAccessKey"]))


def test_a_key_may_do_what_its_policies_say_until_it_is_revoked(root: ConsoleClient, server: Server) -> None:
    made = root("POST", "keys", {"name": "reader", "policies": [LISTS], "expiresAt": "2999-01-01T00:00:00Z"})
    assert made["arn"] == USER + "reader" and made["expiresAt"] == "2999-01-01T00:00:00Z"
    reader = signed_in(root, made)
    boto = server.client(reader.credentials)
    boto.list_datastores()
    with pytest.raises(ClientError, match="not authorized"):
        boto.create_datastore(clientToken="x")
    shown = next(key for key in root("GET", "keys")["keys"] if key["accessKeyId"] == made["accessKeyId"])
    assert shown["name"] == "reader" and shown["access"] == "policies" and not shown["isOwn"]
    assert json.loads(shown["policies"][0]) == json.loads(LISTS) and shown["expiresAt"] == made["expiresAt"]
    assert "secretAccessKey" not in shown
    root("DELETE", f"keys/{made['accessKeyId']}", status=204)

    def told() -> list[str]:
        return [line for line in server.err if made["accessKeyId"] in line and "access key" in line]

    # What the server writes comes by a thread of its own.
    until(lambda: len(told()) >= 2)
    assert len(told()) == 2 and not any(made["secretAccessKey"] in line for line in server.err)
    time.sleep(1)
    assert reader.refused("GET", "me")[:2] == (403, "UnrecognizedClientException")
    assert root.refused("DELETE", f"keys/{made['accessKeyId']}")[:2] == (404, "ResourceNotFoundException")


def test_refuses_the_character_nul(root: ConsoleClient) -> None:
    for method, path, body in (
        ("DELETE", "sessions/a%00b", None),
        ("GET", "sessions?nextToken=a%00b", None),
        ("POST", "keys", {"name": "a\0b", "policies": [LISTS]}),
        ("POST", "keys", {"name": "a\\\0b", "policies": [LISTS]}),
    ):
        status, name, message = root.refused(method, path, body)
        assert (status, name) == (400, "ValidationException") and "NUL" in message
    # The escape of a backslash, and no NUL.
    assert "NUL" not in root.refused("POST", "keys", {"name": "a\\u0000b", "policies": [LISTS]})[2]


def test_a_key_ends_when_it_expires(root: ConsoleClient, server: Server) -> None:
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    made = root("POST", "keys", {"name": "short", "policies": [LISTS], "expiresAt": end})
    key = signed_in(root, made)
    assert key("GET", "me")["expiration"] == end
    # What is begun with it ends with it.
    sts = boto3.client(
        "sts",
        endpoint_url=server.url,
        region_name=REGION,
        aws_access_key_id=made["accessKeyId"],
        aws_secret_access_key=made["secretAccessKey"],
    )
    session = sts.get_session_token()["Credentials"]
    assert session["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ") == end
    over = access_key.update().where(access_key.c.id == made["accessKeyId"]).values(expires_at=1)
    with server.database() as db:
        db.write(lambda conn: conn.execute(over))
    time.sleep(1)
    assert key.refused("GET", "me")[:2] == (403, "ExpiredTokenException")


def test_a_key_of_an_administrator_may_do_everything(root: ConsoleClient) -> None:
    made = signed_in(root, root("POST", "keys", {"name": "boss", "isAdministrator": True}))
    own = next(key for key in made("GET", "keys")["keys"] if key["isOwn"])
    assert own["name"] == "boss" and own["access"] == "everything" and own["policies"] is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "either policies, or isAdministrator"),
        ({"policies": [LISTS], "isAdministrator": True}, "either policies, or isAdministrator"),
        ({"policies": []}, "give at least one"),
        ({"policies": ['{"Statement": []}']}, "has no Statement"),
        ({"policies": [LISTS, '{"Version": 1}']}, "Policy 2: "),
        ({"policies": [LISTS] * 11}, "are the most"),
        ({"policies": [LISTS], "name": "root"}, "not a valid name"),
        ({"policies": [LISTS], "name": "a b"}, "not a valid name"),
        ({"policies": [LISTS], "expiresAt": "2001-01-01T00:00:00Z"}, "in the past"),
        ({"policies": [LISTS], "expiresAt": "tomorrow"}, "must be a time"),
        ({"policies": [LISTS], "secret": "x"}, "unknown field"),
    ],
)
def test_refuses_a_key_that_is_not_clear(root: ConsoleClient, more: dict[str, Any], message: str) -> None:
    status, name, text = root.refused("POST", "keys", {"name": "x", **more})
    assert (status, name) == (400, "ValidationException") and message in text


def test_nobody_makes_a_key_with_more_rights_than_actions_give(
    root: ConsoleClient, limited: Callable[..., ConsoleClient]
) -> None:
    everything = policy(allow("*"))
    # The right to make keys is not the right to say what they may do.
    maker = limited(allow("iam:CreateAccessKey"), allow("iam:CreateUser"))
    for body in ({"policies": [LISTS]}, {"policies": [everything]}, {"isAdministrator": True}):
        assert maker.refused("POST", "keys", {"name": "new", **body})[:2] == DENIED
    # Policies may be put, but the managed one not be attached.
    writer = limited(
        allow(["iam:CreateAccessKey", "iam:PutUserPolicy"], USER + "team-*"), allow("iam:CreateUser")
    )
    assert writer.refused("POST", "keys", {"name": "new", "policies": [LISTS]})[:2] == DENIED
    assert writer.refused("POST", "keys", {"name": "team-a", "isAdministrator": True})[:2] == DENIED
    made = writer("POST", "keys", {"name": "team-a", "policies": [LISTS]})
    # Of a user who is there already another key needs no CreateUser; of a new one it does.
    second = limited(allow(["iam:CreateAccessKey", "iam:PutUserPolicy"], USER + "*"))
    second("POST", "keys", {"name": "team-a", "policies": [LISTS]})
    assert second.refused("POST", "keys", {"name": "team-b", "policies": [LISTS]})[:2] == DENIED
    attaching = limited(
        allow(["iam:CreateAccessKey", "iam:CreateUser"]),
        {**allow("iam:AttachUserPolicy"), "Condition": {"ArnEquals": {"iam:PolicyARN": ADMINISTRATOR}}},
    )
    attaching("POST", "keys", {"name": "chief", "isAdministrator": True})
    # Revoking needs the right on the user.
    assert second.refused("DELETE", f"keys/{made['accessKeyId']}")[:2] == DENIED
    assert second.refused("DELETE", "keys/AKLWNOTTHERE00000000")[:2] == DENIED
    remover = limited(allow("iam:DeleteAccessKey", USER + "team-*"))
    remover("DELETE", f"keys/{made['accessKeyId']}", status=204)
    own = root("GET", "me")["accessKeyId"]
    assert remover.refused("DELETE", f"keys/{own}")[:2] == DENIED


def test_root_is_not_revoked(root: ConsoleClient) -> None:
    own = root("GET", "me")["accessKeyId"]
    status, name, message = root.refused("DELETE", f"keys/{own}")
    assert (status, name) == (409, "ConflictException") and "LIGHTWELL_ROOT_ACCESS_KEY_ID" in message
    assert root("GET", "me")["accessKeyId"] == own


def test_lists_the_keys_whose_users_one_may_list(
    root: ConsoleClient, limited: Callable[..., ConsoleClient]
) -> None:
    anna = limited(allow("iam:ListAccessKeys", USER + "${aws:username}"), name="anna-lists")
    assert [(key["name"], key["policies"]) for key in anna("GET", "keys")["keys"]] == [("anna-lists", None)]
    assert limited(allow("iam:ListRoles")).refused("GET", "keys")[:2] == DENIED
    found, token = [], ""
    while True:
        page = root("GET", f"keys?maxResults=2{token}")
        found += [key["accessKeyId"] for key in page["keys"]]
        if page["nextToken"] is None:
            break
        assert len(page["keys"]) == 2
        token = f"&nextToken={page['nextToken']}"
    assert len(found) == len(set(found)) > 4
    assert root.refused("GET", "keys?nextToken=x")[0] == root.refused("GET", "keys?maxResults=0")[0] == 400


def test_roles_are_put_listed_and_deleted(root: ConsoleClient, limited: Callable[..., ConsoleClient]) -> None:
    trust = policy({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": ACCOUNT}})
    body = {"trustPolicy": trust, "policies": [LISTS]}
    assert root("PUT", "roles/Reader", body)["arn"] == ROLE + "Reader"
    shown = next(role for role in root("GET", "roles")["roles"] if role["name"] == "Reader")
    assert json.loads(shown["trustPolicy"]) == json.loads(trust) and len(shown["policies"]) == 1
    for revision, message in ((0, "a role Reader already"), (shown["revision"] - 1, "changed meanwhile")):
        refused = root.refused("PUT", "roles/Reader", {**body, "policies": [], "revision": revision})
        assert refused[0] == 400  # what is wrong with it comes first
        status, _, text = root.refused("PUT", "roles/Reader", {**body, "revision": revision})
        assert status == 409 and message in text
    assert "deleted" in root.refused("PUT", "roles/None", {**body, "revision": 1})[2]
    root("PUT", "roles/Reader", {**body, "revision": shown["revision"]})
    assert root.refused("PUT", "roles/Reader", {**body, "revision": shown["revision"]})[0] == 409
    root("PUT", "roles/Fresh", {**body, "revision": 0, "maxSessionSeconds": 900})
    for more, longest in (({}, 900), ({"maxSessionSeconds": 3600}, 3600)):
        root("PUT", "roles/Fresh", {**body, **more})
        fresh = next(role for role in root("GET", "roles")["roles"] if role["name"] == "Fresh")
        assert fresh["maxSessionSeconds"] == longest and shown["maxSessionSeconds"] == 43_200
    assert root.refused("PUT", "roles/Fresh", {**body, "maxSessionSeconds": 60})[0] == 400
    root("DELETE", "roles/Fresh", status=204)
    lister = limited(allow("iam:ListRoles"))
    hidden = next(role for role in lister("GET", "roles")["roles"] if role["name"] == "Reader")
    assert hidden["trustPolicy"] is None and hidden["policies"] is None
    assert lister.refused("PUT", "roles/Reader", body)[:2] == DENIED
    creator = limited(allow(["iam:CreateRole", "iam:PutRolePolicy"]))
    assert creator.refused("PUT", "roles/Reader", body)[:2] == DENIED
    creator("PUT", "roles/Other", body)
    for wrong, message in (
        ({"trustPolicy": LISTS, "policies": [LISTS]}, "The trust policy is not valid"),
        ({"trustPolicy": trust, "policies": []}, "needs a policy"),
        ({"trustPolicy": trust, "policies": ["x"]}, "JSON"),
    ):
        status, _, text = root.refused("PUT", "roles/Wrong", wrong)
        assert status == 400 and message in text
    assert root.refused("PUT", "roles/a%20b", body)[0] == 400
    assert creator.refused("DELETE", "roles/Other")[:2] == DENIED
    root("DELETE", "roles/Other", status=204)
    assert root.refused("DELETE", "roles/Other")[0] == 404


def test_authorizers_are_put_listed_and_deleted(root: ConsoleClient, server: Server, client: Any) -> None:
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:console"
    client.create_datastore(datastoreName="with", clientToken="w", lambdaAuthorizerArn=arn)

    def shown() -> dict[str, Any]:
        return {each["arn"]: each for each in root("GET", "authorizers")["authorizers"]}

    assert shown()[arn]["kind"] == "missing" and shown()[arn]["datastores"][0]["name"] == "with"
    root("POST", "authorizers", {"arn": arn, "target": "https://auth.example/invoke"}, status=204)
    assert (shown()[arn]["kind"], shown()[arn]["target"]) == ("http", "https://auth.example/invoke")
    again = root.refused("POST", "authorizers", {"arn": arn, "target": "https://other/", "isNew": True})
    assert again[0] == 409 and shown()[arn]["target"] == "https://auth.example/invoke"
    builtin = builtin_authorizer_arn(REGION, ACCOUNT)
    assert shown()[builtin]["kind"] == "builtin"
    for wrong, status, message in (
        ({"arn": arn, "target": "python:os:system"}, 400, "on that machine"),
        ({"arn": arn, "target": "ftp://x"}, 400, "expected http"),
        ({"arn": arn, "target": "http://u:p@x/"}, 400, "user name or password"),
        ({"arn": "x", "target": "https://x/"}, 400, "not the ARN"),
        ({"arn": arn.replace(REGION, "eu-west-1"), "target": "https://x/"}, 400, "another Region"),
        ({"arn": builtin, "target": "https://x/"}, 409, "part of the server"),
    ):
        assert root.refused("POST", "authorizers", wrong)[0] == status
        assert message in root.refused("POST", "authorizers", wrong)[2]
    with server.database() as db:
        db.write(lambda conn: authorizers.put(conn, arn, "python:some.module:function", 1))
    root("POST", "authorizers", {"arn": arn, "target": "python:some.module:function"}, status=204)
    root("POST", "authorizers/delete", {"arn": arn}, status=204)
    assert root.refused("POST", "authorizers/delete", {"arn": arn})[0] == 404


def test_authorizers_need_the_right_on_the_function(limited: Callable[..., ConsoleClient]) -> None:
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:mine"
    user = limited(allow(["lambda:UpdateFunctionCode", "lambda:DeleteFunction"], arn))
    user("POST", "authorizers", {"arn": arn, "target": "https://x.example/"}, status=204)
    user("POST", "authorizers/delete", {"arn": arn}, status=204)
    assert (
        user.refused("POST", "authorizers", {"arn": arn + "2", "target": "https://x.example/"})[:2] == DENIED
    )
    assert user.refused("GET", "authorizers")[:2] == DENIED


def test_validates_policies_in_the_words_of_the_command(root: ConsoleClient) -> None:
    assert root("POST", "policies/validate", {"policy": LISTS}) == {
        "isValid": True, "message": None, "warnings": [],
    }  # fmt: skip
    typo = root("POST", "policies/validate", {"policy": policy(allow("medical-imaging:GetImageSetz"))})
    assert typo["isValid"] and "GetImageSetz" in typo["warnings"][0]
    wrong = root("POST", "policies/validate", {"policy": LISTS, "kind": "trust"})
    assert not wrong["isValid"] and "Statement 1" in wrong["message"]
    assert not root("POST", "policies/validate", {"policy": "[" * 5000})["isValid"]
    console = policy(allow(["iam:CreateAccessKey", "lambda:ListFunctions", "cloudwatch:GetMetricData"]))
    assert root("POST", "policies/validate", {"policy": console})["warnings"] == []


def test_explains_which_statement_decides(root: ConsoleClient, limited: Callable[..., ConsoleClient]) -> None:
    arn = datastore_arn(REGION, ACCOUNT, "1" * 32)
    text = policy(
        {"Sid": "Read", **allow("medical-imaging:Get*")},
        {
            "Sid": "Office", "Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
        },
    )  # fmt: skip
    made = root("POST", "keys", {"name": "explained", "policies": [text]})
    asked = {"action": "getdatastore", "resource": arn, "accessKeyId": made["accessKeyId"]}
    inside = [{"key": "aws:SourceIp", "value": "10.1.2.3"}]
    found = root("POST", "policies/explain", {**asked, "context": inside})
    assert found["allowed"] and found["action"] == "medical-imaging:GetDatastore"
    assert found["deciding"] == "statement 1 (Read) of policy" and found["principal"] == USER + "explained"
    found = root(
        "POST", "policies/explain", {**asked, "context": [{"key": "aws:SourceIp", "value": "192.0.2.1"}]}
    )
    assert not found["allowed"] and "(Office)" in found["deciding"]
    assert [each["effect"] for each in found["statements"]] == ["Allow", "Deny"]
    draft = {"action": "GetDatastore", "resource": arn, "policies": [NOTHING]}
    assert root("POST", "policies/explain", draft)["reason"] == "no statement in any policy allows it"
    own = root("GET", "me")["accessKeyId"]
    assert root("POST", "policies/explain", {**asked, "accessKeyId": own})["allowed"]
    for wrong, message in (
        ({"action": "GetDatastor"}, "did you mean medical-imaging:GetDatastore?"),
        ({"resource": ""}, "an ARN"),
        ({"context": [{"key": "aws:SourceIP4", "value": "x"}]}, "not supported"),
        ({"roleName": "x"}, "Give one of"),
    ):
        status, _, text = root.refused("POST", "policies/explain", {**asked, **wrong})
        assert status == 400 and message in text
    user = limited(allow("iam:SimulatePrincipalPolicy", USER + "explained"))
    assert user("POST", "policies/explain", {**asked, "context": inside})["allowed"]
    for other in ({"accessKeyId": own}, {"accessKeyId": "AKLWNOTTHERE00000000"}):
        assert user.refused("POST", "policies/explain", {**asked, **other})[:2] == DENIED
    assert user.refused("POST", "policies/explain", draft)[:2] == DENIED
    assert "medical-imaging:GetImageSet" in user("GET", "policies/actions")["actions"]


def test_simulates_many_requests_at_once(root: ConsoleClient, limited: Callable[..., ConsoleClient]) -> None:
    arn = datastore_arn(REGION, ACCOUNT, "1" * 32)
    text = policy(allow("medical-imaging:GetImageSet", [arn, f"{arn}/imageset/{'2' * 32}"]))
    checks = [
        {"action": "GetImageSet", "resource": arn},
        {"action": "GetImageSet", "resource": f"{arn}/imageset/{'3' * 32}"},
        {"action": "GetImageSet", "resource": f"{arn}/imageset/*"},
        {"action": "DeleteImageSet", "resource": f"{arn}/imageset/*"},
    ]
    found = root("POST", "policies/simulate", {"policies": [text], "checks": checks})
    assert found["allowed"] == [True, False, True, False]
    own = root("GET", "me")["accessKeyId"]
    assert root("POST", "policies/simulate", {"accessKeyId": own, "checks": checks})["allowed"] == [True] * 4
    assert root.refused("POST", "policies/simulate", {"roleName": "none", "checks": checks})[0] == 404
    for wrong in ({"checks": checks * 101}, {"checks": [{"action": "x", "resource": "*"}]}):
        assert root.refused("POST", "policies/simulate", {"policies": [text], **wrong})[0] == 400
    user = limited(allow("iam:SimulatePrincipalPolicy", ROLE + "*"))
    assert user.refused("POST", "policies/simulate", {"policies": [text], "checks": checks})[:2] == DENIED
