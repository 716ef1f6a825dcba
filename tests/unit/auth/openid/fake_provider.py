"""A provider that publishes whatever a test wants, on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

from lightwell.auth.openid.provider import WELL_KNOWN

_MADE: dict[str, RSAKey] = {}


def key(id: str) -> RSAKey:
    """A key pair; the same for the same id."""
    if id not in _MADE:
        _MADE[id] = RSAKey.generate_key(2048, {"kid": id, "use": "sig"})
    return _MADE[id]


@dataclass
class FakeProvider:
    """``answers`` are status, body and headers by path; ``asked`` the paths that were asked for."""

    issuer: str
    answers: dict[str, tuple[int, bytes, dict[str, str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def publish(self, *keys: RSAKey, more: list[dict[str, Any]] | None = None, **changes: Any) -> None:
        """Publish these keys, and a discovery document with these changes."""
        document = {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/jwks",
            "authorization_endpoint": f"{self.issuer}/auth",
            "token_endpoint": f"{self.issuer}/token",
            **changes,
        }
        public = [each.as_dict(private=False) for each in keys] + (more or [])
        self.answers[WELL_KNOWN] = 200, json.dumps(document).encode(), {}
        self.answers["/jwks"] = 200, json.dumps({"keys": public}).encode(), {}

    def token(self, by: RSAKey, now: int, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token at ``now`` in milliseconds, good for ten minutes unless the claims say otherwise."""
        at = now // 1000
        whole = {
            "iss": self.issuer, "sub": "ana", "aud": "console", "iat": at, "exp": at + 600, **claims
        }  # fmt: skip
        kept = {name: value for name, value in whole.items() if value is not ...}
        whole_header = {"alg": "RS256", "kid": by.kid, **(header or {})}
        registry = JWSRegistry(algorithms=[whole_header["alg"]], strict_check_header=False)
        return jwt.encode(whole_header, kept, by, registry=registry)


@contextmanager
def fake_provider() -> Iterator[FakeProvider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.asked.append(self.path)
            status, body, headers = fake.answers.get(self.path, (404, b"", {}))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake = FakeProvider(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
