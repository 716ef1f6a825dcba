"""The same frames from PostgreSQL and S3 as from SQLite and a folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dicomweb.levels.conftest import filled
from tests.dicomweb.levels.packed import Record, frames
from tests.dicomweb.levels.test_levels import image_set, native, series_frames
from tests.dicomweb.levels.test_versions_and_rights import native_frame
from tests.dicomweb.support.stored_files import StoredFiles
from tests.support import services
from tests.support.server import running
from tests.support.services import S3, new_bucket


@pytest.fixture(scope="module")
def far(
    postgres_server: str, s3_server: S3, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoredFiles]:
    variables = {
        **s3_server.environment,
        "LIGHTWELL_STORAGE_URL": f"s3://{new_bucket(s3_server)}/objects",
        "LIGHTWELL_STORAGE_ENDPOINT_URL": s3_server.url,
    }
    data = tmp_path_factory.mktemp("far-levels") / "data"
    with (
        services.new_database(postgres_server) as url,
        running(data, database_url=url, env=variables) as server,
    ):
        yield filled(server)


def bare(found: list[Record]) -> list[tuple[object, ...]]:
    """What does not depend on the data store."""
    names = ("position", "instance", "frame", "syntax", "level", "width", "height", "reduce", "levels")
    return [(*(each.described.get(name) for name in names), each.body) for each in found]


def test_gives_the_same_from_postgresql_and_s3(far: StoredFiles, series: StoredFiles) -> None:
    for query in ("level=0", "level=2&first=middle", "level=1&frames=2-6&uncut=omit", ""):
        here, there = (frames(series_frames(each, query).body) for each in (series, far))
        assert bare(there) == bare(here), query
    for level in (0, 1):
        path = f"{far.instance('s3')}/frames/1?level={level}"
        assert far.get(path, "image/jphc").body == series.get(path, "image/jphc").body
    id = frames(native(far, level=0).body)[4].described["id"]
    assert len(frames(native(far, level=0, imageFrameIds=[id]).body)) == 1
    assert native(far, level=0, imageFrameIds=["0" * 32]).status == 404
    assert native_frame(far, range="bytes=100-900").body == native_frame(series).body[100:901]
    # Frames of another version of the set.
    assert far.get(far.instance("s4"), method="DELETE").status == 204
    assert len(frames(native(far).body)) == 7
    assert bare(frames(native(far, versionId="1", level=1).body)) == bare(
        frames(native(series, level=1).body)
    )
    far.server.client().delete_image_set(datastoreId=far.datastore, imageSetId=image_set(far))
    assert series_frames(far, "level=0").status == 404
