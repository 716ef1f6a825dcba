"""GetImageFrame."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import update

from lightwell.domain.image_sets.frame_table import frame_id
from lightwell.stores import Stores
from lightwell.stores.account import datastores
from lightwell.stores.db import tables
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance, BuiltSet
from tests.support.server import Reply, Server

Refused = Callable[..., str]


@pytest.fixture
def stores(server: Server) -> Iterator[Stores]:
    found = image_set_builders.open_at(server.data, server.database_url)
    yield found
    found.close()


def build(stores: Stores, datastore: str, *instances: BuiltInstance, **more: Any) -> BuiltSet:
    with stores.db.read() as conn:
        store = datastores.get(conn, datastore)
    assert store is not None
    return image_set_builders.image_set(stores, instances, store=(store.key, store.id), **more)


def read(client: Any, built: BuiltSet, frame: str) -> bytes:
    answer = client.get_image_frame(
        datastoreId=built.datastore_id,
        imageSetId=built.id,
        imageFrameInformation={"imageFrameId": frame},
    )
    content: bytes = answer["imageFrameBlob"].read()
    return content


def send(server: Server, built: BuiltSet, body: bytes, **headers: str) -> Reply:
    path = f"/datastore/{built.datastore_id}/imageSet/{built.id}/getImageFrame"
    return server.send(server.signed("POST", path, body, headers=headers))


def asked(frame: str) -> bytes:
    return json.dumps({"imageFrameId": frame}).encode()


def test_gives_the_stored_bytes_of_every_frame(client: Any, stores: Stores, datastore: str) -> None:
    frames = [b"frame %d" % number * 100 for number in range(300)]
    image = BuiltInstance("1.1", 1, frames=frames)
    built = build(stores, datastore, image, BuiltInstance("1.2", 2, frames=[b"another"]))
    for number in (0, 1, 255, 256, 299, 0):
        assert read(client, built, image.frame_id(number)) == frames[number]
    assert read(client, built, built.instances[1].frame_id()) == b"another"


def test_gives_a_large_frame_in_pieces_whole(client: Any, stores: Stores, datastore: str) -> None:
    video = bytes(range(256)) * 40_000 + b"end"
    image = BuiltInstance("1.1", 1, frames=[b"before", video, b"after"], syntax="1.2.840.10008.1.2.4.102")
    built = build(stores, datastore, image)
    assert read(client, built, image.frame_id(1)) == video


@pytest.mark.parametrize(
    ("syntax", "content_type"),
    [
        ("1.2.840.10008.1.2.1", "application/octet-stream"),
        ("1.2.840.10008.1.2.4.50", "image/jpeg"),
        ("1.2.840.10008.1.2.4.90", "image/j2c"),
        ("1.2.840.10008.1.2.4.91", "image/j2c"),
        ("1.2.840.10008.1.2.4.100", "video/mpeg"),
        ("1.2.840.10008.1.2.4.102", "video/mp4"),
        ("1.2.840.10008.1.2.4.107", "video/H256"),
        ("1.2.840.10008.1.2.4.202", "image/jph"),
        ("1.2.840.10008.1.2.4.203", "image/jphc"),
    ],
)
def test_names_the_type_of_the_stored_syntax(
    server: Server, stores: Stores, datastore: str, syntax: str, content_type: str
) -> None:
    image = BuiltInstance("1.1", 1, frames=[b"bytes"], syntax=syntax)
    built = build(stores, datastore, image)
    for accept in ("*/*", content_type, "application/octet-stream"):
        reply = send(server, built, asked(image.frame_id()), accept=accept)
        assert (reply.status, reply.headers["content-type"], reply.body) == (200, content_type, b"bytes")


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("image/*", 200),
        ("text/html, image/jph;q=0.2", 200),
        ("application/*", 200),
        ("IMAGE/JPH", 200),
        ("image/jph;q=0, */*", 406),
        ("image/jpeg", 406),
        ("application/json", 406),
        ("*/*;q=0", 406),
        ("nonsense", 406),
    ],
)
def test_weighs_the_accept_header(
    server: Server, stores: Stores, datastore: str, accept: str, status: int
) -> None:
    image = BuiltInstance("1.1", 1, frames=[b"bytes"])
    reply = send(server, build(stores, datastore, image), asked(image.frame_id()), accept=accept)
    assert reply.status == status
    if status == 406:
        assert reply.headers["x-amzn-errortype"] == "NotAcceptableException"
        assert "image/jph" in json.loads(reply.body)["message"]


def test_reads_through_any_version_and_past_growth(client: Any, stores: Stores, datastore: str) -> None:
    removed = BuiltInstance("1.1", 1, frames=[b"removed since"], to_version=2)
    built = build(stores, datastore, removed, BuiltInstance("1.2", 2, frames=[b"x"]), versions=[{}, {}])
    assert read(client, built, removed.frame_id()) == b"removed since"


def test_refuses_a_frame_of_another_set(
    client: Any, stores: Stores, datastore: str, refused: Refused
) -> None:
    image = BuiltInstance("1.1", 1, frames=[b"bytes"])
    built, other = build(stores, datastore, image), build(stores, datastore, BuiltInstance("1.2", 2))
    assert read(client, built, image.frame_id()) == b"bytes"
    message = refused("ResourceNotFoundException", read, client=client, built=other, frame=image.frame_id())
    assert image.frame_id() in message and other.id in message


def test_refuses_frames_that_are_not_there(
    client: Any, stores: Stores, datastore: str, refused: Refused
) -> None:
    image = BuiltInstance("1.1", 1, frames=[b"a", b"b"])
    broken = BuiltInstance("1.2", 2, frames=[b"broken"], split=False)
    built = build(stores, datastore, image, broken)
    for frame in (
        image.frame_id(2),
        image.frame_id(256),
        image.frame_id(2**32 - 1),
        broken.frame_id(),
        frame_id(1, 0),
        "f" * 24 + "0" * 8,
        "z" * 32,
        image.frame_id()[:-1] + "1",
    ):
        refused("ResourceNotFoundException", read, client=client, built=built, frame=frame)


def test_serves_nothing_of_a_deleted_set(
    client: Any, stores: Stores, datastore: str, refused: Refused
) -> None:
    image = BuiltInstance("1.1", 1, frames=[b"bytes"])
    built = build(stores, datastore, image)
    assert read(client, built, image.frame_id()) == b"bytes"
    table = tables.image_set
    statement = update(table).where(table.c.key == built.key).values(state="DELETED", listed_in=None)
    stores.db.write(lambda conn: conn.execute(statement))
    message = refused("ResourceNotFoundException", read, client=client, built=built, frame=image.frame_id())
    assert "deleted" in message


def test_refuses_a_set_of_another_data_store(
    client: Any, stores: Stores, datastore: str, refused: Refused
) -> None:
    image = BuiltInstance("1.1", 1, frames=[b"bytes"])
    built = build(stores, datastore, image)
    built.datastore_id = client.create_datastore()["datastoreId"]
    refused("ResourceNotFoundException", read, client=client, built=built, frame=image.frame_id())
    built.datastore_id = "0" * 32
    message = refused("ResourceNotFoundException", read, client=client, built=built, frame=image.frame_id())
    assert "Datastore" in message


def test_ignores_members_that_it_does_not_know(server: Server, stores: Stores, datastore: str) -> None:
    image = BuiltInstance("1.1", 1, frames=[b"bytes"])
    built = build(stores, datastore, image)
    body = json.dumps({"more": [1, {"imageFrameId": "x"}], "imageFrameId": image.frame_id()}, indent=2)
    assert send(server, built, body.encode()).body == b"bytes"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "ValidationException"),
        (b"{}", "ValidationException"),
        (b"[]", "ValidationException"),
        (b'{"imageFrameId": null}', "ValidationException"),
        (b'{"imageFrameId": 7}', "ValidationException"),
        (b'{"imageFrameId": "short"}', "ValidationException"),
        (b'{"imageFrameId": "%s"}' % (b"A" * 32), "ValidationException"),
        (b'{"imageFrameId": "%s\\n"}' % (b"0" * 32), "ValidationException"),
        (b'{"imageFrameId": ', "BadRequestException"),
        (b"\xff\xfe", "BadRequestException"),
        (b"[" * 5000, "BadRequestException"),
    ],
)
def test_refuses_what_is_no_request(
    server: Server, stores: Stores, datastore: str, body: bytes, error: str
) -> None:
    reply = send(server, build(stores, datastore, BuiltInstance("1.1", 1)), body)
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (400, error)


def test_refuses_ids_that_are_none(client: Any, datastore: str, refused: Refused) -> None:
    information = {"imageFrameId": frame_id(7, 0)}
    call = client.get_image_frame
    for ids in (
        {"datastoreId": "A" * 32, "imageSetId": "0" * 32},
        {"datastoreId": datastore, "imageSetId": "0" * 31},
    ):
        refused("ValidationException", call, imageFrameInformation=information, **ids)
