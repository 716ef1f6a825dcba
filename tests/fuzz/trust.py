"""Targets: what proves who somebody is, what says what they may do, and what a codec worker answers."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator

import msgspec

from lightwell.auth import sigv4
from lightwell.auth.bearer_token import is_bearer, is_viewer_token, read_token
from lightwell.auth.policies import policy, validation
from lightwell.auth.sigv4_canonical import canonical_path, canonical_queries
from lightwell.codec_pool import messages
from lightwell.codec_pool.answers.forged import ForgedAnswerError
from lightwell.codec_pool.far_storage import messages as far_messages
from lightwell.codec_pool.messages import ChunkRead, FileRead, FileStarted, FromWorker, InspectInput, Perform
from lightwell.codec_pool.requests import Ping, Pong
from lightwell.domain.imports.jobs import InputFile, pack_files
from lightwell.errors import ApiError, AuthenticationError, ConfigurationError
from lightwell.framing import MessageBuffer, MessageTooLongError, NotAMessageError, decoded, frame
from tests.fuzz.target import Target
from tests.unit.codec_pool import test_admission as answers

_NOW = 1767225600  # 2026-01-01 00:00:00
_DATE = (b"x-amz-date", b"20260101T000000Z")


def signatures(data: bytes) -> None:
    """Whatever was not signed with the secret is refused, in a header and in a query."""
    value, _, query = data.partition(b"\n")
    for pairs in ([(b"host", b"h"), (b"authorization", value), _DATE], [(b"host", b"h"), _DATE]):
        request = sigv4.SignedRequest("GET", b"/" + query[:50].split(b"?")[0], query, pairs)
        try:
            found = sigv4.read_signature(request)
            sigv4.verify(found, request, "secret", lambda: "e3" * 32, _NOW)
        except AuthenticationError:
            continue
        raise AssertionError(f"a signature that nobody made is taken: {data!r}")
    list(canonical_queries(query, False, form=True))
    list(canonical_queries(query, True))
    canonical_path(b"/" + query)


def _signature_seeds() -> Iterator[bytes]:
    scope = b"AKIAEXAMPLE/20260101/us-east-1/medical-imaging/aws4_request"
    yield b"AWS4-HMAC-SHA256 Credential=" + scope + b", SignedHeaders=host;x-amz-date, Signature=" + b"0" * 64
    credential = scope.replace(b"/", b"%2F")
    yield (
        b"\nX-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + credential + b"&X-Amz-Date=20260101T000000Z"
        b"&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature=" + b"0" * 64
    )
    yield b"\na=%20b+c&d&=e&a=%C3%A9"


def tokens(data: bytes) -> None:
    """Bearer tokens. The bytes are a header's value, or behind a 0 the claims of a token made here."""
    if data[:1] == b"\0":
        head = base64.urlsafe_b64encode(b'{"alg":"RS256","typ":"JWT"}').rstrip(b"=")
        data = b"Bearer " + head + b"." + base64.urlsafe_b64encode(data[1:]).rstrip(b"=") + b".AAAA"
    is_bearer(data)
    is_viewer_token(data)
    for tells in (False, True):
        try:
            found = read_token([(b"authorization", data)], _NOW * 1000, 30, tell_expired=tells)
        except ApiError:
            continue
        assert found.expires_at > _NOW - 31 and found.session


def _token_seeds() -> Iterator[bytes]:
    claims = {"exp": _NOW + 600, "iat": _NOW - 5, "nbf": _NOW - 5, "sub": "somebody"}
    yield b"\0" + json.dumps(claims).encode()
    yield b"\0" + json.dumps(claims | {"sub": ["a"], "exp": 1e300}).encode()
    yield b"Bearer eyJhbGciOiJub25lIn0.e30."


_ACTION = "medical-imaging:GetImageSet"
_RESOURCE = "arn:aws:medical-imaging:us-east-1:000000000000:datastore/a/imageset/b"
_CONTEXT = {"aws:PrincipalArn": "arn:aws:iam::000000000000:user/x", "aws:SourceIp": "192.0.2.1"}


def policies(data: bytes) -> None:
    """Policies of all kinds: refused, or decided by; and Deny of everything wins over whatever is added."""
    text = data.decode("utf-8", "replace")
    for check in (
        validation.check_identity_policy,
        validation.check_trust_policy,
        validation.check_session_policy,
    ):
        with contextlib.suppress(ConfigurationError):
            check(text)
    try:
        validation.check_identity_policy(text)
        may = policy.permissions((text,), {})
    except ConfigurationError:
        return
    may.keys(_ACTION)
    may.needs_tags(_ACTION)
    for below in (False, True):
        may.decide(_ACTION, _RESOURCE, _CONTEXT, below=below)
    assert not policy.permissions((text, _DENY), {}).decide(_ACTION, _RESOURCE, _CONTEXT).allowed


_DENY = '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}'


def _policy_seeds() -> Iterator[bytes]:
    statement = {
        "Sid": "A",
        "Effect": "Allow",
        "Action": ["medical-imaging:Get*", "medical-imaging:SearchImageSets"],
        "Resource": "arn:aws:medical-imaging:*:*:datastore/${aws:username}/*",
        "Condition": {
            "StringLike": {"aws:ResourceTag/a": ["b*", "c"]},
            "IpAddress": {"aws:SourceIp": "192.0.2.0/24"},
            "DateLessThanIfExists": {"aws:CurrentTime": "2030-01-01T00:00:00Z"},
            "Bool": {"aws:SecureTransport": "true"},
        },
    }
    yield json.dumps({"Version": "2012-10-17", "Id": "x", "Statement": [statement]}).encode()
    yield json.dumps({"Statement": {"Effect": "Deny", "NotAction": "sts:*", "NotResource": ["*"]}}).encode()
    principal = {"AWS": ["000000000000", "arn:aws:iam::000000000000:user/a"]}
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    yield json.dumps({"Version": "2012-10-17", "Statement": [trust]}).encode()


_decoder: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
_far_decoders = [
    msgspec.msgpack.Decoder(far_messages.FromWorker),
    msgspec.msgpack.Decoder(far_messages.ToWorker),
]


def worker_answers(data: bytes) -> None:
    """What a codec worker says, framed: not a message, refused as forged, or admitted; nothing else."""
    buffer = MessageBuffer(1 << 20)
    buffer.feed(data)
    admission = answers.admission(
        answers.chunk(5, 3, 4), Perform(7, Ping()), InspectInput(8, "zip", b"/a.zip", "", False)
    )
    try:
        while (message := buffer.next()) is not None:
            for far in _far_decoders:
                with contextlib.suppress(NotAMessageError):
                    decoded(far.decode, message)
            try:
                admission.admit(decoded(_decoder.decode, message))
            except NotAMessageError:
                return
    except (ForgedAnswerError, MessageTooLongError):
        pass


def _answer_seeds() -> Iterator[bytes]:
    encode = msgspec.msgpack.Encoder().encode
    told: list[FromWorker] = [
        FileStarted(5, 3),
        FileRead(5, answers.RECORD),
        FileStarted(5, 4),
        messages.FindExisting(5, "1", "2", "3", ["4"]),
    ]
    yield b"".join(frame(encode(one)) for one in told)
    yield frame(encode(messages.Performed(7, Pong(1)))) + frame(encode(ChunkRead(5, answers.GIVEN)))
    yield frame(encode(messages.InputInspected(8, members=[("a", 5, 0)])))
    yield frame(encode(far_messages.Answer(1, b"abc"))) + frame(encode(far_messages.ReadPack(1, "2", 3, 4)))
    yield frame(b"\x81\xa4\xff\xff\xff\xff\xa1a")  # no UTF-8, and below: nested without end
    yield frame(b"\x82\xa4type\xaaConfigured\xa1a" + b"\x91" * 5000 + b"\x90")
    yield pack_files([InputFile(3, "a.dcm", None, 1)])


TRUST = {
    "signatures": Target(signatures, _signature_seeds),
    "tokens": Target(tokens, _token_seeds),
    "policies": Target(policies, _policy_seeds),
    "workers": Target(worker_answers, _answer_seeds),
}
