"""A client of the console's API, which signs as a browser does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from botocore.credentials import Credentials

from lightwell.auth.principals import create_key
from lightwell.auth.secret_box import open_secret_box
from lightwell.clock import Clock
from tests.support.server import Reply, Server

ACCOUNT = "000000000000"


@dataclass(frozen=True, slots=True)
class ConsoleClient:
    """Calls ``/console/api/…`` of a server; with root's key unless ``credentials`` are given."""

    server: Server
    credentials: Credentials | None = None

    @classmethod
    def of_new_key(cls, server: Server, name: str, *statements: dict[str, Any]) -> ConsoleClient:
        """A client with a key of its own, made in the database, which may do what the statements say."""
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        with server.database() as db:
            box = open_secret_box(None, server.data)
            made = create_key(db, box, name, Clock().now(), [policy] if statements else None)
        return cls(server, Credentials(made.access_key_id, made.secret_access_key))

    def send(self, method: str, path: str, body: object = None, *, raw: bytes | None = None) -> Reply:
        """The whole reply to a signed request."""
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        return self.server.send(
            self.server.signed(method, f"/console/api/{path}", data, credentials=self.credentials)
        )

    def __call__(self, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
        """The JSON of the reply, which must have this status; None without a body."""
        reply = self.send(method, path, body)
        assert reply.status == status, reply.body.decode()
        return json.loads(reply.body) if reply.body else None

    def refused(self, method: str, path: str, body: object = None) -> tuple[int, str, str]:
        """Status, name and message of an error."""
        reply = self.send(method, path, body)
        assert reply.status >= 400, reply.body
        return reply.status, reply.headers["x-amzn-errortype"], json.loads(reply.body)["message"]


def allow(action: str | list[str], resource: str | list[str] = "*") -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}
