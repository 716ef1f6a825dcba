"""Small pictures of a whole series, all at once and one by one, and whole frames: loopback and a 4G line."""

from __future__ import annotations

import json
import socket
import struct
import time
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import imagecodecs
import numpy as np

from bench.clients.dicomweb import DicomwebClient
from bench.clients.http_load import Request, drive
from bench.inputs import corpus
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import alternating, least_disturbed
from bench.results import Options, Outcome, noise, ratios, spread
from bench.scenarios.web_frames import path_of
from bench.servers import lightwell_server
from bench.servers.delaying_proxy import DelayingProxy
from bench.servers.imported_series import ImportedSeries
from bench.servers.lightwell_server import Server

PACKED = "application/vnd.lightwell.frames"
KEYS = ("levels-bytes", "levels-loopback", "levels-first", "levels-line", "levels-one-by-one")
CONNECTIONS = 6
"""Of a browser to one server, by HTTP/1.1."""
RATE, LATENCY = 12e6 / 8, 0.050
_PART = 10
"""On the line one of so many whole frames is fetched: its time follows from their bytes alone."""

Address = tuple[str, int]


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing():
        return [Outcome(key, skipped=reason) for key in KEYS]
    server = Server("lightwell", workers=2)
    try:
        url = "http://{}:{}".format(*server.address)
        with DelayingProxy(url, LATENCY, RATE) as line:
            parts = urlsplit(line.url)
            return _measure(server, (str(parts.hostname), int(parts.port or 0)), options)
    finally:
        server.stop()


class _Small:
    """What one request for all small pictures gives: milliseconds until the first and the last, and bytes."""

    def __init__(self, address: Address, request: Request) -> None:
        begun = time.perf_counter()
        with socket.create_connection(address, timeout=120) as connection:
            connection.sendall(request.data)
            with connection.makefile("rb") as stream:
                self.body = b""
                self.first = self.last = 0.0
                if not stream.readline().startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"no packed frames: {stream.read(300)!r}")
                while stream.readline().strip():
                    pass
                while size := int(stream.readline(), 16):
                    self.body += stream.read(size)
                    stream.readline()
                    if not self.first and len(records(self.body)) > 1:
                        self.first = 1000 * (time.perf_counter() - begun)
        self.last = 1000 * (time.perf_counter() - begun)


def records(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """The whole records among the first bytes of packed frames."""
    at, found = 8, []
    while at + 12 <= len(data):
        size, length = struct.unpack_from("<IQ", data, at)
        start = at + 12 + size
        if start + length > len(data):
            break
        found.append((json.loads(data[at + 12 : start]), data[start : start + length]))
        at = start + length
    return found


def _measure(server: Server, line: Address, options: Options) -> list[Outcome]:
    files = corpus.ct(100 if options.quick else corpus.COUNT)
    loaded = ImportedSeries(server, files)
    web = DicomwebClient(server, loaded.datastore)
    series = path_of(files, 0).partition("/instances/")[0]
    frames = [path_of(files, index) + "/frames/1" for index in range(len(files.slices))]
    stored = {"Accept": "image/jphc; transfer-syntax=*"}

    def small() -> Request:
        return web.get(f"{series}/frames?level=0", {"Accept": PACKED})

    whole = [len(web.fetch(web.get(path, stored))[1]) for path in frames]
    sent = _check(loaded, web, small())

    def at_once(name: str, address: Address) -> dict[str, float]:
        with CpuMeter(server.tree) as meter:
            found = _Small(address, small())
        return {f"{name} first": found.first, f"{name} last": found.last, f"{name} others": meter.others}

    def by_line(name: str, paths: list[str], factor: int) -> dict[str, float]:
        requests = [web.get(path, stored) for path in paths]
        with CpuMeter(server.tree) as meter:
            load = drive(line, requests, connections=CONNECTIONS, seconds=None)
        if load.errors:
            raise RuntimeError(f"{name}: {load.errors}")
        return {name: factor * load.wall * 1000, f"{name} others": meter.others}

    part = 1 if options.quick else _PART
    cuts = [f"{path}?level=0" for path in frames]
    ways = {
        "near": partial(at_once, "near", server.address),
        "line": partial(at_once, "line", line),
        "cuts": partial(by_line, "cuts", cuts, 1),
        "whole": partial(by_line, "whole", frames[::part], part),
    }
    turns = {name: partial(least_disturbed, way, f"{name} others", options) for name, way in ways.items()}
    rounds = alternating(turns, options)
    share = sent / sum(whole)
    return [
        Outcome("levels-bytes", [share], f"{sent:,} bytes of {sum(whole):,}"),
        Outcome(
            "levels-loopback",
            [found["near last"] for found in rounds],
            f"{len(frames)} slices, as packed frames; {noise(rounds)}",
            rounds=rounds,
        ),
        Outcome("levels-first", [found["near first"] for found in rounds], "of the same request"),
        Outcome(
            "levels-line",
            ratios(rounds, "whole", "line last"),
            f"whole frames {spread(rounds, 'whole')} ms (every {_PART}th fetched), in one request "
            f"{spread(rounds, 'line last')} ms, its first picture after {spread(rounds, 'line first')} ms",
        ),
        Outcome(
            "levels-one-by-one",
            ratios(rounds, "cuts", "line last"),
            f"one by one {spread(rounds, 'cuts')} ms, in one request {spread(rounds, 'line last')} ms",
        ),
    ]


def _check(loaded: ImportedSeries, web: DicomwebClient, request: Request) -> int:
    """How many bytes the answer has, whose pictures must be those of the whole frames."""
    _, body = web.fetch(request)
    found = records(body)
    if len(found) != len(loaded.frame_ids) + 2:
        raise RuntimeError(f"{len(found)} records for {len(loaded.frame_ids)} slices")
    for described, data in found[1:-1:50]:
        picture = imagecodecs.jpeg2k_decode(data, skipres=described["reduce"])
        frame = loaded.frame(loaded.frame_ids.index(str(described["id"])))
        codestream = frame[frame.index(b"\xff\x4f\xff\x51") :]
        if not np.array_equal(picture, imagecodecs.jpeg2k_decode(codestream, skipres=described["reduce"])):
            raise RuntimeError("a small picture is not that of the whole frame")
    return len(body)
