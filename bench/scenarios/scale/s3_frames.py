"""GetImageFrame with the frames on S3 (SeaweedFS): warm against local files; cold, each frame once in any
order and in that of the series, against GETs of the same server by obstore."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.clients.http_load import drive
from bench.clients.signed_requests import Signer
from bench.inputs import corpus
from bench.results import Options, Outcome, ratios, spread
from bench.servers import lightwell_server, services
from bench.servers.delaying_proxy import DelayingProxy
from bench.servers.imported_series import ImportedSeries
from bench.servers.lightwell_server import Server

CONNECTIONS = 8
ROWS = ("s3-frames-warm", "s3-frames-cold", "s3-frames-series")
LATENCY = 0.020


def run(options: Options) -> list[Outcome]:
    keys = [*ROWS, *(f"{row}-20ms" for row in ROWS)]
    if reason := lightwell_server.missing():
        return [Outcome(key, skipped=reason) for key in keys]
    try:
        with services.s3() as endpoint:
            near = _measure(endpoint, options, "")
            far = _measure(endpoint, options, "-20ms")
    except services.Unavailable as reason:
        return [Outcome(key, skipped=str(reason)) for key in keys]
    return near + far


def _measure(endpoint: services.S3, options: Options, suffix: str) -> list[Outcome]:
    with ExitStack() as stack:
        url = endpoint.url
        if suffix:
            url = stack.enter_context(DelayingProxy(url, LATENCY)).url
        folder = Path(tempfile.mkdtemp(prefix="lightwell-s3-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        local = Server("local files", workers=2)
        stack.callback(local.stop)
        side = _S3Side(endpoint, url, folder)
        stack.callback(side.stop)
        here = ImportedSeries(local, corpus.ct())
        sizes = [len(here.frame(index)) for index in range(len(here.frame_ids))]
        rounds = []
        for number in range(-1, options.rounds):  # round -1 warms both
            found: dict[str, float] = {}
            for name in ("local", "S3")[:: 1 if number % 2 else -1]:
                if name == "S3":
                    found |= side.turn(sizes, options.seconds)
                else:
                    found["local"] = _rate(local, here, sizes, options.seconds)
            if number >= 0:
                rounds.append(found)
                print(f"  round {number + 1}{suffix}  " + "  ".join(f"{k} {v:.2f}" for k, v in found.items()))
    warm, cold, series = (f"{row}{suffix}" for row in ROWS)
    return [
        Outcome(
            warm,
            ratios(rounds, "warm", "local"),
            f"from S3, cached, {spread(rounds, 'warm')}/s, local files {spread(rounds, 'local')}/s",
            rounds=rounds,
        ),
        Outcome(
            cold,
            ratios(rounds, "cold", "gets"),
            f"cold {spread(rounds, 'cold')}/s, ranged GETs by obstore {spread(rounds, 'gets')}/s",
            rounds=rounds,
        ),
        Outcome(
            series,
            ratios(rounds, "series", "packs"),
            f"{spread(rounds, 'series')} series/s, GETs of its packs {spread(rounds, 'packs', 2)}/s",
            rounds=rounds,
        ),
    ]


class _S3Side:
    """A server over S3, restarted with an empty cache as often as wanted, and obstore beside it."""

    def __init__(self, endpoint: services.S3, url: str, folder: Path) -> None:
        self._settings = services.s3_settings(endpoint, url)
        self._folder = folder
        self._server = self._started()
        self._series = ImportedSeries(self._server, corpus.ct())
        os.environ.update(endpoint.environment)
        from obstore.store import S3Store

        bucket = self._settings["LIGHTWELL_STORAGE_URL"].split("/")[2]
        options: Any = {"allow_http": True}
        self._store = S3Store(bucket, prefix="objects", endpoint=url, client_options=options)

    def _started(self) -> Server:
        return Server("S3", workers=2, data=self._folder / "data", settings=self._settings)

    def stop(self) -> None:
        self._server.stop()

    def turn(self, sizes: Sequence[int], seconds: float) -> dict[str, float]:
        order = list(range(len(sizes)))
        random.Random(1).shuffle(order)
        found = {"cold": self._once(order, sizes), "gets": asyncio.run(self._gets(sizes))}
        found["series"] = self._once(range(len(sizes)), sizes) / len(sizes)
        found["packs"] = asyncio.run(self._packs())
        found["warm"] = _rate(self._server, self._series, sizes, seconds)
        return found

    def _once(self, order: Sequence[int], sizes: Sequence[int]) -> float:
        """Frames a second when an empty cache is asked for each frame once, in this order."""
        self._server.stop()
        shutil.rmtree(self._folder / "data" / "cache", ignore_errors=True)
        self._server = self._series.server = self._started()
        self._series.sign = Signer(self._server.client())
        # The key and the image set are looked up once, so that only the frames are cold.
        self._series.client = self._server.client()
        self._series.client.get_image_set_metadata(
            datastoreId=self._series.datastore, imageSetId=self._series.image_set
        )["imageSetMetadataBlob"].read()
        requests = self._series.frame_requests(sizes)
        load = drive(
            self._server.address, [requests[index] for index in order], connections=CONNECTIONS, seconds=None
        )
        if load.errors:
            raise RuntimeError(f"cold frames from S3: {load.errors}")
        return load.rate

    async def _gets(self, sizes: Sequence[int]) -> float:
        """Ranged GETs a second, of as many bytes each as the frames have, eight at a time."""
        import obstore

        packs = await self._listed()
        ranges, at, number = [], 0, 0
        for size in sizes:
            if at + size > packs[number][1]:
                at, number = 0, (number + 1) % len(packs)
            ranges.append((packs[number][0], at, size))
            at += size
        gate = asyncio.Semaphore(CONNECTIONS)

        async def get(key: str, start: int, length: int) -> None:
            async with gate:
                bytes(await obstore.get_range_async(self._store, key, start=start, length=length))

        begun = time.perf_counter()
        await asyncio.gather(*(get(*each) for each in ranges))
        return len(ranges) / (time.perf_counter() - begun)

    async def _packs(self) -> float:
        """How often a second all packs could be fetched, one GET after the other."""
        import obstore

        packs = await self._listed()
        begun = time.perf_counter()
        for key, _ in packs:
            bytes(await (await obstore.get_async(self._store, key)).bytes_async())
        return 1 / (time.perf_counter() - begun)

    async def _listed(self) -> list[tuple[str, int]]:
        import obstore

        return [
            (str(found["path"]), int(found["size"])) for found in obstore.list(self._store, "packs").collect()
        ]


def _rate(server: Server, series: ImportedSeries, sizes: Sequence[int], seconds: float) -> float:
    load = drive(server.address, series.frame_requests(sizes), connections=CONNECTIONS, seconds=seconds)
    if load.errors:
        raise RuntimeError(f"{server.name}: {load.errors}")
    return load.rate
