"""Bearers of tokens at a real server: what their authorizer says, and what becomes of it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from lightwell.auth import principals
from lightwell.auth.secret_box import open_secret_box
from lightwell.cli.main import main
from lightwell.clock import Clock
from tests.dicomweb.support import tokens
from tests.dicomweb.support.openid import Provider
from tests.dicomweb.support.tokens import jwt
from tests.support import services
from tests.support.server import Reply, Server, running

ACCOUNT = "000000000000"
FUNCTIONS = Path(__file__).parent / "functions"
SAMPLE = Path(__file__).parents[3] / "docs" / "howto" / "oidc_authorizer.py"
STUDY, OTHER_STUDY = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"

MISCONFIGURED = (424, "FailedDependencyException", "Authorizer Misconfiguration")
FAILED = (424, "FailedDependencyException", "Authorizer Failed")
FOREIGN = (424, "FailedDependencyException", "Authorizer Cross Account/Cross Region Access")
LATE = (408, "RequestTimeoutException", "Authorizer Timeout")
INVALID = (403, "AccessDeniedException", "Invalid or Expired Token")
DENIED = (403, "AccessDeniedException", "Access Denied")


def function_arn(name: str) -> str:
    return f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}"


def role_arn(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def valid(role: str = "Reader", **more: Any) -> dict[str, Any]:
    """What an authorizer answers that takes the token."""
    return {"isTokenValid": True, "roleArn": role_arn(role), **more}


def statement(*actions: str, effect: str = "Allow", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": list(actions), "Resource": "*", **more}


class Site:
    """A server, and what its administrator does."""

    def __init__(self, server: Server, functions: Path) -> None:
        self.server = server
        self.functions = functions
        self._stores: dict[str, str] = {}
        self._awake: set[str] = set()
        self.calls = self.late = 0
        for role, statements in {
            "Reader": [statement("medical-imaging:*")],
            "Nothing": [statement("medical-imaging:GetDatastore")],
            "Study": [
                statement(
                    "medical-imaging:SearchDICOMSeries",
                    Condition={"StringEquals": {"medical-imaging:StudyInstanceUID": STUDY}},
                )
            ],
        }.items():
            self.put_role(role, statements)
        self.put_role("Untrusting", [statement("medical-imaging:*")], service="ec2.amazonaws.com")

    def run(self, *arguments: str) -> int:
        return main([*arguments, "--data", str(self.server.data)])

    def put_role(
        self, name: str, statements: list[dict[str, Any]], service: str = "medical-imaging.amazonaws.com"
    ) -> None:
        trust = statement("sts:AssumeRole", Principal={"Service": service})
        del trust["Resource"]
        files = []
        for kind, content in (("trust-policy", [trust]), ("policy", statements)):
            file = self.functions.parent / f"{name}-{kind}.json"
            file.write_text(json.dumps({"Version": "2012-10-17", "Statement": content}))
            files += [f"--{kind}", str(file)]
        assert self.run("role", "put", name, *files) == 0

    def put(self, name: str, target: str) -> str:
        """Let ``target`` stand for the function of this name; the id of a data store that it authorises."""
        if name not in self._stores:
            arn = function_arn(name)
            created = self.server.client().create_datastore(
                datastoreName="authorised", lambdaAuthorizerArn=arn
            )
            self._stores[name] = created["datastoreId"]
            assert self.run("authorizer", "put", arn.removesuffix(":live"), target) == 0
        return self._stores[name]

    def get(self, store: str, token: str, path: str = "/studies", scheme: str = "Bearer") -> Reply:
        """The first answer that was not late: on a busy machine a function may take its second to wake up.

        ``late`` counts those of functions that were awake.
        """

        def ask() -> Reply:
            reply = self.get_once(store, token, path, scheme)
            self.calls += 1
            if reply.status != 408:
                self._awake.add(store)
            elif store in self._awake:
                self.late += 1
            return reply

        return _until(ask, lambda reply: reply.status != 408)

    def get_once(self, store: str, token: str, path: str = "/studies", scheme: str = "Bearer") -> Reply:
        headers = {"Authorization": f"{scheme} {token}"}
        return self.server.call("GET", f"/datastore/{store}{path}", headers=headers)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("authorizers")
    functions = folder / "functions"
    functions.mkdir()
    for file in (*FUNCTIONS.glob("[a-z]*.py"), SAMPLE):
        shutil.copy(file, functions)
    with running(folder / "data", "--authorizers-dir", str(functions)) as server:
        site = Site(server, functions)
        yield site
        # One that ended or was put again wakes up again.
        assert site.late <= max(3, site.calls // 10), f"{site.late} of {site.calls} calls were late"


@pytest.fixture(scope="module")
def store(site: Site) -> str:
    """A data store whose authorizer does what the token says."""
    made = site.put("behaving", "python:behaving:handler")
    site.get(made, jwt(answer=valid()))
    return made


def refusal(reply: Reply) -> tuple[int, str, str]:
    assert reply.headers["x-amzn-requestid"]
    return reply.status, reply.headers["x-amzn-errortype"], json.loads(reply.body)["message"]


def is_let_in(reply: Reply) -> bool:
    return reply.status in (200, 204)


def test_admits_those_whom_the_authorizer_accepts(site: Site, store: str) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert is_let_in(site.get(store, jwt(answer=valid()), scheme=scheme))
    assert is_let_in(site.get(store, jwt(answer=valid(comment="extra", context={"keys": [1]}))))


def test_passes_the_authorizer_the_same_event_as_aws(site: Site, store: str) -> None:
    token = jwt(do="show", datastoreId=store, operation="SearchDICOMStudies", answer=valid())
    assert is_let_in(site.get(store, token))
    token = jwt(do="show", datastoreId=store, operation="SearchDICOMAllSeries", answer=valid())
    assert is_let_in(site.get(store, token, "/series"))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"answer": None}, MISCONFIGURED),
        ({"answer": []}, MISCONFIGURED),
        ({"answer": {}}, MISCONFIGURED),
        ({"answer": valid() | {"isTokenValid": "true"}}, MISCONFIGURED),
        ({"answer": valid() | {"isTokenValid": 1}}, MISCONFIGURED),
        ({"answer": valid() | {"roleArn": None}}, MISCONFIGURED),
        ({"answer": {"isTokenValid": True}}, MISCONFIGURED),
        ({"answer": valid("Missing")}, MISCONFIGURED),
        ({"answer": valid("Untrusting")}, MISCONFIGURED),
        ({"answer": valid() | {"roleArn": "Reader"}}, MISCONFIGURED),
        ({"answer": valid() | {"roleArn": "arn:aws:iam::000000000001:role/Reader"}}, FOREIGN),
        ({"answer": valid() | {"roleArn": ""}}, DENIED),
        ({"answer": {"isTokenValid": False, "roleArn": ""}}, INVALID),
        ({"answer": valid() | {"isTokenValid": False}}, INVALID),
        ({"do": "raise"}, FAILED),
        ({"do": "object"}, FAILED),
        ({"do": "exit"}, FAILED),
    ],
)
def test_answers_each_failure_as_aws_does(
    site: Site, store: str, told: Mapping[str, Any], expected: tuple[int, str, str]
) -> None:
    reply = site.get(store, jwt(**told))
    if told.get("do") == "exit":
        site.get(store, jwt(answer=valid()))
    assert refusal(reply) == expected
    assert "www-authenticate" not in reply.headers


def test_refuses_invalid_tokens_before_calling_the_authorizer(site: Site, store: str) -> None:
    now = int(time.time())
    for token in (
        "",
        "opaque",
        "a.b.c",
        jwt(exp=now - 1, do="exit"),
        jwt(iat=now + 60, do="exit"),
        jwt(nbf=now + 60, do="exit"),
        jwt(iat=now - 12 * 3600 - 5, do="exit"),
        jwt(exp=..., do="exit"),
    ):
        assert refusal(site.get(store, token)) == INVALID
    assert is_let_in(site.get(store, jwt(answer=valid())))


def test_knows_no_other_paths_than_those_of_signed_requests(site: Site, store: str) -> None:
    server = site.server
    headers = {"Authorization": f"Bearer {jwt(answer=valid())}"}
    for path in (f"/datastore/{store}/patients", f"/datastore/{store}/studies/1.2/frames", "/nowhere", "/"):
        unknown = server.call("GET", path, headers=headers)
        assert refusal(unknown) == refusal(server.send(server.signed("GET", path)))
        assert refusal(unknown)[:2] == (404, "UnknownOperationException")
        # Without either, `/` leads people to the console.
        assert server.call("GET", path).status == (302 if path == "/" else 403)
    # The native API takes signatures only.
    assert server.call("GET", f"/datastore/{store}", headers=headers).status == 403


def test_waits_a_second_and_no_longer(site: Site, store: str) -> None:
    assert is_let_in(site.get(store, jwt(do="sleep", seconds=0.3, answer=valid())))
    started = time.monotonic()
    # A server that stands still meanwhile finds the answer when its second ends.
    slow = jwt(do="sleep", seconds=1.6, answer=valid())
    seen = _until(lambda: site.get_once(store, slow), lambda reply: reply.status == 408)
    assert refusal(seen) == LATE
    assert time.monotonic() - started >= 1.0
    # Its late answer is nobody's.
    assert refusal(site.get(store, jwt(answer=valid() | {"roleArn": ""}))) == DENIED
    assert is_let_in(site.get(store, jwt(answer=valid())))


def test_reports_what_is_wrong_with_the_data_store(site: Site, store: str) -> None:
    assert refusal(site.get("0" * 32, jwt(answer=valid())))[:2] == (404, "ResourceNotFoundException")
    # What cannot be a token is no reason to look for a data store.
    assert refusal(site.get("0" * 32, "not even a token")) == INVALID
    assert refusal(site.get("NOT-AN-ID", jwt(answer=valid())))[:2] == (400, "ValidationException")
    client = site.server.client()
    without = client.create_datastore(datastoreName="without")["datastoreId"]
    assert refusal(site.get(without, jwt(answer=valid()))) == MISCONFIGURED
    arn = function_arn("nothing-stands-for-it")
    unbound = client.create_datastore(datastoreName="unbound", lambdaAuthorizerArn=arn)["datastoreId"]
    assert refusal(site.get(unbound, jwt(answer=valid()))) == MISCONFIGURED


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        ("no-module", "python:not_there:handler", MISCONFIGURED),
        ("no-function", "python:behaving:not_there", MISCONFIGURED),
        ("no-object", "python:behaving:text", MISCONFIGURED),
        ("breaking", "python:breaking:handler", FAILED),
        ("nobody-listens", "http://127.0.0.1:1", FAILED),
    ],
)
def test_tells_a_missing_function_from_a_broken_one(
    site: Site, name: str, target: str, expected: tuple[int, str, str]
) -> None:
    assert refusal(site.get(site.put(name, target), jwt(answer=valid()))) == expected


def test_allows_what_the_policies_of_the_role_allow(site: Site, store: str) -> None:
    reply = refusal(site.get(store, jwt(sub="ada@example.org", answer=valid("Nothing"))))
    assert reply[:2] == (403, "AccessDeniedException")
    caller = f"arn:aws:sts::{ACCOUNT}:assumed-role/Nothing/ada@example.org"
    resource = f"arn:aws:medical-imaging:us-east-1:{ACCOUNT}:datastore/{store}"
    assert reply[2].startswith(
        f"User: {caller} is not authorized to perform: medical-imaging:SearchDICOMStudies "
        f"on resource: {resource}"
    )


def test_scopes_a_role_to_a_study(site: Site, store: str) -> None:
    token = jwt(answer=valid("Study"))
    assert is_let_in(site.get(store, token, f"/studies/{STUDY}/series"))
    assert site.get(store, token, f"/studies/{OTHER_STUDY}/series").status == 403
    assert site.get(store, token, "/series").status == 403


def test_still_accepts_signatures(site: Site, store: str) -> None:
    server = site.server
    path = f"/datastore/{store}/studies"
    assert is_let_in(server.send(server.signed("GET", path)))
    # A bearer's header counts more than a signature in the query.
    presigned = server.signed("GET", path, query_expires=60)
    presigned.headers["Authorization"] = f"Bearer {jwt(answer=valid() | {'roleArn': ''})}"
    assert refusal(server.send(presigned)) == DENIED


def test_is_not_accepted_by_the_native_api(site: Site, store: str) -> None:
    reply = site.server.call("GET", "/datastore", headers={"Authorization": f"Bearer {jwt(answer=valid())}"})
    assert refusal(reply)[:2] == (403, "IncompleteSignature")
    assert site.get(store, jwt(answer=valid()), "").status == 403


def test_checks_the_authorizer_of_a_new_data_store(site: Site) -> None:
    with site.server.database() as db:
        policies = [
            json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        statement("medical-imaging:*"),
                        statement("lambda:InvokeFunction") | {"Resource": function_arn("mine")},
                    ],
                }
            )
        ]
        secret_box = open_secret_box(None, site.server.data)
        key = principals.create_key(db, secret_box, "maker", Clock().now(), policies)
    maker = site.server.client(Credentials(key.access_key_id, key.secret_access_key))
    maker.create_datastore(datastoreName="mine", lambdaAuthorizerArn=function_arn("mine"))
    for client, arn, expected in (
        (maker, function_arn("not-mine"), "AccessDeniedException"),
        (site.server.client(), "arn:aws:lambda:eu-west-1:000000000000:function:far", "ValidationException"),
        (site.server.client(), "arn:aws:lambda:us-east-1:000000000001:function:far", "ValidationException"),
    ):
        with pytest.raises(ClientError) as refused:
            client.create_datastore(datastoreName="refused", lambdaAuthorizerArn=arn)
        assert refused.value.response["Error"]["Code"] == expected


def test_reloads_the_code_when_it_is_put_again(site: Site) -> None:
    module = site.functions / "changing.py"
    module.write_text(f"def handler(event, context):\n    return {valid('Reader')}\n")
    store = site.put("changing:live", "python:changing:handler")
    assert is_let_in(site.get(store, jwt()))
    module.write_text(f"def handler(event, context):\n    return {valid() | {'roleArn': ''}}\n")
    shutil.rmtree(site.functions / "__pycache__", ignore_errors=True)
    assert site.run("authorizer", "put", function_arn("changing"), "python:changing:handler") == 0
    seen = _until(lambda: site.get(store, jwt()), lambda reply: reply.status == 403)
    assert refusal(seen) == DENIED
    assert site.run("authorizer", "delete", function_arn("changing")) == 0
    seen = _until(lambda: site.get(store, jwt()), lambda reply: reply.status == 424)
    assert refusal(seen) == MISCONFIGURED


def test_throttles_bearers(tmp_path: Path) -> None:
    functions = tmp_path / "functions"
    functions.mkdir()
    shutil.copy(FUNCTIONS / "behaving.py", functions)
    with running(tmp_path / "data", "--throttle", "aws", "--authorizers-dir", str(functions)) as server:
        site = Site(server, functions)
        store, token = site.put("behaving", "python:behaving:handler"), jwt(answer=valid())
        assert is_let_in(site.get(store, token))
        path = f"/datastore/{store}/studies/{STUDY}"

        def delete() -> Reply:
            return server.call("DELETE", path, headers={"Authorization": f"Bearer {token}"})

        # One whose authorizer was late has had its turn.
        let_in = _until(delete, lambda reply: reply.status not in (408, 429))
        throttled = _until(delete, lambda reply: reply.status == 429)
    assert let_in.status == 404
    assert refusal(throttled) == (429, "ThrottlingException", "Too many requests")
    assert int(throttled.headers["retry-after"]) >= 1


def test_caches_only_decisions_that_admit(tmp_path: Path) -> None:
    """The setting ``authorizer_cache``: by token, data store and operation, for as long as it says.

    And ``expired_token_status``: a token that has expired is told from one that was never good.
    """
    functions = tmp_path / "functions"
    functions.mkdir()
    says, asked = functions / "says.json", functions / "asked"
    (functions / "counting.py").write_text(
        "import json, pathlib\n"
        "def handler(event, context):\n"
        f"    with open({str(asked)!r}, 'a') as file:\n"
        "        file.write(event['operation'] + '\\n')\n"
        f"    return json.loads(pathlib.Path({str(says)!r}).read_text())\n"
    )
    says.write_text(json.dumps(valid() | {"roleArn": ""}))
    # In one process, where a call that was late has been counted before the next one is answered.
    flags = ("--authorizer-cache", "3600", "--authorizers-dir", str(functions), "--authorizer-processes", "1")
    with running(tmp_path / "data", *flags, "--expired-token-status", "401") as server:
        site = Site(server, functions)
        store = site.put("counting", "python:counting:handler")
        other = server.client().create_datastore(lambdaAuthorizerArn=function_arn("counting"))["datastoreId"]
        # No refusal is remembered: whoever is let in later is let in at once.
        assert refusal(site.get(store, jwt(jti="a"))) == DENIED
        says.write_text(json.dumps({"isTokenValid": False, "roleArn": ""}))
        assert refusal(site.get(store, jwt(jti="a"))) == INVALID
        says.write_text(json.dumps(valid()))
        token = jwt(jti="a")
        assert is_let_in(site.get(store, token))
        seconds = 4
        short = jwt(jti="short", exp=int(time.time()) + seconds)
        while not is_let_in(site.get(store, short)) and seconds < 30:
            seconds *= 2
            short = jwt(jti="short", exp=int(time.time()) + seconds)
        # The provider takes the token back: it goes on opening what it has opened, and nothing beside.
        says.write_text(json.dumps({"isTokenValid": False, "roleArn": ""}))
        before = asked.read_text()
        assert is_let_in(site.get(store, token)) and is_let_in(site.get(store, token))
        assert asked.read_text() == before
        assert refusal(site.get(store, token, "/series")) == INVALID
        assert refusal(site.get(other, token)) == INVALID
        assert refusal(site.get(store, jwt(jti="b"))) == INVALID
        # What is remembered is no longer good than the token is.
        before = asked.read_text()
        ended = _until(lambda: site.get(store, short), lambda reply: reply.status == 401)
        assert refusal(ended) == (401, *INVALID[1:]) and asked.read_text() == before
        assert ended.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
        # It holds what the authorizer said, not that there is such a role.
        assert site.run("role", "delete", "Reader") == 0
        seen = _until(lambda: site.get(store, token), lambda reply: reply.status == 424)
        assert refusal(seen) == MISCONFIGURED and asked.read_text() == before
        # Whoever puts the function again has all bearers asked again.
        assert site.run("authorizer", "put", function_arn("counting"), "python:counting:handler") == 0
        seen = _until(lambda: site.get(store, token), lambda reply: reply.status == 403)
        assert refusal(seen) == INVALID


# With real tokens of a real provider ------------------------------------------------------------------------


def configured(openid: Provider) -> dict[str, str]:
    """What the sample authorizer is told."""
    roles = {"images:read": role_arn("Reader"), "images:study": role_arn("Study")}
    return {
        "OIDC_ISSUER": openid.issuer,
        "OIDC_AUDIENCE": "urn:lightwell",
        "OIDC_ROLES": json.dumps(roles),
    }


def prove(site: Site, openid: Provider, store: str) -> None:
    """Everything that the sample authorizer looks at."""
    reading = openid.token("images:read")
    assert is_let_in(site.get(store, reading))
    scoped = openid.token("images:study", client="https://viewer.example/a long name")
    assert is_let_in(site.get(store, scoped, f"/studies/{STUDY}/series"))
    assert site.get(store, scoped, f"/studies/{OTHER_STUDY}/series").status == 403
    assert refusal(site.get(store, openid.token("images:nothing"))) == DENIED
    assert refusal(site.get(store, openid.token("images:read", audience="urn:other"))) == INVALID
    header, payload, signature = reading.split(".")
    forged = json.loads(_decoded(openid.token("images:nothing").split(".")[1])) | {"scope": "images:read"}
    wrong = "A" if signature[10] != "A" else "B"
    for token in (
        f"{header}.{tokens.part(forged)}.{signature}",
        f"{header}.{payload}.{signature[:10]}{wrong}{signature[11:]}",
        f"{tokens.part({'alg': 'HS256', 'kid': 'first'})}.{payload}.{signature}",
        f"{tokens.part({'alg': 'RS256', 'kid': 'second'})}.{payload}.{signature}",
        jwt(iss=openid.issuer, aud="urn:lightwell", scope="images:read"),
    ):
        assert refusal(site.get(store, token)) == INVALID
    assert is_let_in(site.get(store, reading))


def test_verifies_tokens_of_a_real_provider_in_python(site: Site, openid: Provider) -> None:
    told = configured(openid)
    module = site.functions / "told.py"
    module.write_text(f"import os\nos.environ |= {told}\nfrom oidc_authorizer import handler\n")
    store = site.put("sample-in-python", "python:told:handler")
    prove(site, openid, store)
    short = openid.token("images:read", audience="urn:short")
    assert refusal(site.get(store, short)) == INVALID


def test_verifies_tokens_of_a_real_provider_in_aws_runtime(
    site: Site, openid: Provider, tmp_path: Path
) -> None:
    shutil.copy(SAMPLE, tmp_path)
    port = services.free_ports(1, also=1)[0]
    running = tokens.emulator(tmp_path, "oidc_authorizer.handler", port, configured(openid))
    with services.wanted(running) as url:
        assert urlsplit(url).port == port
        prove(site, openid, site.put("sample-in-lambda", url))


def _until(ask: Callable[[], Reply], is_it: Callable[[Reply], bool]) -> Reply:
    """What is asked until it is as wanted, or some seconds are over."""
    deadline = time.monotonic() + 60
    reply = ask()
    while not is_it(reply) and time.monotonic() < deadline:
        time.sleep(0.1)
        reply = ask()
    return reply


def _decoded(part: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(part + "==")
