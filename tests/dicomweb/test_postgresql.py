"""Retrieval on PostgreSQL, whose look-ups are statements of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dicomweb.support.sample_datastore import EXPLICIT, FRAMES, SampleDatastore, fill, parts
from tests.support import services
from tests.support.server import running


@pytest.fixture(scope="module")
def there(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleDatastore]:
    data = tmp_path_factory.mktemp("postgresql") / "data"
    with services.new_database(postgres_server) as url, running(data, database_url=url) as server:
        yield fill(server)


def test_retrieves_and_deletes(there: SampleDatastore) -> None:
    (part,) = parts(there.get(there.instance("ct1") + "/frames/1", FRAMES + EXPLICIT))
    assert part.body == there.files["ct1"].PixelData
    other = f"{there.instance('other')}/frames/1"
    assert there.get(other, FRAMES + "*").status == 404
    assert there.get(f"{other}?imageSetId={there.non_primary}", FRAMES + "*").status == 200
    assert there.get(there.series("ct1") + "/instances/1%00/frames/1", FRAMES + "*").status == 400
    assert len(parts(there.get(there.series("ct1")))) == 3
    assert there.get(there.instance("ct1"), method="DELETE").status == 204
    assert len(parts(there.get(there.series("ct1")))) == 2
    assert there.get(there.study("ct1"), method="DELETE").status == 204
    assert there.get(there.study("ct1")).status == 404


def test_refuses_ids_that_the_database_cannot_be_asked_for(there: SampleDatastore) -> None:
    body = b'{"imageFrameId":"%s"}' % (b"0" * 32)
    for path in (f"/datastore/{'0' * 32}/imageSet/%00", f"/datastore/a%00b/imageSet/{'0' * 32}"):
        for operation in ("getImageFrame", "getImageSetMetadata", "getImageSet"):
            reply = there.server.send(there.server.signed("POST", f"{path}/{operation}", body))
            assert (reply.status, reply.headers["x-amzn-errortype"]) == (400, "ValidationException")
