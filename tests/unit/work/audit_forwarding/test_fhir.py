"""The audit trail as AuditEvent resources to a FHIR server that is away, refuses, or is not one."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, TypeAlias

import pytest
from fhir.resources.R4B.bundle import Bundle

from lightwell.observe.audit.chain import Chain
from lightwell.observe.audit.record import AuditRecord
from lightwell.work.audit_forwarding import fhir_target
from lightwell.work.audit_forwarding import forwarder as forwarding
from lightwell.work.audit_forwarding.fhir_target import FhirTarget
from lightwell.work.audit_forwarding.forwarder import FORWARDED, LAG, MISSED, Forwarder
from tests.support.certificates import Authority
from tests.unit.observe.audit.chains import place, records, write
from tests.unit.work.audit_forwarding.forwarding import PLACE, Told, in_order, until

Judge: TypeAlias = Callable[[dict[str, Any]], int]
ISSUE = {"severity": "error", "code": "invariant", "diagnostics": "DOE^JOHN is no identifier"}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "POLL", 0.02)
    monkeypatch.setattr(forwarding, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(forwarding, "_LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(fhir_target, "AT_ONCE", 4)


def number(event: dict[str, Any]) -> int:
    return int(event["entity"][-1]["name"].split()[-1])


class FhirServer(ThreadingHTTPServer):
    """Takes what FHIR's definitions allow; ``judge`` says with which status each resource is answered."""

    def __init__(self, judge: Judge, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.judge = judge
        self.answers: list[int] = []
        """What whole requests are answered with first, whatever is in them."""
        self.taken: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""

    def numbers(self) -> list[int]:
        return [number(event) for event in self.taken]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FhirServer

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers))
        if self.server.answers:
            self._answer(self.server.answers.pop(0), {"resourceType": "OperationOutcome"})
        elif content["resourceType"] == "Bundle":
            Bundle.model_validate_json(json.dumps(content))
            statuses = [self._take(entry["resource"]) for entry in content["entry"]]
            outcome = {"resourceType": "OperationOutcome", "issue": [ISSUE]}
            entries = [
                {"response": {"status": f"{status} of some kind", "outcome": outcome}} for status in statuses
            ]
            self._answer(200, {"resourceType": "Bundle", "type": "batch-response", "entry": entries})
        else:
            self._answer(self._take(content), {"resourceType": "OperationOutcome", "issue": [ISSUE]})

    def _take(self, event: dict[str, Any]) -> int:
        status = self.server.judge(event)
        if status == 201:
            self.server.taken.append(event)
        return status

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def serving(judge: Judge = lambda event: 201, tls: ssl.SSLContext | None = None) -> Iterator[FhirServer]:
    server = FhirServer(judge, tls)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def forwarded(root: Path, told: Told, target: FhirTarget) -> Iterator[None]:
    sender = Forwarder(root, target, told.telling)
    sender.begin()
    try:
        yield
    finally:
        sender.end()


def target_of(server: FhirServer) -> FhirTarget:
    url = f"http://127.0.0.1:{server.server_port}/r4/"
    return FhirTarget(url, PLACE)


def arrived(told: Told) -> int:
    return told.counted[FORWARDED, "fhir"]


def test_each_record_arrives_in_order_while_the_server_fails_now_and_then(tmp_path: Path) -> None:
    told = Told()
    for writer in ("http-0", "work"):
        write(place(tmp_path, writer), [7, 3])
    with serving() as server:
        server.answers = [503, 429, 500]
        with forwarded(tmp_path, told, target_of(server)):
            until(lambda: arrived(told) == 20, "they have arrived")
            write(place(tmp_path, "http-0"), [2])
            until(lambda: arrived(told) == 22, "what came then, too")
    for writer, most in (("http-0", 12), ("work", 10)):
        of_writer = [number(each) for each in server.taken if f" {writer} " in each["entity"][-1]["name"]]
        assert in_order(of_writer) == list(range(1, most + 1))
    assert {path for path, _ in server.requests} == {"/r4"}
    assert {headers["content-type"] for _, headers in server.requests} == {
        "application/fhir+json; charset=utf-8"
    }
    assert told.measured[LAG, "fhir"] == 0


@pytest.mark.parametrize("takes_batches", [True, False])
def test_leaves_out_what_the_server_refuses_while_it_takes_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, takes_batches: bool
) -> None:
    told = Told()
    write(place(tmp_path), [10])
    with serving(lambda event: 422 if number(event) == 6 else 201) as server:
        server.answers = [] if takes_batches else [400]
        with forwarded(tmp_path, told, target_of(server)):
            until(lambda: arrived(told) == 10, "the rest has arrived")
    assert server.numbers() == [1, 2, 3, 4, 5, 7, 8, 9, 10]
    assert told.counted[MISSED, "fhir"] == 1
    assert "records 6 of the audit trail's chain http-0 are left out" in caplog.text
    [record] = told.records
    assert (record.operation, record.kind, record.count) == ("AuditForwardMissed", "security", 1)
    assert record.query == {"target": "fhir", "chain": "http-0", "numbers": [6], "answers": ["422 invariant"]}


def test_a_chain_that_is_refused_keeps_no_other_waiting_and_goes_on_once_others_are_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not before: as long as nothing else is taken, it may be the server that is wrong."""
    told = Told()
    write(place(tmp_path, "cli"), [6])
    with (
        serving(lambda event: 422 if " cli " in event["entity"][-1]["name"] else 201) as server,
        forwarded(tmp_path, told, target_of(server)),
    ):
        # Each attempt is a batch, and then one request for each of its four resources.
        until(lambda: len(server.requests) >= 3, "it has been refused several times")
        assert arrived(told) == 0
        assert told.measured[LAG, "fhir"] > 0
        write(place(tmp_path, "work"), [3])
        until(lambda: server.numbers() == [1, 2, 3], "others go on")

        def others() -> bool:
            write(place(tmp_path, "work"), [1])
            return told.counted[MISSED, "fhir"] == 6

        until(others, "what is refused is left out")
        until(lambda: told.measured[LAG, "fhir"] == 0, "nothing waits")
    assert [record.query["numbers"] for record in told.records if record.query] == [[1, 2, 3, 4, 5, 6]]
    assert (
        "chain cli cannot be forwarded by fhir now, and will be later: 127.0.0.1 answers 422" in caplog.text
    )
    assert "DOE" not in caplog.text


def test_no_record_tells_of_one_that_tells_of_such_records_itself(tmp_path: Path) -> None:
    told = Told()
    chain = Chain(place(tmp_path))
    chain.append(
        [*records(1), AuditRecord(at=1, operation="AuditForwardMissed", kind="security"), *records(1)]
    )
    chain.sync()
    chain.close()
    with (
        serving(lambda event: 422 if number(event) == 2 else 201) as server,
        forwarded(tmp_path, told, target_of(server)),
    ):
        until(lambda: arrived(told) == 3, "the rest has arrived")
    assert told.counted[MISSED, "fhir"] == 1
    assert told.records == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_leaves_out_nothing_where_everything_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    told, is_mended = Told(), False
    write(place(tmp_path), [3])
    with (
        serving(lambda event: 201 if is_mended else status) as server,
        forwarded(tmp_path, told, target_of(server)),
    ):
        until(lambda: f"127.0.0.1 answers {status}" in caplog.text, "it says so")
        assert told.measured[LAG, "fhir"] > 0
        is_mended = True
        until(lambda: arrived(told) == 3, "they have arrived")
    assert in_order(server.numbers()) == [1, 2, 3]
    assert told.counted[MISSED, "fhir"] == 0


def test_shows_its_token_and_certificate_to_the_right_server_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told, authority, other = Told(), Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    root, token, both = tmp_path / "audit", tmp_path / "token", tmp_path / "both.pem"
    write(place(root), [3])
    token.write_text("old\n")
    cert, key = authority.issue("pacs")
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("fhir", hosts=["localhost"]))
    context.load_verify_locations(authority.cert)
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(tls=context) as server:

        def target(ca: Authority) -> FhirTarget:
            url = f"https://localhost:{server.server_port}"
            return FhirTarget(url, PLACE, ca=ca.cert, certificate=both, token_file=token)

        with forwarded(root, told, target(other)):
            until(lambda: "certificate verify failed" in caplog.text, "it trusts nobody else")
        assert server.requests == []
        with forwarded(root, told, target(authority)):
            until(lambda: arrived(told) == 3, "they have arrived")
            token.write_text("new\n")
            write(place(root), [2])
            until(lambda: arrived(told) == 5, "with the new token, too")
    tokens = [headers["authorization"] for _, headers in server.requests]
    assert (tokens[0], tokens[-1]) == ("Bearer old", "Bearer new")
    assert "old" not in caplog.text and "new" not in caplog.text


@pytest.mark.parametrize("text", ["", "two words", "caf\u00e9"])
def test_sends_nothing_without_a_token_that_it_can_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    told, root, token = Told(), tmp_path / "audit", tmp_path / "token"
    write(place(root), [3])
    token.write_text(text)
    with serving() as server:
        url = f"http://127.0.0.1:{server.server_port}"
        with forwarded(root, told, FhirTarget(url, PLACE, token_file=token)):
            until(lambda: "bearer token" in caplog.text, "it says so")
    assert server.requests == []
