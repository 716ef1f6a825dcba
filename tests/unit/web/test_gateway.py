"""The gateway as an ASGI application, without a server around it."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightwell import app
from lightwell.auth.principals import create_key, ensure_root
from lightwell.auth.secret_box import create_secret_key, open_secret_box
from lightwell.errors import StorageError
from lightwell.operations import OPERATIONS
from lightwell.settings import load
from lightwell.stores.db.database import Database
from lightwell.web.gateway import Gateway
from lightwell.web.requests.responses import Message
from lightwell.web.requests.state import ReadinessCheck
from lightwell.web.status import Status


def bearer_token() -> str:
    """One that is well formed, and of nobody."""
    now = int(time.time())
    parts = ({"alg": "HS256"}, {"iat": now - 1, "exp": now + 600})
    made = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*made, "c2ln"])


class Answered:
    """What the gateway sent."""

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])


@pytest.fixture
def build(tmp_path: Path, migrated_sqlite_url: str) -> Iterator[Callable[..., Gateway]]:
    made: list[Gateway] = []

    create_secret_key(tmp_path)

    def make(**flags: str) -> Gateway:
        given = load({"data": tmp_path, "database_url": migrated_sqlite_url, **flags}, environ={})
        made.append(app.build(given, buckets=app.shared_buckets(given)))
        return made[-1]

    yield make
    for gateway in made:
        app.close(gateway)


@pytest.fixture
def gateway(build: Callable[..., Gateway]) -> Gateway:
    return build()


@pytest.fixture
def root(tmp_path: Path, migrated_sqlite_url: str) -> Credentials:
    db = Database(migrated_sqlite_url)
    key, _ = ensure_root(db, open_secret_box(None, tmp_path), None, 1)
    db.close()
    return Credentials(key.access_key_id, key.secret_access_key)


def ask(
    gateway: Gateway,
    method: str,
    path: str,
    *,
    key: Credentials | None = None,
    headers: dict[str, str] | None = None,
    messages: list[Message] | None = None,
    client: str = "192.0.2.1",
) -> Answered:
    given = {"host": "localhost", **(headers or {})}
    if key is not None:
        request = AWSRequest(method, f"http://localhost{path}", headers=headers or {})
        SigV4Auth(key, "medical-imaging", "us-east-1").add_auth(request)
        given |= {name.lower(): value for name, value in request.headers.items()}
    raw_path, _, query = path.partition("?")
    scope: Message = {
        "type": "http",
        "method": method,
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": (client, 1234),
    }
    sent: list[Message] = []
    waiting = list(messages or [])

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(gateway(scope, receive, send))
    return Answered(sent)


@pytest.mark.parametrize("error", [RuntimeError("secret detail"), StorageError("the disk is full")])
def test_hides_a_failure_and_logs_it_under_the_request_id(
    gateway: Gateway,
    root: Credentials,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def fail(context: Any, request: Any) -> None:
        raise error

    monkeypatch.setitem(OPERATIONS, "ListDatastores", fail)
    answered = ask(gateway, "GET", "/datastore", key=root)
    assert answered.status == 500
    assert answered.headers["x-amzn-errortype"] == "InternalServerException"
    id = answered.headers["x-amzn-requestid"]
    assert id in json.loads(answered.body)["message"]
    assert str(error) not in answered.body.decode()
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.fields["request"] == id  # type: ignore[attr-defined]
    assert record.exc_info is not None and record.exc_info[1] is error


def test_counts_and_logs_a_client_that_went_away(
    gateway: Gateway, root: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lightwell")
    answered = ask(gateway, "POST", "/datastore", key=root, headers={"content-length": "10"})
    assert answered.messages == []
    assert [r.fields["status"] for r in caplog.records if r.message == "request"] == [499]  # type: ignore[attr-defined]
    assert b"lightwell_requests_in_flight 0\n" in gateway.state.recorder.meter.render([])


def test_says_what_a_server_without_ohif_lacks(gateway: Gateway) -> None:
    for path in ("/ohif", "/ohif/viewer"):
        answered = ask(gateway, "GET", path)
        assert answered.status == 404
        assert b"lightwell ohif install" in answered.body


def test_lets_only_the_named_origins_read(build: Callable[..., Gateway]) -> None:
    gateway = build(cors_origins="https://a.example, https://b.example/")
    for origin in ("https://a.example", "https://b.example"):
        answered = ask(gateway, "GET", "/datastore", headers={"origin": origin})
        assert answered.headers["access-control-allow-origin"] == origin
        assert answered.headers["vary"] == "origin"
    for headers in ({"origin": "https://c.example"}, {}):
        answered = ask(gateway, "GET", "/datastore", headers=headers)
        assert "access-control-allow-origin" not in answered.headers
        assert answered.headers["vary"] == "origin"


def test_allows_no_origin_if_none_is_named(build: Callable[..., Gateway]) -> None:
    answered = ask(build(cors_origins=","), "GET", "/datastore", headers={"origin": "https://a.example"})
    assert not {"access-control-allow-origin", "vary"} & set(answered.headers)


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/metrics", "/version", "/", "/console/", "/ohif/", "/console/api/config"],
)
def test_lets_no_other_origin_read_what_needs_no_signature(gateway: Gateway, path: str) -> None:
    headers = {"origin": "https://elsewhere.example", "accept": "text/html"}
    answered = ask(gateway, "GET", path, headers=headers)
    assert answered.status in (200, 302, 404)
    assert "access-control-allow-origin" not in answered.headers
    assert "access-control-allow-origin" in ask(gateway, "GET", "/datastore", headers=headers).headers


def test_looks_up_keys_and_stores_while_operations_are_busy(gateway: Gateway) -> None:
    """And says that it is ready: whoever is not known yet waits for nobody's work, and nobody for theirs."""
    release = threading.Event()
    busy = [gateway.state.threads.submit(release.wait, 60) for _ in range(app.THREADS)]
    try:
        stranger = Credentials("AKLWSTRANGERXXXXXXXX", "s" * 40)
        refused = ask(gateway, "GET", "/datastore", key=stranger)
        assert (refused.status, refused.headers["x-amzn-errortype"]) == (403, "UnrecognizedClientException")
        token = bearer_token()
        headers = {"authorization": f"Bearer {token}"}
        assert ask(gateway, "GET", f"/datastore/{'0' * 32}/studies", headers=headers).status == 404
        assert ask(gateway, "GET", "/readyz").status == 200
        assert not any(each.done() for each in busy), "these were waited for"
    finally:
        release.set()


def test_finds_one_check_hanging_and_the_others_well(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightwell.web.status._TIMEOUT_SECONDS", 0.05)
    release, started = threading.Event(), []

    def hang() -> None:
        started.append(True)
        release.wait(60)

    checks = [ReadinessCheck("hangs", hang), ReadinessCheck("goes", lambda: None)]
    status = Status(gateway.state.recorder.meter, checks)

    async def probe() -> None:
        for _ in range(5):
            failures = await status._run_checks()
            assert failures["hangs"] is not None and failures["hangs"].code == "timeout"
            assert failures["goes"] is None
        release.set()
        assert await status._unfinished["hangs"] is None
        monkeypatch.setattr("lightwell.web.status._TIMEOUT_SECONDS", 60)
        assert (await status._run_checks())["hangs"] is None

    asyncio.run(probe())
    assert len(started) == 2, "one at a time"
    status.close()


_WHO = st.sampled_from(["root", "forged", "stranger"])
_ADDRESSES = st.sampled_from(["192.0.2.1", "192.0.2.2"])


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(st.lists(st.tuples(_ADDRESSES, _WHO), min_size=8, max_size=20))
def test_serves_whoever_has_the_secret_whatever_failed_before(
    limited: Gateway, root: Credentials, steps: list[tuple[str, str]]
) -> None:
    """From the same address, in the name of the same key: nothing locks a key, nor a hospital, out."""
    keys = {
        "root": root,
        "forged": Credentials(root.access_key, "f" * 40),
        "stranger": Credentials("AKLWSTRANGERXXXXXXXX", "s" * 40),
    }
    for address, who in steps:
        answered = ask(limited, "GET", "/datastore", key=keys[who], client=address)
        if who == "root":
            assert answered.status == 200
        else:
            assert answered.status in (403, 429)
            assert ("retry-after" in answered.headers) is (answered.status == 429)


def test_slows_down_what_fails_by_address_and_by_key(limited: Gateway, root: Credentials) -> None:
    forged = Credentials(root.access_key, "f" * 40)

    def status(client: str, key: Credentials = forged) -> int:
        return ask(limited, "GET", "/datastore", key=key, client=client).status

    assert [status("192.0.2.1") for _ in range(5)] == [403, 403, 403, 429, 429]
    # In the name of the key from elsewhere, from the address in the name of another key, and neither.
    assert status("198.51.100.7") == 429
    stranger = Credentials("AKLWSTRANGERXXXXXXXX", "s" * 40)
    assert status("192.0.2.1", stranger) == 429
    assert status("198.51.100.8", stranger) == 403
    # A clock that is wrong, or a form, proves nothing about who has the secret.
    for _ in range(5):
        old = {"authorization": "AWS4-HMAC-SHA256 nonsense"}
        assert ask(limited, "GET", "/datastore", headers=old, client="198.51.100.9").status == 403
    for path in ("/?Action=GetCallerIdentity", f"/datastore/{'0' * 32}/studies", "/console/api/me"):
        answered = ask(limited, "GET", path, key=forged, client="203.0.113.1")
        assert answered.status in (403, 429)
    counted = limited.state.recorder.meter.render([])
    assert b'lightwell_failed_proofs_total{kind="signature"} 10\n' in counted


@pytest.fixture
def limited(build: Callable[..., Gateway], root: Credentials) -> Gateway:
    return build(failed_proofs="3")


def test_limits_one_caller_and_not_the_next(build: Callable[..., Gateway], root: Credentials) -> None:
    gateway = build(throttle_principal="1")
    state = gateway.state
    made = create_key(state.stores.db, open_secret_box(None, state.settings.data), "ana", 1)
    other = Credentials(made.access_key_id, made.secret_access_key)
    statuses = [ask(gateway, "GET", "/datastore", key=root).status for _ in range(5)]
    assert statuses.count(429) >= 1 and statuses[:2] == [200, 200]
    assert ask(gateway, "GET", "/datastore", key=other).status == 200
    # Nobody can use up what another one may ask: what is forged is not counted as theirs.
    for _ in range(5):
        ask(gateway, "GET", "/datastore", key=Credentials(other.access_key, "f" * 40))
    assert ask(gateway, "GET", "/datastore", key=other).status == 200


@pytest.mark.parametrize(("given", "is_shown"), [("masked", False), ("plain", True)])
def test_logs_no_patient_that_a_request_is_about(
    build: Callable[..., Gateway],
    root: Credentials,
    caplog: pytest.LogCaptureFixture,
    given: str,
    is_shown: bool,
) -> None:
    caplog.set_level(logging.DEBUG, "lightwell")
    gateway, uid, store = build(log_uids=given), "1.2.826.0.1.3680043.8.498.77", "0" * 32
    path = f"/datastore/{store}/studies/{uid}/series?PatientName=DOE%5EJANE&PatientID=4711"
    assert ask(gateway, "GET", path, key=root, headers={"accept": "application/dicom+json"}).status == 404
    logged = [str(vars(record)) for record in caplog.records]
    assert logged and (uid in "".join(logged)) is is_shown
    assert "DOE" not in "".join(logged) and "4711" not in "".join(logged)
    assert f"/datastore/{store}/studies/{uid if is_shown else '*'}/series" in "".join(logged)


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        ("/datastore", "/x/../datastore"),
        ("/datastore", "/./datastore"),
        ("/datastore", "//datastore"),
        (f"/datastore/{'1' * 32}", f"/datastore/{'0' * 32}/../{'1' * 32}"),
        ("/console/api/keys", "/datastore/../console/api/keys"),
    ],
)
def test_leads_nowhere_by_a_path_that_only_the_signature_folds(
    gateway: Gateway, root: Credentials, signed: str, sent: str
) -> None:
    """One signature is good for both paths, as at AWS; what is asked for is what stands there."""
    request = AWSRequest("GET", f"http://localhost{signed}")
    SigV4Auth(root, "medical-imaging", "us-east-1").add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    answered = ask(gateway, "GET", sent, headers=headers)
    assert answered.status in (403, 404, 405), answered.status
    assert answered.headers["x-amzn-errortype"] != "ResourceNotFoundException", "it was looked for"


def test_does_not_echo_a_malformed_header_list(gateway: Gateway) -> None:
    headers = {
        "origin": "https://a.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "x\r\nset-cookie: a=b",
    }
    answered = ask(gateway, "OPTIONS", "/datastore", headers=headers)
    assert "set-cookie" not in answered.headers["access-control-allow-headers"]
    assert "authorization" in answered.headers["access-control-allow-headers"]


def test_reads_no_body_of_a_request_without_a_signature(gateway: Gateway) -> None:
    answered = ask(gateway, "POST", "/datastore", headers={"content-length": "5"}, messages=[])
    assert (answered.status, answered.headers["x-amzn-errortype"]) == (403, "MissingAuthenticationToken")


def test_reports_what_is_not_ready_and_logs_why(
    gateway: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lightwell")

    def probe() -> Answered:
        gateway._status._running = None
        return ask(gateway, "GET", "/readyz")

    def logged() -> list[str]:
        return [str(r.fields) for r in caplog.records if r.name != "asyncio"]  # type: ignore[attr-defined]

    assert probe().status == 200
    (tmp_path / "lightwell.db").rename(tmp_path / "away.db")
    gateway.state.stores.db.close()
    (tmp_path / "objects").rename(tmp_path / "away")
    (tmp_path / "objects").write_text("in the way")
    for _ in range(3):
        answered = probe()
        assert answered.status == 503
        checks = {"database": "ok", "schema": "behind", "storage": "unavailable", "audit": "ok"}
        assert json.loads(answered.body) == {"status": "not ready", "checks": checks}
    (line,) = logged()
    assert "data migrate" in line and str(tmp_path / "objects") in line
    (tmp_path / "objects").unlink()
    assert json.loads(probe().body)["checks"]["storage"] == "ok"
    assert len(logged()) == 2
    assert "storage" not in logged()[1]
