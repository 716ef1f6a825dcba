"""Requests to the doors beside the two APIs: the console's own API, STS, and bearer tokens at any of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import msgspec
from hypothesis import strategies as st

from lightwell.web.console.table import ROUTES
from lightwell.web.sts import OPERATIONS, SERVICE, VERSION
from tests.dicomweb.support.tokens import jwt, part
from tests.fuzz.http_words import JSON, TEXT, Known, Sent, quoted

ROLE, FUNCTION = "Reader", "arn:aws:lambda:us-east-1:000000000000:function:behaving"
ROLE_ARN = f"arn:aws:iam::000000000000:role/{ROLE}"
ISSUER = "http://127.0.0.1:9/"
"""The OpenID provider of the server, which nobody has ever reached."""
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "medical-imaging:*", "Resource": "*"},
    }
)
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Action": ["sts:AssumeRole", "sts:AssumeRoleWithWebIdentity"],
            "Principal": {"AWS": "000000000000", "Service": "medical-imaging.amazonaws.com"},
        },
    }
)
_ENDS = (
    "ConsoleSignOut",
    "ConsoleEndSession",
    "ConsoleRevokeKey",
    "ConsoleDeleteRole",
    "ConsoleDeleteImageSet",
    "ConsoleDiscardUpload",
)
_VALID: dict[str, list[dict[str, Any]]] = {
    "ConsoleAllowed": [{"checks": [{"operation": "GetDatastore", "datastoreId": "a" * 32}]}],
    "ConsoleImageSetPreview": [{"updatableAttributes": {"SchemaVersion": 1.1, "Patient": {"DICOM": {}}}}],
    "ConsoleCreateKey": [{"name": "k", "policies": [POLICY]}, {"name": "k", "isAdministrator": True}],
    "ConsolePutKeyPolicies": [{"policies": [POLICY]}, {"policies": [POLICY], "revision": 1}],
    "ConsoleSetKeyStatus": [{"status": "Inactive"}, {"status": "Active"}],
    "ConsoleRotateKey": [{}, {"overlapSeconds": 0}, {"expiresAt": "2040-01-01T00:00:00Z"}],
    "ConsolePutRole": [{"trustPolicy": TRUST, "policies": [POLICY]}],
    "ConsolePutAuthorizer": [{"arn": FUNCTION + "2", "target": "http://127.0.0.1:9/"}],
    "ConsoleDeleteAuthorizer": [{"arn": FUNCTION + "2"}],
    "ConsoleValidatePolicy": [{"policy": POLICY}, {"policy": TRUST, "kind": "trust"}],
    "ConsoleExplainPolicy": [{"roleName": ROLE, "action": "medical-imaging:GetImageSet", "resource": "*"}],
    "ConsoleSimulatePolicy": [
        {"policies": [POLICY], "checks": [{"action": "medical-imaging:Get*", "resource": "arn:aws:x/*"}]}
    ],
    "ConsoleSearchEvents": [{}, {"maxResults": 1}],
    "ConsoleListStudies": [{}, {"maxResults": 2}, {"text": "A^B"}],
    "ConsoleBeginUpload": [{"name": "x", "files": 1, "bytes": 5000}],
    "ConsoleListUploadedFiles": [{}, {"maxResults": 1}],
}


def console_request(draw: st.DrawFn, known: Known) -> tuple[str, str, bytes, dict[str, bytes]]:
    """A request to one route of the console's API: method, path and query, body and headers of its own."""
    route = draw(st.sampled_from(ROUTES))
    path, most = route.path, 1 if route.operation in _ENDS else 9
    for label, values in known.labels.items():
        is_known = draw(st.integers(0, most)) > 0
        path = path.replace(f"{{{label}}}", quoted(draw(st.sampled_from(values) if is_known else TEXT)))
    answers = TEXT | st.sampled_from(["1", "2", "100", "J2K", "true", ",".join(known.image_sets)])
    query = [(name, draw(answers)) for name in route.query if draw(st.booleans())]
    target = "/console/api/" + path + ("?" + "&".join(f"{n}={quoted(v)}" for n, v in query) if query else "")
    headers: dict[str, bytes] = {}
    body = b""
    if route.reads_body:
        body = draw(st.sampled_from([known.part10, known.part10[:99], b""]))
        names = ["a.dcm", "a/b.dcm", "%2e%2e/x", "", "%00", "a" * 5000, "%ff", "/etc/passwd"]
        headers["x-lightwell-name"] = draw(st.sampled_from(names)).encode()
        headers["x-lightwell-digest"] = draw(
            st.sampled_from([hashlib.sha256(body).hexdigest(), "0" * 64, "x", ""])
        ).encode()
    elif route.body is not None:
        valid = draw(st.sampled_from(_VALID.get(route.operation, [{"token": draw(TEXT)}])))
        kind = draw(st.integers(0, 7))
        if kind < 4:
            body = json.dumps(valid).encode()
        elif kind < 7:
            members = [*valid, *_members(route.body.type), "x"]
            changed = valid | {draw(st.sampled_from(members)): draw(JSON)}
            body = json.dumps(changed).encode("utf-8", "replace")
        else:
            body = draw(st.sampled_from([b"[" * 3000, b"{", b"\xff", b"null", b""]) | st.binary(max_size=40))
    return route.method, target, body, headers


def _members(kind: Any) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def sts_request(draw: st.DrawFn, known: Known) -> tuple[str, str, bytes]:
    """A form for STS, in the body or in the query."""
    form = {
        "Action": draw(st.sampled_from([*OPERATIONS, "GetFederationToken"])),
        "Version": VERSION,
        "RoleArn": ROLE_ARN,
        "RoleSessionName": "somebody",
        "WebIdentityToken": draw(_token(known)).decode("latin-1"),
    }
    names = [*form, "DurationSeconds", "Policy", "PolicyArns.member.1.arn", "Tags.member.1.Key", "ProviderId"]
    for name in draw(st.lists(st.sampled_from(names), max_size=3)):
        form[name] = draw(TEXT | st.sampled_from(["900", "3600", POLICY, TRUST]))
    data = urlencode(form, errors="replace").encode()
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(data)))
        data = (
            data[:place] + draw(st.sampled_from([b"&Action=x", b"%", b"%ff", b"&&=", b"\xff"])) + data[place:]
        )
    if draw(st.integers(0, 3)) == 0:
        return "GET", "/?" + quoted_form(data), b""
    return "POST", "/", data


def quoted_form(data: bytes) -> str:
    """As it may stand in a request's line."""
    return "".join(chr(byte) if 0x20 < byte < 0x7F else f"%{byte:02X}" for byte in data)


@st.composite
def bearers(draw: st.DrawFn, known: Known) -> bytes:
    """The value of an Authorization header with a token: good, damaged, forged or of another issuer."""
    scheme = draw(st.sampled_from(["Bearer ", "Bearer ", "Bearer ", "bearer ", "Bearer", "Basic ", ""]))
    return scheme.encode() + draw(_token(known))


@st.composite
def _token(draw: st.DrawFn, known: Known) -> bytes:
    good = draw(st.sampled_from(known.tokens))
    kind = draw(st.sampled_from(["good", "damaged", "forged", "foreign", "judged", "odd"]))
    if kind == "good":
        return good.encode()
    if kind == "damaged":
        place = draw(st.integers(0, len(good)))
        left_out = draw(st.integers(0, 9))
        return (
            good[:place].encode()
            + draw(st.binary(max_size=4)).translate(_IN_A_HEADER)
            + (good[place + left_out :].encode())
        )
    if kind == "forged":
        return _forged(draw, good).encode()
    header = {"alg": draw(st.sampled_from(["RS256", "HS256", "none", "ES256"])), "typ": "JWT", "kid": "a"}
    if kind == "foreign":
        issuer = draw(st.sampled_from([ISSUER, "https://sts.example.test", "lightwell", ""]))
        return jwt(header=header, iss=issuer, aud=draw(JSON), sub="ada", **{"exp": draw(_TIMES)}).encode()
    if kind == "judged":
        # What the function of the tests that stands for an authorizer does is what the token says.
        answer = draw(
            st.sampled_from([{"isTokenValid": True, "roleArn": ROLE_ARN}, {"isTokenValid": False}]) | JSON
        )
        return jwt(do=draw(st.sampled_from(["raise", "object", "show", None])), answer=answer).encode()
    return draw(
        st.sampled_from([b".", b"..", b"a.b.c", b"e30.e30.", b"A" * 9000, b"eyJhbGciOiJub25lIn0.e30."])
    )


_TIMES = st.sampled_from([4_000_000_000, 1, -1, 1e300, "x", None, [1], 10**30])
# Those that end a header's line are replaced: what they do is another matter.
_IN_A_HEADER = bytes(byte if byte not in b"\0\r\n" else 0x20 for byte in range(256))


def _forged(draw: st.DrawFn, good: str) -> str:
    """Other claims than those that were signed, with the old signature or with one of somebody else."""
    parts = good.split(".")
    if len(parts) != 3:
        return good[::-1]
    head, claims, seal = parts
    told = json.loads(base64.urlsafe_b64decode(claims + "=="))
    claims = part(told | {draw(st.sampled_from([*told, "x"])): draw(JSON | _TIMES)})
    if draw(st.booleans()):
        mac = hmac.digest(b"somebody else's key", f"{head}.{claims}".encode(), "sha256")
        seal = base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
    return f"{head}.{claims}.{seal}"


def at_a_door(draw: st.DrawFn, known: Known) -> Sent:
    """A request to the console's API or to STS, before what is done to all requests."""
    if draw(st.integers(0, 2)) == 0:
        method, target, body = sts_request(draw, known)
        service = draw(st.sampled_from([SERVICE] * 4 + ["medical-imaging"]))
        return Sent(method, target, {}, body, service=service)
    method, target, body, headers = console_request(draw, known)
    return Sent(method, target, headers, body)
