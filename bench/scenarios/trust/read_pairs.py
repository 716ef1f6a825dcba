"""The same reads of two lightwell servers that differ in one thing, in pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
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

# Of rounds: a processor is faster or slower by a fifth from one second to the next on a machine that is
# shared, while what is looked for is a hundredth. So both sides take short turns, and many.
_TIMES: Final = 10
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


@contextmanager
def loaded(sides: Mapping[str, Mapping[str, Any]], options: Options) -> Iterator[dict[str, ImportedSeries]]:
    """A server of each side, with the arguments of `Server` that make it differ, and the CT series in it.

    They are stopped at the end.
    """
    files = corpus.ct(100 if options.quick else corpus.COUNT)
    with ExitStack() as stack:
        found: dict[str, ImportedSeries] = {}
        for side, arguments in sides.items():
            server = Server(f"lightwell {side}", workers=2, **arguments)
            stack.callback(server.stop)
            found[side] = ImportedSeries(server, files)
        yield found


def compare(
    bar: str,
    reads: Callable[[ImportedSeries], list[Request]],
    sides: Mapping[str, ImportedSeries],
    options: Options,
) -> Outcome:
    """The rate of the first side against that of the second, turn by turn; ``reads`` signs the requests."""
    first, second = sides
    signed = {side: reads(series) for side, series in sides.items()}
    options = replace(options, rounds=_TIMES * options.rounds, seconds=options.seconds / _TIMES)

    def turn(side: str) -> dict[str, float]:
        series = sides[side]

        def once() -> dict[str, float]:
            with CpuMeter(series.server.tree) as meter:
                load = drive(
                    series.server.address, signed[side], connections=CONNECTIONS, seconds=options.seconds
                )
                time.sleep(_SETTLE)
            if load.errors:
                raise RuntimeError(f"{side}: {load.errors}")
            return {
                f"{side} rate": load.rate,
                f"{side} cpu": 1e6 * meter.server / len(load.latencies),
                f"{side} others": meter.others,
            }

        return least_disturbed(once, f"{side} others", options)

    rounds = alternating({side: partial(turn, side) for side in sides}, options)
    said = [
        f"{side} {spread(rounds, f'{side} rate')} requests/s ({spread(rounds, f'{side} cpu')} µs CPU)"
        for side in (first, second)
    ]
    return Outcome(
        bar,
        ratios(rounds, f"{first} rate", f"{second} rate"),
        f"{', '.join(said)}; {noise(rounds)}",
        rounds=rounds,
    )
