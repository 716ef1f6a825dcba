"""A FHIR server that takes AuditEvent resources: IHE ITI-20, FHIR feed, as batches."""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from lightwell.observe.audit.forms.fhir import audit_events
from lightwell.observe.audit.forms.meaning import Place
from lightwell.observe.audit.record import AuditRecord
from lightwell.work.audit_forwarding.client_tls import client_tls
from lightwell.work.audit_forwarding.target import ForwardingError

log = logging.getLogger(__name__)

# Resources of one batch.
AT_ONCE: Final = 100
_SECONDS: Final = 30.0
_LONGEST_ANSWER: Final = 4 << 20
_TYPE: Final = "application/fhir+json"
# What says that a resource is wrong, rather than its sender or the server; 412 is a rule of the server's own.
_WRONG: Final = (400, 412, 413, 422)
_SHOWN: Final = 300
_GONE: Final = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class FhirTarget:
    """A server by its base URL; ``token_file`` has a bearer token, which may be replaced at any time.

    Resources that the server refuses while it takes others are left out, and ``refused`` is told how many
    that were. Where it refuses all, nothing is left out: rather the server or the settings are wrong.
    """

    name = "fhir"
    is_certain = True

    def __init__(
        self,
        url: str,
        place: Place,
        refused: Callable[[int], None],
        *,
        ca: Path | None = None,
        certificate: Path | None = None,
        token_file: Path | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._is_tls = parts.scheme == "https"
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path.rstrip("/")
        self._place, self._refused = place, refused
        self._ca, self._certificate, self._token_file = ca, certificate, token_file
        self._connection: http.client.HTTPConnection | None = None

    def send(self, records: Sequence[AuditRecord], writer: str) -> None:
        place = self._place._replace(writer=writer)
        waiting: list[dict[str, Any]] = []
        for record in records:
            waiting += audit_events(record, place)
            while len(waiting) >= AT_ONCE:
                self._post(waiting[:AT_ONCE])
                del waiting[:AT_ONCE]
        if waiting:
            self._post(waiting)

    def confirm(self) -> None:
        """Each answer has said so."""

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _post(self, events: Sequence[dict[str, Any]]) -> None:
        entries = [
            {"resource": event, "request": {"method": "POST", "url": "AuditEvent"}} for event in events
        ]
        status, answer = self._request(self._path or "/", _bundle(entries))
        if status in _WRONG and len(events) > 1:
            # Some servers refuse a batch for one of its resources, or take no batches.
            answers = [self._request(f"{self._path}/AuditEvent", event) for event in events]
            self._judge(answers)
            return
        if status != 200:
            raise ForwardingError(self._said(status, answer))
        self._judge(_statuses(answer, len(events)))

    def _judge(self, answers: Sequence[tuple[int, bytes]]) -> None:
        """Leave out what is refused for itself. Raises `ForwardingError` if anything should be sent again."""
        bad = [(status, text) for status, text in answers if not 200 <= status < 300]
        if not bad:
            return
        for status, text in bad:
            if status not in _WRONG or len(bad) == len(answers):
                raise ForwardingError(self._said(status, text))
        log.error(
            "%s AuditEvent resources are left out, which the FHIR server refuses: %s",
            len(bad),
            self._said(*bad[0]),
        )
        self._refused(len(bad))

    def _request(self, path: str, content: dict[str, Any]) -> tuple[int, bytes]:
        """Post a resource; returns status and answer. A connection that has ended meanwhile is made anew."""
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        headers = {"content-type": f"{_TYPE}; charset=utf-8", "accept": _TYPE, "prefer": "return=minimal"}
        if self._token_file is not None:
            headers["authorization"] = f"Bearer {_token(self._token_file)}"
        is_used = self._connection is not None
        try:
            return self._exchange(path, body, headers)
        except _GONE:
            self.close()
            if not is_used:
                raise
            return self._exchange(path, body, headers)
        except http.client.HTTPException as error:
            raise ForwardingError(f"{self._host} does not answer in HTTP: {error!r:.200}") from None

    def _exchange(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = self._connection or self._connect()
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        data = answer.read(_LONGEST_ANSWER)
        if not answer.isclosed():
            self.close()  # There is more of it, which nobody needs.
        return answer.status, data

    def _connect(self) -> http.client.HTTPConnection:
        if self._is_tls:
            context = client_tls(self._ca, self._certificate)
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=_SECONDS, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)
        return self._connection

    def _said(self, status: int, text: bytes) -> str:
        return f"{self._host} answers {status}: {text[:_SHOWN].decode(errors='replace')!r}"


def _bundle(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "batch", "entry": list(entries)}


def _statuses(answer: bytes, expected: int) -> list[tuple[int, bytes]]:
    """The status of each entry of a batch's answer. Raises `ForwardingError` if it is none."""
    try:
        entries = [entry["response"] for entry in json.loads(answer)["entry"]]
        found = [(int(str(each["status"])[:3]), json.dumps(each).encode()) for each in entries]
    except (ValueError, TypeError, KeyError, RecursionError):
        found = []
    if len(found) != expected:
        raise ForwardingError("the FHIR server has not answered each entry of a batch: is it its base URL?")
    return found


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ForwardingError(f"{path}, the bearer token, cannot be read: {error}") from None
    if not token or not token.isprintable() or " " in token:
        raise ForwardingError(f"{path} holds no bearer token: it must be one word")
    return token
