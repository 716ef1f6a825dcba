"""Frames from S3 by a running server of two HTTP processes: cached, shared, damaged, away, erased."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.dicomweb.levels import packed
from tests.dicomweb.support.sample_datastore import EXPLICIT, FRAMES, SampleDatastore, fill, parts
from tests.dicomweb.support.uploads import Store
from tests.support.ct_files import ct
from tests.support.server import Server, environment, running
from tests.support.services import S3, new_bucket
from tests.support.tcp_proxies import FaultyProxy

ONES = ("ct1", "frames", "colour", "large")


@pytest.fixture(scope="module")
def way(s3_server: S3) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(s3_server.url)
    yield proxy
    proxy.end()


@pytest.fixture(scope="module")
def variables(s3_server: S3, way: FaultyProxy) -> dict[str, str]:
    return {
        **s3_server.environment,
        "LIGHTWELL_STORAGE_URL": f"s3://{new_bucket(s3_server)}/objects",
        "LIGHTWELL_STORAGE_ENDPOINT_URL": way.url,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s3-cache") / "data"


@pytest.fixture(scope="module")
def sample(data: Path, variables: dict[str, str]) -> Iterator[SampleDatastore]:
    """Left by a first server, so that nothing is cached by those of the tests."""
    with running(data, env=variables) as server:
        filled = fill(server)
    yield filled


def frames(sample: SampleDatastore, server: Server, names: tuple[str, ...] = ONES) -> list[bytes]:
    """The first frame of each, as stored, or the status of the answer."""
    sample.server = server
    replies = [sample.get(sample.instance(name) + "/frames/1", FRAMES + "*") for name in names]
    return [parts(reply)[0].body if reply.status == 200 else b"%d" % reply.status for reply in replies]


def gets(way: FaultyProxy) -> int:
    return sum(method == "GET" and ".pack" in path for method, path in way.requests)


def repeated(server: Server) -> int:
    """GETs of the server beyond one a range: it sends one again of which it has heard nothing for a while."""
    metrics = server.call("GET", "/metrics").body.decode()
    counted = re.findall(r'lightwell_storage_gets_total{outcome="(?:hedged|failed)"} (\d+)', metrics)
    return sum(map(int, counted))


def test_fetches_once_for_two_processes_and_keeps_it(
    sample: SampleDatastore, data: Path, variables: dict[str, str], way: FaultyProxy, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    env = {**variables, "LIGHTWELL_STORAGE_CACHE_DIR": str(cache)}
    with running(data, env=env, workers=2) as server:
        way.requests.clear()
        way.delay = 0.1
        with ThreadPoolExecutor(16) as threads:
            found = list(threads.map(lambda _: frames(sample, server), range(16)))
        way.delay = 0
        assert found == [found[0]] * 16 and all(len(frame) > 100 for frame in found[0])
        fetched = gets(way) - repeated(server)
        assert gets(way) >= 1 and fetched <= len(ONES), way.requests  # one a pack
        reply = sample.get(sample.instance("ct1") + "/frames/1", FRAMES + EXPLICIT)
        assert parts(reply)[0].body == sample.files["ct1"].PixelData
        series = sample.series("ct1") + "/frames"
        small = packed.frames(sample.get(f"{series}?level=0", "application/vnd.lightwell.frames").body)
        whole = packed.frames(sample.get(series, "application/vnd.lightwell.frames").body)
        assert [each.described["level"] for each in small] == [0, 0, 0] and whole[0].body == found[0][0]
        for each, of in zip(small, whole, strict=True):
            assert of.body.startswith(each.body[:-2]) and len(each.body) < len(of.body)
        (cut,) = parts(sample.get(sample.instance("ct1") + "/frames/1?level=0"))
        assert cut.body == small[0].body
        assert gets(way) - repeated(server) == fetched
        metrics = server.call("GET", "/metrics").body.decode()
        counted = {
            value: int(number)
            for value, number in re.findall(r'lightwell_storage_reads_total{from="(\w+)"} (\d+)', metrics)
        }
        assert sum(counted.values()) >= 65 and counted["warm"] > 0 and counted["s3"] >= fetched
    assert list(cache.rglob("*.pack"))

    # The next server finds it on the disk; what has been damaged there meanwhile is fetched again.
    for path in cache.rglob("*.pack/0"):
        with path.open("r+b") as file:
            file.seek(50)
            file.write(b"\xff" * 50)
    with running(data, env=env, workers=2) as server:
        way.requests.clear()
        assert frames(sample, server) == found[0]
        assert gets(way) >= 1 and gets(way) - repeated(server) <= 6
        way.requests.clear()
        assert frames(sample, server) == found[0] == frames(sample, server)
        assert gets(way) == 0


def test_while_s3_is_away_serves_what_it_has_and_refuses_the_rest_at_once(
    sample: SampleDatastore, data: Path, variables: dict[str, str], way: FaultyProxy
) -> None:
    with running(data, env={**variables, "LIGHTWELL_STORAGE_CACHE_DIR": str(data / "other")}) as server:
        (frame,) = frames(sample, server, ("ct1",))
        way.close()
        try:
            assert frames(sample, server, ("ct1",)) == [frame]
            way.turned_away = 0
            for _ in range(5):
                reply = sample.get(sample.instance("colour") + "/frames/1", FRAMES + "*")
                assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert way.turned_away < 20  # no answer waits for tries
        finally:
            way.is_open = True
        for _ in range(100):
            (found,) = frames(sample, server, ("colour",))
            if found != b"503":
                break
            time.sleep(0.1)
        assert len(found) > 100
        assert not [line for line in server.err if "Traceback" in line]


@pytest.mark.parametrize("how", ["a file in its place", "no bytes"])
def test_needs_no_cache(
    sample: SampleDatastore, data: Path, variables: dict[str, str], how: str, tmp_path: Path
) -> None:
    more = {"LIGHTWELL_STORAGE_CACHE_DIR": str(tmp_path / "cache")}
    if how == "no bytes":
        more["LIGHTWELL_STORAGE_CACHE_BYTES"] = "0"
    else:
        (tmp_path / "cache").write_text("not a folder")
    with running(data, env=variables | more) as server:
        assert all(len(frame) > 100 for frame in frames(sample, server) + frames(sample, server))
    assert not (tmp_path / "cache").is_dir()


def test_what_is_erased_leaves_the_cache_at_once(
    sample: SampleDatastore, data: Path, variables: dict[str, str]
) -> None:
    image = ct(1, study="90", size=70)
    image.PixelData = np.random.default_rng(90).integers(0, 4096, (70, 70), np.uint16).tobytes()
    with running(data, env=variables, workers=2) as server:
        assert Store(server, sample.datastore).store(image).status == 200
        own = SampleDatastore(server, sample.datastore, {"erased": image})
        # Both processes have it open.
        with ThreadPoolExecutor(16) as threads:
            (before, *others) = threads.map(lambda _: frames(own, server, ("erased",)), range(16))
        assert others == [before] * 15 and len(before[0]) > 100
        cached = {path for path in (data / "cache").rglob("*") if path.is_file() and path.name.isdigit()}
        kept = [path.read_bytes() for path in cached]
        assert any(before[0][100:200] in content for content in kept)
        done = subprocess.run(
            [sys.executable, "-m", "lightwell", "erase", "--study", image.StudyInstanceUID, "--now", "--yes",
             "--data", str(data)],
            env=environment(variables), capture_output=True, text=True, cwd=data.parent,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert frames(own, server, ("erased",)) == [b"404"]
        left = [path for path in (data / "cache").rglob("*") if path.is_file()]
        assert not any(before[0][100:200] in path.read_bytes() for path in left)
