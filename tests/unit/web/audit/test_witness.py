"""What is on record of requests for frames and metadata, allowed and refused, whole and in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.credentials import Credentials

from lightwell.auth.policies.policy import digest
from lightwell.auth.principals import create_key, ensure_root
from lightwell.auth.secret_box import SecretBox, create_secret_key, open_secret_box
from lightwell.observe.audit.record import AuditRecord
from lightwell.observe.audit.trail import TrailOptions
from lightwell.operations import get_image_frame
from lightwell.settings import Settings, load
from lightwell.web.audit import unproved, witness
from lightwell.web.aws_json import get_image_frame as web_get_image_frame
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance, BuiltSet
from tests.unit.web.audit.audited import Audited, ask, audited, signed

FRAME = bytes(range(256)) * 1000
ROOT = "arn:aws:iam::000000000000:root"
DENIED = "AccessDeniedException"
AS_STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
Members = dict[str, Any]


@pytest.fixture
def settings(tmp_path: Path, migrated_sqlite_url: str) -> Settings:
    create_secret_key(tmp_path)
    return load({"data": tmp_path, "database_url": migrated_sqlite_url}, environ={})


@pytest.fixture
def trail(settings: Settings) -> Iterator[Audited]:
    with audited(settings) as made:
        yield made


@pytest.fixture
def box(settings: Settings) -> SecretBox:
    return open_secret_box(None, settings.data)


@pytest.fixture
def root(trail: Audited, box: SecretBox) -> Credentials:
    made, _ = ensure_root(trail.gateway.state.stores.db, box, None, 1)
    return Credentials(made.access_key_id, made.secret_access_key)


@pytest.fixture
def image() -> BuiltInstance:
    return BuiltInstance("1.1", 1, frames=[FRAME])


@pytest.fixture
def built(trail: Audited, image: BuiltInstance) -> BuiltSet:
    return image_set_builders.image_set(trail.gateway.state.stores, [image], patient={"PatientID": "P-7"})


def user(trail: Audited, box: SecretBox, name: str, policy: str) -> Credentials:
    made = create_key(trail.gateway.state.stores.db, box, name, 1, [policy])
    return Credentials(made.access_key_id, made.secret_access_key)


def native(built: BuiltSet, operation: str) -> str:
    return f"/datastore/{built.datastore_id}/imageSet/{built.id}/{operation}"


def of_frame(image: BuiltInstance) -> bytes:
    return b'{"imageFrameId":"%s"}' % image.frame_id().encode()


def frames_url(built: BuiltSet, numbers: str = "1") -> str:
    study, series = f"1.2.3.{built.key}", f"1.2.4.{built.key}"
    return f"/datastore/{built.datastore_id}/studies/{study}/series/{series}/instances/1.1/frames/{numbers}"


def members(record: AuditRecord, *names: str) -> Members:
    return {name: getattr(record, name) for name in names}


def whom(built: BuiltSet) -> Members:
    return {
        "store": built.datastore_id,
        "image_set": built.id,
        "patient": "P-7",
        "study": f"1.2.3.{built.key}",
        "series": f"1.2.4.{built.key}",
    }


def test_a_frame_is_on_record_with_who_read_what_of_whom(
    trail: Audited, root: Credentials, built: BuiltSet, image: BuiltInstance
) -> None:
    before = trail.gateway.state.clock.now()
    scope = signed(
        root, "POST", native(built, "getImageFrame"), of_frame(image), user_agent="viewer/1 " + "x" * 300
    )
    answer = ask(trail.gateway, scope)
    assert (answer.status, answer.body) == (200, FRAME)
    (record,) = trail.after(answer)
    assert before <= record.at <= trail.gateway.state.clock.now()
    given = dict(answer.sent[0]["headers"])
    assert record.id == given[b"x-amzn-requestid"].decode()
    assert members(record, "who", "key", "by", "policy") == {
        "who": ROOT, "key": root.access_key, "by": "root", "policy": None,
    }  # fmt: skip
    assert members(record, "via", "operation", "kind", "status", "error", "sent", "phase") == {
        "via": "api", "operation": "GetImageFrame", "kind": "read", "status": 200, "error": None,
        "sent": len(FRAME), "phase": None,
    }  # fmt: skip
    assert members(record, *whom(built)) == whom(built)
    assert record.items == (image.frame_id(),)
    assert record.address == "192.0.2.7"
    assert record.agent == ("viewer/1 " + "x" * 300)[:200]


def test_metadata_is_on_record_whether_it_is_in_memory_or_not(
    trail: Audited, root: Credentials, built: BuiltSet
) -> None:
    for _ in range(2):
        answer = ask(trail.gateway, signed(root, "POST", native(built, "getImageSetMetadata")))
        (record,) = trail.after(answer)
        assert answer.status == 200
        assert members(record, *whom(built)) == whom(built)
        assert members(record, "operation", "kind") == {"operation": "GetImageSetMetadata", "kind": "read"}


def test_dicomweb_frames_are_on_record(trail: Audited, root: Credentials, built: BuiltSet) -> None:
    url = frames_url(built)
    answer = ask(trail.gateway, signed(root, "GET", url, accept=AS_STORED))
    (record,) = trail.after(answer)
    assert (answer.status, record.status) == (200, 200)
    assert members(record, *whom(built)) == whom(built)
    assert members(record, "via", "operation", "kind", "instance", "items", "by") == {
        "via": "dicomweb", "operation": "GetDICOMInstanceFrames", "kind": "read", "instance": "1.1",
        "items": ("1",), "by": "root",
    }  # fmt: skip


def test_what_is_not_modified_and_heads_are_reads_too(
    trail: Audited, root: Credentials, built: BuiltSet
) -> None:
    answer = ask(trail.gateway, signed(root, "GET", frames_url(built), accept=AS_STORED))
    tag = dict(answer.sent[0]["headers"])[b"etag"].decode()
    trail.after(answer)
    answer = ask(trail.gateway, signed(root, "GET", frames_url(built), if_none_match=tag, accept=AS_STORED))
    (record,) = trail.after(answer)
    assert (answer.status, record.status, record.patient) == (304, 304, "P-7")
    answer = ask(trail.gateway, signed(root, "HEAD", frames_url(built), accept=AS_STORED))
    (record,) = trail.after(answer)
    assert (record.status, record.patient, record.phase) == (200, "P-7", None)


@pytest.mark.parametrize("leaves_after", [None, 1])
def test_what_is_sent_in_pieces_is_on_record_before_and_after(
    trail: Audited,
    root: Credentials,
    built: BuiltSet,
    image: BuiltInstance,
    monkeypatch: pytest.MonkeyPatch,
    leaves_after: int | None,
) -> None:
    monkeypatch.setattr(web_get_image_frame, "LARGE", 1 << 16)
    monkeypatch.setattr(web_get_image_frame, "PIECE", 1 << 16)
    scope = signed(root, "POST", native(built, "getImageFrame"), of_frame(image))
    answer = ask(trail.gateway, scope, leaves_after=leaves_after)
    begun, ended = trail.after(answer)
    for record in (begun, ended):
        assert members(record, *whom(built)) == whom(built)
        assert record.items == (image.frame_id(),)
    sent = len(FRAME) if leaves_after is None else 1 << 16
    assert members(begun, "phase", "sent", "is_cut") == {"phase": "begun", "sent": None, "is_cut": False}
    assert members(ended, "phase", "sent", "is_cut") == {
        "phase": "ended", "sent": sent, "is_cut": leaves_after is not None,
    }  # fmt: skip
    assert len(FRAME) < get_image_frame.LARGE


def test_a_refusal_names_the_statement_and_an_allowed_request_too(
    trail: Audited, box: SecretBox, built: BuiltSet, image: BuiltInstance
) -> None:
    policy = json.dumps({
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "Look", "Effect": "Allow", "Action": "medical-imaging:GetImageFrame", "Resource": "*"},
            {"Sid": "Never", "Effect": "Deny", "Action": "medical-imaging:GetImageSet*", "Resource": "*"},
        ],
    })  # fmt: skip
    bob = user(trail, box, "bob", policy)
    asked = {
        "getImageFrame": (200, None, "statement 1 (Look) of policy", digest(policy)),
        "getImageSetMetadata": (403, DENIED, "statement 2 (Never) of policy", digest(policy)),
        "deleteImageSet": (403, DENIED, "no statement of the identity policies", None),
    }
    for operation, (status, error, statement, of_policy) in asked.items():
        body = of_frame(image) if operation == "getImageFrame" else b""
        answer = ask(trail.gateway, signed(bob, "POST", native(built, operation), body))
        (record,) = trail.after(answer)
        assert (answer.status, record.status, record.error) == (status, status, error)
        assert (record.by, record.policy) == (statement, of_policy)
        assert record.who == "arn:aws:iam::000000000000:user/bob"
        assert (record.store, record.image_set) == (built.datastore_id, built.id)


def test_what_there_is_not_is_on_record_as_it_was_asked_for(
    trail: Audited, root: Credentials, built: BuiltSet
) -> None:
    body = b'{"imageFrameId":"%s"}' % (b"0" * 32)
    answer = ask(trail.gateway, signed(root, "POST", native(built, "getImageFrame"), body))
    (record,) = trail.after(answer)
    assert (record.status, record.error) == (404, "ResourceNotFoundException")
    assert (record.store, record.image_set, record.patient) == (built.datastore_id, built.id, None)
    answer = ask(trail.gateway, signed(root, "GET", "/nothing/of/that/kind"))
    (record,) = trail.after(answer)
    assert (record.operation, record.kind, record.who) == ("Unknown", "system", ROOT)


def test_whoever_is_not_proved_is_counted_and_named_by_no_arn(
    trail: Audited, root: Credentials, built: BuiltSet, image: BuiltInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unproved, "MOST_ROWS", 3)
    url, body = native(built, "getImageFrame"), of_frame(image)
    liar = Credentials(root.access_key, "not the secret")
    for _ in range(5):
        assert ask(trail.gateway, signed(liar, "POST", url, body)).status == 403
    assert ask(trail.gateway, signed(None, "POST", url, body)).status == 403
    for number in range(20):
        nobody = Credentials(f"AKLW{number:016}", "x")
        assert ask(trail.gateway, signed(nobody, "POST", url, body)).status == 403
    # The hash of a body is part of what is signed.
    other = signed(root, "POST", url, body) | {"body": body.replace(b"0", b"1")}
    assert ask(trail.gateway, other).status == 403
    records = trail.after()
    assert {(each.kind, each.who, each.key, each.patient) for each in records} == {
        ("security", None, None, None)
    }
    assert sum(each.count for each in records) == 27
    # One each for the wrong secret, no signature and an unknown key, and one for the rest.
    assert len(records) == 4
    first, *_, rest = records
    assert (first.claimed, first.error, first.count) == (root.access_key, "InvalidSignatureException", 6)
    assert first.operation == "GetImageFrame"  # what they have asked for, if it was not for them
    assert first.until >= first.at and first.address == "192.0.2.7"
    assert (rest.operation, rest.claimed, rest.address, rest.count) == ("RefusedRequests", None, None, 19)


def test_a_refused_proof_says_what_was_asked_for(trail: Audited, root: Credentials, built: BuiltSet) -> None:
    liar = Credentials(root.access_key, "not the secret")
    asked = {
        ("POST", native(built, "getImageFrames")): "GetImageFrame",
        ("POST", native(built, "deleteImageSet")): "DeleteImageSet",
        ("GET", f"/datastore/{built.datastore_id}"): "GetDatastore",
        ("GET", frames_url(built)): "GetDICOMInstanceFrames",
        ("GET", "/console/api/keys"): "ConsoleListKeys",
        ("GET", "/nothing/of/that/kind"): "Unknown",
        ("POST", "/datastore/%FF/imageSet/%FF/getImageFrames"): "GetImageFrame",
        ("POST", "/datastore/1/series/1/getImageFrames"): "Unknown",
    }
    for (method, url), operation in asked.items():
        assert ask(trail.gateway, signed(liar, method, url)).status == 403, url
        assert ask(trail.gateway, signed(liar, method, url)).status == 403, url
        (record,) = trail.after()
        assert (record.operation, record.kind, record.count) == (operation, "security", 2), url
    for method, url in asked:  # each is counted by itself
        ask(trail.gateway, signed(liar, method, url))
    assert len(trail.after()) == len(set(asked.values()))


def test_nothing_is_read_while_the_trail_cannot_be_written(
    trail: Audited, root: Credentials, built: BuiltSet, image: BuiltInstance
) -> None:
    scope = signed(root, "POST", native(built, "getImageFrame"), of_frame(image))
    trail.chain.is_broken = True
    assert ask(trail.gateway, scope).status == 200  # nobody knows it yet
    with pytest.raises(Exception, match="audit trail"):
        trail.trail.flush()
    answer = ask(trail.gateway, scope)
    assert (answer.status, FRAME in answer.body) == (503, False)
    assert b"audit trail" in answer.body
    assert dict(answer.sent[0]["headers"])[b"retry-after"]
    # What needs no record goes on.
    assert ask(trail.gateway, signed(None, "GET", "/healthz")).status == 200


def test_with_audit_sync_no_frame_is_sent_before_its_record_is_on_the_disk(
    settings: Settings, box: SecretBox, image: BuiltInstance
) -> None:
    with audited(settings, TrailOptions(is_sync=True)) as trail:
        stores = trail.gateway.state.stores
        built = image_set_builders.image_set(stores, [image])
        made, _ = ensure_root(stores.db, box, None, 1)
        root = Credentials(made.access_key_id, made.secret_access_key)
        scope = signed(root, "POST", native(built, "getImageFrame"), of_frame(image))
        for number in range(1, 4):
            assert ask(trail.gateway, scope).status == 200
            assert trail.chain.synced == number
        trail.chain.is_broken = True
        answer = ask(trail.gateway, scope)
        assert (answer.status, FRAME in answer.body) == (503, False)
        trail.chain.is_broken = False


def test_what_is_made_fast_for_frames_says_the_same_as_what_is_made_for_all(
    trail: Audited, root: Credentials, built: BuiltSet, image: BuiltInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> list[AuditRecord]:
        scopes = (
            signed(root, "POST", native(built, "getImageFrame"), of_frame(image), user_agent="a"),
            signed(root, "GET", frames_url(built), accept=AS_STORED),
            signed(root, "POST", native(built, "getImageSetMetadata")),
        )
        return [record for scope in scopes for record in trail.after(ask(trail.gateway, scope))]

    asked()
    fast = asked()
    monkeypatch.setattr(witness, "_SHORT_PATH", 0)
    slow = asked()
    for one, other in zip(fast, slow, strict=True):
        # Its own are the moment and the id of the request.
        assert msgspec.structs.replace(other, at=one.at, id=one.id) == one
