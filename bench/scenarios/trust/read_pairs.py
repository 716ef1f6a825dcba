"""The same reads of two lightwell servers that differ in one thing, in pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.clients.dicomweb import DicomwebClient
from bench.clients.http_load import Request, drive
from bench.inputs import corpus
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import alternating, least_disturbed
from bench.results import Options, Outcome, noise, ratios, spread
from bench.scenarios.web_frames import CONNECTIONS, FRAMES_AS, path_of
from bench.servers.imported_series import ImportedSeries
from bench.servers.lightwell_server import Server
from bench.workspace import new_folder

# A processor is faster or slower by a fifth from one second to the next on a machine that is shared, and a
# process by a twentieth from one start to the next, while what is looked for is a hundredth. So both sides
# are started several times, and take short turns, and many.
_STARTS: Final = 2  # of each, for each round
_TURNS: Final = 5  # after each start
_TIMES: Final = 10  # shorter than other loads
# Seconds after a turn, in which a server does what belongs to it, such as writing its trail.
_SETTLE: Final = 0.25


def native_frames(series: ImportedSeries) -> list[Request]:
    """GetImageFrame of each frame."""
    return series.frame_requests([len(series.frame(index)) for index in range(len(series.frame_ids))])


def web_frames(series: ImportedSeries) -> list[Request]:
    """Each frame over DICOMweb, as stored."""
    web = DicomwebClient(series.server, series.datastore)
    accept = {"Accept": FRAMES_AS.format("*")}
    paths = (path_of(series.corpus, index) + "/frames/1" for index in range(len(series.frame_ids)))
    return [web.get(path, accept) for path in paths]


def metadata(series: ImportedSeries) -> list[Request]:
    """GetImageSetMetadata, warm."""
    named = {"datastoreId": series.datastore, "imageSetId": series.image_set}
    return [Request(series.sign("get_image_set_metadata", **named).data, len(series.metadata))]


class Side:
    """A server with the CT series in it, which is stopped and started on the same data as often as needed."""

    def __init__(self, name: str, arguments: Mapping[str, Any], data: Path, options: Options) -> None:
        self._name, self._data, self._arguments = name, data, arguments
        self.series = ImportedSeries(self._start(), corpus.ct(100 if options.quick else corpus.COUNT))

    def restart(self) -> None:
        """Another process from now on."""
        self.series.server.stop()
        self.series.move(self._start())

    def _start(self) -> Server:
        return Server(f"lightwell {self._name}", workers=2, data=self._data, **self._arguments)


@contextmanager
def loaded(sides: Mapping[str, Mapping[str, Any]], options: Options) -> Iterator[dict[str, Side]]:
    """A server of each side, with the arguments of `Server` that make it differ. They are stopped at the
    end.
    """
    with ExitStack() as stack:
        found: dict[str, Side] = {}
        for name, arguments in sides.items():
            side = found[name] = Side(name, arguments, new_folder(name) / "data", options)
            stack.callback(lambda side=side: side.series.server.stop())  # type: ignore[misc]
        yield found


def compare(
    bar: str, reads: Callable[[ImportedSeries], list[Request]], sides: Mapping[str, Side], options: Options
) -> Outcome:
    """The rate of the first side against that of the second, turn by turn; ``reads`` signs the requests."""
    first, second = sides
    rounds: list[dict[str, float]] = []
    for _ in range(_STARTS * options.rounds):
        for side in sides.values():
            side.restart()
        signed = {name: reads(side.series) for name, side in sides.items()}
        turns = {name: partial(_turn, name, sides[name], signed[name], options) for name in sides}
        rounds += alternating(turns, replace(options, rounds=_TURNS))
    said = [
        f"{side} {spread(rounds, f'{side} rate')} requests/s ({spread(rounds, f'{side} cpu')} µs CPU)"
        for side in (first, second)
    ]
    return Outcome(
        bar,
        ratios(rounds, f"{first} rate", f"{second} rate"),
        f"{', '.join(said)}; {_STARTS * options.rounds} starts of both; {noise(rounds)}",
        rounds=rounds,
    )


def _turn(name: str, side: Side, requests: list[Request], options: Options) -> dict[str, float]:
    def once() -> dict[str, float]:
        server, seconds = side.series.server, options.seconds / _TIMES
        with CpuMeter(server.tree) as meter:
            load = drive(server.address, requests, connections=CONNECTIONS, seconds=seconds)
            time.sleep(_SETTLE)
        if load.errors:
            raise RuntimeError(f"{name}: {load.errors}")
        return {
            f"{name} rate": load.rate,
            f"{name} cpu": 1e6 * meter.server / len(load.latencies),
            f"{name} others": meter.others,
        }

    return least_disturbed(once, f"{name} others", options)
