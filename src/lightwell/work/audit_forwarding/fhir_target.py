"""A FHIR server that takes AuditEvent resources: IHE ITI-20, FHIR feed, as batches."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from lightwell.observe.audit.forms.fhir import audit_events
from lightwell.observe.audit.forms.meaning import Place
from lightwell.observe.audit.record import AuditRecord
from lightwell.work.audit_forwarding.client_tls import client_tls
from lightwell.work.audit_forwarding.reachable import SECONDS, explained
from lightwell.work.audit_forwarding.target import DoubtfulError, ForwardingError, LeftOut, RefusedError

# Resources of one batch.
AT_ONCE: Final = 100
_SECONDS: Final = 30.0
_LONGEST_ANSWER: Final = 4 << 20
_SETTING: Final = "audit_fhir"
_TYPE: Final = "application/fhir+json"
# What says that a resource is wrong, rather than its sender or the server; 412 is a rule of the server's own.
_WRONG: Final = (400, 412, 413, 422)
# What may be the fault of one resource, so that other chains are not kept waiting.
_OF_ONE: Final = (*_WRONG, 500)
# The codes of an OperationOutcome (http://hl7.org/fhir/issue-type, R4). Nothing else of an answer is shown:
# it may quote whom a record is about.
_CODES: Final = frozenset(
    (
        *(
            "invalid",
            "structure",
            "required",
            "value",
            "invariant",
            "security",
            "login",
            "unknown",
            "expired",
        ),
        *("forbidden", "suppressed", "processing", "not-supported", "duplicate", "multiple-matches"),
        *("not-found", "deleted", "too-long", "code-invalid", "extension", "too-costly", "business-rule"),
        *("conflict", "transient", "lock-error", "no-store", "exception", "timeout", "incomplete"),
        *("throttled", "informational"),
    )
)
_GONE: Final = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class Answer(NamedTuple):
    """What the server says of one resource: the status, and the code of the first issue, if there is one."""

    status: int
    code: str

    def __str__(self) -> str:
        return f"{self.status} {self.code}".strip()


class FhirTarget:
    """A server by its base URL; ``token_file`` has a bearer token, which may be replaced at any time.

    Resources that the server refuses while it takes others are left out. Where it refuses all that it is
    sent, nothing is left out until it has taken something else since, such as of another chain: before that,
    rather the server or the settings are wrong.
    """

    name = "fhir"
    is_certain = True

    def __init__(
        self,
        url: str,
        place: Place,
        *,
        ca: Path | None = None,
        certificate: Path | None = None,
        token_file: Path | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._is_tls = parts.scheme == "https"
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path.rstrip("/")
        self._place = place
        self._ca, self._certificate, self._token_file = ca, certificate, token_file
        self._connection: http.client.HTTPConnection | None = None
        # How many resources were taken; and how many these were when a batch of a chain was first refused as
        # a whole, by the chain and the number of the batch's first record, until the chain has gone on.
        self._taken = 0
        self._stuck: dict[str, dict[int, int]] = {}

    def send(self, records: Sequence[AuditRecord], writer: str) -> Sequence[LeftOut]:
        place = self._place._replace(writer=writer)
        waiting: list[tuple[int, dict[str, Any]]] = []
        left_out: list[LeftOut] = []
        for record in records:
            waiting += [(record.number, event) for event in audit_events(record, place)]
            while len(waiting) >= AT_ONCE:
                left_out += self._post(waiting[:AT_ONCE], writer)
                del waiting[:AT_ONCE]
        if waiting:
            left_out += self._post(waiting, writer)
        self._stuck.pop(writer, None)
        return left_out

    def confirm(self) -> None:
        """Each answer has said so."""

    def check(self) -> str:
        """By its CapabilityStatement (FHIR R4 §3.1.0.15), which most servers give to anybody."""
        place = f"the FHIR server {self._host}" + (f":{self._port}" if self._port else "")
        headers = {"accept": _TYPE}
        try:
            if self._token_file is not None:
                headers["authorization"] = f"Bearer {_token(self._token_file)}"
            connection = self._connect(SECONDS)
            connection.request("GET", f"{self._path}/metadata", headers=headers)
            answer = connection.getresponse()
            status, data = answer.status, answer.read(_LONGEST_ANSWER)
        except (OSError, http.client.HTTPException, ForwardingError) as error:
            raise explained(error, place, _SETTING) from None
        finally:
            self.close()
        if status in (401, 403):
            raise ForwardingError(
                f"{place} refuses with {status}: check {_SETTING}_token_file and {_SETTING}_certificate"
            )
        if status != 200:
            raise DoubtfulError(
                f"{place} answers, but {status} to GET {self._path}/metadata: check that {_SETTING} is its "
                "base URL; whether it takes AuditEvents shows when the first are sent"
            )
        return f"{place} {_capabilities(data)}"

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _post(self, numbered: Sequence[tuple[int, dict[str, Any]]], writer: str) -> list[LeftOut]:
        numbers = [number for number, _ in numbered]
        events = [event for _, event in numbered]
        entries = [
            {"resource": event, "request": {"method": "POST", "url": "AuditEvent"}} for event in events
        ]
        status, text = self._request(self._path or "/", _bundle(entries))
        if status == 200:
            answers = _answers(text, len(events))
        elif status in _WRONG:
            # Some servers refuse a batch for one of its resources, or take no batches.
            answers = [_answer(*self._request(f"{self._path}/AuditEvent", event)) for event in events]
        else:
            raise self._error(_answer(status, text))
        self._taken += sum(200 <= each.status < 300 for each in answers)
        return self._judge(numbers, answers, writer)

    def _judge(self, numbers: Sequence[int], answers: Sequence[Answer], writer: str) -> list[LeftOut]:
        """Which are refused for themselves. Raises `ForwardingError` if anything should be sent again."""
        bad = [
            (number, answer)
            for number, answer in zip(numbers, answers, strict=True)
            if not 200 <= answer.status < 300
        ]
        for _, answer in bad:
            if answer.status not in _WRONG:
                raise self._error(answer)
        if bad and len(bad) == len(answers):
            before = self._stuck.setdefault(writer, {}).setdefault(numbers[0], self._taken)
            if before == self._taken:
                raise self._error(bad[0][1])
        return [LeftOut(number, str(answer)) for number, answer in bad]

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
            raise ForwardingError(f"{self._host} does not answer in HTTP: {type(error).__name__}") from None

    def _exchange(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = self._connection or self._connect()
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        data = answer.read(_LONGEST_ANSWER)
        if not answer.isclosed():
            self.close()  # There is more of it, which nobody needs.
        return answer.status, data

    def _connect(self, seconds: float | None = None) -> http.client.HTTPConnection:
        timeout = seconds or _SECONDS
        if self._is_tls:
            context = client_tls(self._ca, self._certificate)
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        return self._connection

    def _error(self, answer: Answer) -> ForwardingError:
        kind = RefusedError if answer.status in _OF_ONE else ForwardingError
        return kind(f"{self._host} answers {answer}")


def _capabilities(data: bytes) -> str:
    """What a server says that it is. Raises `DoubtfulError` if it does not say that it takes AuditEvents."""
    try:
        said = json.loads(data)
        version = said["fhirVersion"] if said["resourceType"] == "CapabilityStatement" else ""
        rest = [each for each in said.get("rest", ()) if each.get("mode") == "server"]
        taken = {
            code["code"]
            for each in rest
            for resource in each.get("resource", ())
            if resource.get("type") == "AuditEvent"
            for code in resource.get("interaction", ())
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        version = ""
    if not isinstance(version, str) or not version:
        raise DoubtfulError(
            f"what {_SETTING} names answers, but is no FHIR server: check that it is the base URL of one"
        )
    if not version.startswith("4."):
        raise DoubtfulError(f"the FHIR server speaks {version[:20]}, and AuditEvents are sent as those of R4")
    if "create" not in taken:
        raise DoubtfulError("the FHIR server does not say that it takes AuditEvents: it may refuse them")
    return f"answers, speaks FHIR {version[:20]}, and says that it takes AuditEvents; no event was sent"


def _bundle(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "batch", "entry": list(entries)}


def _answers(text: bytes, expected: int) -> list[Answer]:
    """What is said of each entry of a batch. Raises `ForwardingError` if the text is no batch's answer."""
    try:
        entries = [entry["response"] for entry in json.loads(text)["entry"]]
        found = [Answer(int(str(each["status"])[:3]), _code(each.get("outcome"))) for each in entries]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found = []
    if len(found) != expected:
        raise ForwardingError("the FHIR server has not answered each entry of a batch: is it its base URL?")
    return found


def _answer(status: int, text: bytes) -> Answer:
    try:
        return Answer(status, _code(json.loads(text)))
    except (ValueError, RecursionError):
        return Answer(status, "")


def _code(outcome: Any) -> str:
    """The code of the first issue of an OperationOutcome, empty if it is none."""
    try:
        code = outcome["issue"][0]["code"]
    except (TypeError, KeyError, IndexError):
        return ""
    return code if isinstance(code, str) and code in _CODES else ""


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ForwardingError(f"{path}, the bearer token, cannot be read: {error}") from None
    if not token or not token.isprintable() or " " in token:
        raise ForwardingError(f"{path} holds no bearer token: it must be one word")
    return token
