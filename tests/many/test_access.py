"""Keys, roles and tokens on two servers: what one is told, the other knows in a moment."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.cli.running import Done, lightwell, lightwell_here
from tests.many.deployment import SECRET_KEY, Deployment
from tests.support.server import REGION, Server, until

ROOT = "arn:aws:iam::000000000000:root"
ALLOW = {"Effect": "Allow", "Action": "medical-imaging:*", "Resource": "*"}


def run(many: Deployment, server: Server, *words: str | Path) -> Any:
    """What a command prints, given on the machine of this server."""
    done = lightwell_here(*words, data=server.data, environ=many.environment)
    assert done.status == 0, done
    return json.loads(done.out) if "--json" in words or words[:2] == ("key", "create") else done.out


def may(server: Server, key: Credentials) -> bool:
    try:
        server.client(key).list_datastores()
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403, error
        return False
    return True


def document(folder: Path, name: str, *statements: dict[str, Any]) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
    return path


def test_all_servers_have_one_root_key_and_seal_secrets_alike(many: Deployment, tmp_path: Path) -> None:
    a, b = many.servers[:2]
    assert a.root.access_key == b.root.access_key and a.root.secret_key == b.root.secret_key
    made = run(many, a, "key", "create", "--admin", "--name", "ana")
    ana = Credentials(made["accessKeyId"], made["secretAccessKey"])
    assert may(a, ana) and may(b, ana)
    run(many, b, "key", "disable", made["accessKeyId"])
    for server in (a, b):
        until(lambda server=server: not may(server, ana))  # type: ignore[misc]
    run(many, a, "key", "enable", made["accessKeyId"])
    for server in (a, b):
        until(lambda server=server: may(server, ana))  # type: ignore[misc]
    # What it may do is changed for both, and both take its successor.
    run(many, b, "key", "put-policy", made["accessKeyId"], "--policy", document(tmp_path, "get", {
        **ALLOW, "Action": "medical-imaging:Get*",
    }))  # fmt: skip
    for server in (a, b):
        until(lambda server=server: not may(server, ana))  # type: ignore[misc]
    run(many, a, "key", "put-policy", made["accessKeyId"], "--admin")
    rotated = json.loads(run(many, b, "key", "rotate", made["accessKeyId"], "--overlap", "1h"))
    successor = Credentials(rotated["accessKeyId"], rotated["secretAccessKey"])
    for server in (a, b):
        until(lambda server=server: may(server, ana))  # type: ignore[misc]
        assert may(server, successor)
    run(many, b, "key", "revoke", made["accessKeyId"])
    for server in (a, b):
        until(lambda server=server: not may(server, ana))  # type: ignore[misc]


def test_a_change_of_a_role_and_its_sessions_are_known_to_all(many: Deployment, tmp_path: Path) -> None:
    a, b = many.servers[:2]
    trust = document(
        tmp_path,
        "trust",
        {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "sts:AssumeRole"},
    )
    policy = document(tmp_path, "policy", ALLOW)
    run(many, a, "role", "put", "Reader", "--trust-policy", trust, "--policy", policy)
    sts = boto3.client(
        "sts", endpoint_url=b.url, region_name=REGION,
        aws_access_key_id=a.root.access_key, aws_secret_access_key=a.root.secret_key,
    )  # fmt: skip
    assumed = sts.assume_role(RoleArn="arn:aws:iam::000000000000:role/Reader", RoleSessionName="me")
    found = assumed["Credentials"]
    session = Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])
    assert may(a, session) and may(b, session)
    run(many, b, "role", "put", "Reader", "--trust-policy", trust, "--policy",
        document(tmp_path, "none", {**ALLOW, "Effect": "Deny"}))  # fmt: skip
    for server in (a, b):
        until(lambda server=server: not may(server, session))  # type: ignore[misc]
    run(many, a, "role", "delete", "Reader")
    assert not may(a, session)


def test_a_token_that_one_server_minted_opens_the_other(many: Deployment) -> None:
    a, b = many.servers[:2]
    datastore = many.datastore(a)
    run(many, a, "datastore", "set-authorizer", datastore, "builtin")
    token = run(many, a, "token", "--datastore", datastore).split()[-1]

    def status(server: Server, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/dicom+json"}
        return server.call("GET", f"/datastore/{datastore}/studies", headers=headers).status

    for server in (a, b):
        until(lambda server=server: status(server, token) == 200)  # type: ignore[misc]
    run(many, b, "datastore", "set-authorizer", datastore, "builtin")
    for server in (a, b):
        until(lambda server=server: status(server, token) == 403)  # type: ignore[misc]


@pytest.mark.parametrize("how", ["another", "none"])
def test_a_server_with_another_secret_key_does_not_start(many: Deployment, how: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("x" * 43 + "=\n")
    given = {"LIGHTWELL_SECRET_KEY": ""}
    if how == "another":
        given["LIGHTWELL_SECRET_KEY_FILE"] = str(key)
    done = lightwell("serve", "--port", "0", data=tmp_path / "data", environ={**many.environment, **given})
    assert done.status == 2
    assert "give all of them the same" in done.err and "secret_key_file" in done.err
    assert not (tmp_path / "data" / "secret.key").exists()


def test_takes_the_secret_key_from_a_file(many: Deployment, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(many.environment["LIGHTWELL_SECRET_KEY"] + "\n")
    given = {**many.environment, "LIGHTWELL_SECRET_KEY": "", "LIGHTWELL_SECRET_KEY_FILE": str(key)}
    made = lightwell("key", "create", "--admin", "--name", "bob", data=tmp_path / "data", environ=given)
    assert made.status == 0, made
    found = made.json()
    assert may(many.servers[1], Credentials(found["accessKeyId"], found["secretAccessKey"]))


@pytest.mark.endurance
def test_the_secret_key_is_replaced_while_one_of_two_servers_always_serves(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    """The steps of docs/howto/keys.md: at each, each server takes what was made on the other."""
    old, new = SECRET_KEY, base64.b64encode(b"n" * 32).decode()
    deployment = deploy(LIGHTWELL_SECRET_KEY="")
    # Each server reads its own file, as on two machines.
    files = {name: tmp_path / f"{name}.key" for name in ("a", "b")}
    servers: dict[str, Server] = {}

    def restart(name: str, *keys: str) -> None:
        files[name].write_text("\n".join(keys))
        if name in servers:
            servers[name].stop()
        servers[name] = deployment.server(name, LIGHTWELL_SECRET_KEY_FILE=str(files[name]))

    def command(name: str, *words: str) -> Done:
        environ = {**deployment.environment, "LIGHTWELL_SECRET_KEY_FILE": str(files[name])}
        done = lightwell_here(*words, data=servers[name].data, environ=environ)
        assert done.status == 0, done
        return done

    for name in ("a", "b"):
        restart(name, old)
    store = deployment.datastore(servers["a"])
    command("a", "datastore", "set-authorizer", store, "builtin")
    made: list[tuple[Credentials, str]] = []

    def takes(server: Server, token: str) -> bool:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/dicom+json"}
        return server.call("GET", f"/datastore/{store}/studies", headers=headers).status == 200

    for keys in ((old, new), (new, old)):
        for name, other in (("a", "b"), ("b", "a")):
            restart(name, *keys)
            assert may(servers[other], servers[other].root)
            key = command(name, "key", "create", "--admin", "--name", name).json()
            token = command(name, "token", "--datastore", store).out.split()[-1]
            made.append((Credentials(key["accessKeyId"], key["secretAccessKey"]), token))
            for server in servers.values():
                for who, token in made:
                    until(lambda server=server, who=who: may(server, who))  # type: ignore[misc]
                    until(lambda server=server, token=token: takes(server, token))  # type: ignore[misc]
    done = command("a", "key", "reencrypt", "--json").json()
    assert done["reencrypted"] > 0 and [key["rows"] > 0 for key in done["keys"]] == [True, False]
    for name in ("a", "b"):
        restart(name, new)
    for who, _ in made:
        for server in servers.values():
            until(lambda server=server, who=who: may(server, who))  # type: ignore[misc]
