"""A request that is answered where it arrives, and the same one through a task: one life, one answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lightwell import app
from lightwell.auth.principals import ensure_root
from lightwell.auth.secret_box import create_secret_key, open_secret_box
from lightwell.clock import Clock
from lightwell.settings import load
from lightwell.web.gateway import Gateway
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance, BuiltSet
from tests.unit.web.http1.test_response_cycle import Wire, connect

FRAME = bytes(range(256)) * 1000
_OWN = re.compile(rb"(x-amzn-requestid: )[0-9a-f-]{36}\r\n")


@pytest.fixture
def gateway(tmp_path: Path, migrated_sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    create_secret_key(tmp_path)
    # What is known stays known, however long a request takes.
    now = Clock().now()
    monkeypatch.setattr(Clock, "now", lambda self: now)
    made = app.build(load({"data": tmp_path, "database_url": migrated_sqlite_url}, environ={}))
    yield made
    app.close(made)


@pytest.fixture
def key(gateway: Gateway, tmp_path: Path) -> Credentials:
    root, _ = ensure_root(gateway.state.stores.db, open_secret_box(None, tmp_path), None, 1)
    return Credentials(root.access_key_id, root.secret_access_key)


@pytest.fixture
def built(gateway: Gateway) -> tuple[BuiltSet, str]:
    """A set with one frame, and the frame's id."""
    image = BuiltInstance("1.1", 1, frames=[FRAME])
    return image_set_builders.image_set(gateway.state.stores, [image]), image.frame_id()


def signed(key: Credentials, path: str, body: bytes, **headers: str) -> bytes:
    """A POST as it goes over the wire."""
    request = AWSRequest(
        "POST", f"http://localhost{path}", data=body, headers={"host": "localhost", **headers}
    )
    SigV4Auth(key, "medical-imaging", "us-east-1").add_auth(request)
    lines = [f"{name}: {value}\r\n".encode() for name, value in request.headers.items()]
    length = b"content-length: %d\r\n\r\n" % len(body)
    return b"POST %s HTTP/1.1\r\n%s%s%s" % (path.encode(), b"".join(lines), length, body)


def ask(gateway: Gateway, *received: bytes) -> tuple[bytes, bool]:
    """The answer without what is its own alone, and whether it took a task."""

    async def main() -> tuple[bytes, bool]:
        wire = Wire()
        protocol = connect(gateway, wire)
        for data in received:
            protocol.data_received(data)
        tasks = list(protocol.tasks)
        if tasks:
            await asyncio.wait(tasks)
        protocol.connection_lost(None)
        return _OWN.sub(rb"\1-\r\n", wire.bytes), bool(tasks)

    return asyncio.run(main())


def counted(gateway: Gateway, work: Callable[[], object]) -> list[str]:
    """The lines of the metrics that changed, by how much, but for how long it took."""

    def numbers() -> dict[str, float]:
        lines = gateway.state.recorder.meter.render([]).decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs if "_seconds_" not in name}

    before = numbers()
    work()
    return sorted(
        f"{name} {value - before.get(name, 0):g}"
        for name, value in numbers().items()
        if value != before.get(name, 0)
    )


def requests(key: Credentials, built: tuple[BuiltSet, str]) -> dict[str, bytes]:
    found, frame = built
    base = f"/datastore/{found.datastore_id}/imageSet/{found.id}"
    body = b'{"imageFrameId":"%s"}' % frame.encode()
    other = Credentials(key.access_key, "another secret")
    unknown = body.replace(frame.encode(), b"0" * 32)
    return {
        "frame": signed(key, f"{base}/getImageFrame", body),
        "page": signed(key, f"{base}/getImageFrame", body, origin="https://viewer.example"),
        "refused type": signed(key, f"{base}/getImageFrame", body, accept="image/png"),
        "no frame": signed(key, f"{base}/getImageFrame", unknown),
        "wrong signature": signed(other, f"{base}/getImageFrame", body),
        "other body": signed(key, f"{base}/getImageFrame", body).replace(body, unknown),
    }


@pytest.mark.parametrize(
    "name", ["frame", "page", "refused type", "no frame", "wrong signature", "other body"]
)
def test_answers_and_counts_alike_with_and_without_a_task(
    gateway: Gateway, key: Credentials, built: tuple[BuiltSet, str], name: str
) -> None:
    request = requests(key, built)[name]
    answers: list[tuple[bytes, bool]] = []

    def once(*received: bytes) -> None:
        answers.append(ask(gateway, *received))

    # The key is looked up in a thread once, then known; and a body that comes late is waited for.
    slow = counted(gateway, lambda: once(request))
    fast = counted(gateway, lambda: once(request))
    late = counted(gateway, lambda: once(request[:-1], request[-1:]))
    assert [tasked for _, tasked in answers] == [True, False, True]
    assert len({answer for answer, _ in answers}) == 1
    assert slow == fast == late
    status = {"frame": 200, "page": 200, "refused type": 406, "no frame": 404}.get(name, 403)
    assert answers[0][0].startswith(b"HTTP/1.1 %d " % status)
    assert (answers[0][0].endswith(FRAME)) == (status == 200)


def test_answers_alike_whether_a_document_is_in_memory_or_not(
    gateway: Gateway, key: Credentials, built: tuple[BuiltSet, str]
) -> None:
    found = built[0]
    path = f"/datastore/{found.datastore_id}/imageSet/{found.id}/getImageSetMetadata"
    request = signed(key, path, b"")
    answers: list[tuple[bytes, bool]] = []
    counts = [counted(gateway, lambda: answers.append(ask(gateway, request))) for _ in range(3)]
    assert [tasked for _, tasked in answers] == [True, False, False]
    assert len({answer for answer, _ in answers}) == 1 and answers[0][0].startswith(b"HTTP/1.1 200 ")
    assert counts[0] == counts[1] == counts[2]


def test_looks_up_the_set_of_a_known_caller_on_every_request(
    gateway: Gateway, key: Credentials, built: tuple[BuiltSet, str]
) -> None:
    request = requests(key, built)["frame"]
    for _ in range(2):
        assert ask(gateway, request)[0].startswith(b"HTTP/1.1 200 ")
    gateway.state.stores.db.write(
        lambda conn: conn.exec_driver_sql("UPDATE image_set SET state = 'DELETED'").close()
    )
    assert ask(gateway, request)[0].startswith(b"HTTP/1.1 404 ")
