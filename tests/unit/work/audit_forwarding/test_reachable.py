"""What `lightwell doctor` says of where the audit trail is sent."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from lightwell.cli.doctor.forwarding import forwarding
from lightwell.cli.doctor.warning import DoctorWarning
from lightwell.errors import LightwellError
from lightwell.settings import load
from lightwell.work.audit_forwarding import reachable, syslog_target
from tests.support.certificates import Authority
from tests.unit.work.audit_forwarding.forwarding import Receiver


def check(**settings: Any) -> str:
    """What the doctor says, led by ``WRONG`` or ``WARN`` if it is not content."""
    try:
        return forwarding(load(settings, environ={}, file=None))
    except DoctorWarning as warning:
        return f"WARN {warning}"
    except LightwellError as error:
        return f"WRONG {error}"


def both(folder: Path, authority: Authority, name: str, ends: int = 30) -> Path:
    """A file with a client's certificate and its key."""
    cert, key = authority.issue(name, ends=ends)
    made = folder / f"{name}-both.pem"
    made.write_bytes(cert.read_bytes() + key.read_bytes())
    return made


def test_says_that_nothing_is_sent() -> None:
    assert check() == "the audit trail is sent nowhere"


def test_says_of_a_syslog_receiver_what_to_do(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    mine, theirs = both(tmp_path, authority, "mine"), both(tmp_path, other, "theirs")
    late = both(tmp_path, authority, "late", ends=3)
    receiver = Receiver(tmp_path, authority, authority.cert)
    with receiver.running():
        url = f"tls://localhost:{receiver.port}"
        given = {"audit_syslog": url, "audit_syslog_ca": authority.cert}
        fine = check(**given, audit_syslog_certificate=mine)
        assert fine.startswith(f"syslog receiver localhost:{receiver.port} is reached by TLSv1.3")
        for settings, said in (
            ({"audit_syslog": url}, "is not trusted"),
            ({"audit_syslog": url, "audit_syslog_ca": other.cert}, "set audit_syslog_ca to a file"),
            (given | {"audit_syslog": url.replace("localhost", "127.0.0.1")}, "is of another name"),
            (given, "asks for a client certificate"),
            (given | {"audit_syslog_certificate": theirs}, "refuses the client certificate"),
            (
                given | {"audit_syslog_ca": mine.parent / "none.pem"},
                "cannot be used as a list of authorities",
            ),
        ):
            answer = check(**settings)
            assert answer.startswith("WRONG ") and said in answer, answer
        assert "expires soon" in check(**given, audit_syslog_certificate=late)
        assert receiver.messages() == []
    answer = check(**given)
    assert answer.startswith("WRONG ") and "where nothing listens: check the port in audit_syslog" in answer
    assert "name cannot be resolved" in check(audit_syslog="tls://nobody.invalid")


def test_doubts_what_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that speaks no TLS, one that says nothing, and one that cuts its connections."""
    for module in (reachable, syslog_target):
        monkeypatch.setattr(module, "SECONDS", 0.5)
    authority = Authority(tmp_path, "authority")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("receiver", hosts=["localhost"]))

    def answer(how: str, listener: socket.socket) -> None:
        plain, _ = listener.accept()
        with plain:
            if how == "cut":
                with context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(4096)
                return
            if how == "plain":
                plain.sendall(b"220 no TLS is spoken here\r\n")
            plain.recv(4096)
            with suppress(OSError):  # The test may be over.
                listener.accept()

    for how, said in (
        ("plain", "does not speak TLS"),
        ("silent", "does not answer within"),
        ("cut", "ends connections without a close_notify"),
    ):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = Thread(target=answer, args=[how, listener], daemon=True)
            thread.start()
            url = f"tls://localhost:{listener.getsockname()[1]}"
            found = check(audit_syslog=url, audit_syslog_ca=authority.cert)
            assert said in found and found.startswith("WARN" if how == "cut" else "WRONG"), found


CAPABLE = {
    "resourceType": "CapabilityStatement",
    "fhirVersion": "4.0.1",
    "rest": [{"mode": "server", "resource": [{"type": "AuditEvent", "interaction": [{"code": "create"}]}]}],
}


class Server(ThreadingHTTPServer):
    """Answers GET /r4/metadata."""

    status: int = 200
    said: Any = CAPABLE
    token: str | None = None


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.token = self.headers["authorization"]
        body = json.dumps(self.server.said).encode()
        self.send_response(self.server.status if self.path == "/r4/metadata" else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Nobody reads it."""


@contextmanager
def serving() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), _Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_says_of_a_fhir_server_what_it_says_of_itself(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-token\n")
    with serving() as server:
        url = f"http://127.0.0.1:{server.server_port}/r4/"
        place = f"the FHIR server 127.0.0.1:{server.server_port}"
        given = {"audit_fhir": url, "audit_fhir_token_file": token}
        assert "speaks FHIR 4.0.1, and says that it takes AuditEvents" in check(**given)
        assert server.token == "Bearer secret-token"
        for status, content, said in (
            (401, CAPABLE, f"WRONG {place} refuses with 401: check audit_fhir_token_file"),
            (500, CAPABLE, f"WARN {place} answers, but 500"),
            (200, ["an", "array"], "WARN what audit_fhir names answers, but is no FHIR server"),
            (200, CAPABLE | {"fhirVersion": "5.0.0"}, "WARN the FHIR server speaks 5.0.0"),
            (200, CAPABLE | {"rest": []}, "WARN the FHIR server does not say that it takes AuditEvents"),
            (200, CAPABLE | {"rest": 7}, "WARN what audit_fhir names answers, but is no FHIR server"),
        ):
            server.status, server.said = status, content
            assert check(**given).startswith(said), check(**given)
        assert "base URL" in check(audit_fhir=url.replace("/r4", "/elsewhere"))
        token.write_text("two words")
        assert check(**given).startswith(f"WRONG {place}, ") and "one word" in check(**given)
    assert "where nothing listens: check the port in audit_fhir" in check(audit_fhir=url)


def test_a_target_that_is_fine_does_not_hide_one_that_is_not(tmp_path: Path) -> None:
    with serving() as server, socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        listener.close()
        url = f"http://127.0.0.1:{server.server_port}/r4"
        answer = check(audit_fhir=url, audit_syslog=f"tls://127.0.0.1:{port}")
    assert answer.startswith("WRONG ") and "nothing listens" in answer


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 4000000\r\n\r\n"]
)
def test_waits_for_no_fhir_server_that_never_comes_to_an_end(
    start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reachable, "WHOLE_SECONDS", 0.3)
    ended = Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(4096)
            connection.sendall(start)
            for _ in range(1_000):
                connection.sendall(b"x")
                if ended.wait(0.02):
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=drip, args=[listener], daemon=True)
        thread.start()
        found = check(audit_fhir=f"http://127.0.0.1:{listener.getsockname()[1]}/r4")
        ended.set()
        thread.join()
    assert found.startswith("WRONG what audit_fhir names has not answered in full"), found
