"""Metadata and searches on PostgreSQL against SQLite: the same server, the same data, local files."""

from __future__ import annotations

from contextlib import ExitStack

from bench.clients.http_load import Request, drive
from bench.inputs import corpus
from bench.inputs.filled_store import filled_store
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import least_disturbed
from bench.results import Options, Outcome, noise, ratios, spread
from bench.scenarios.scale.pg_search import SMALL, Asked, filled
from bench.servers import lightwell_server, postgresql
from bench.servers.imported_series import ImportedSeries
from bench.servers.lightwell_server import Server

_CONNECTIONS = 8
# Row → the questions of `pg_search` that it asks; none for metadata.
ROWS = {
    "pg-metadata": None,
    "pg-qido-rate": "pg-qido-PatientID",
    "pg-qido-page": "pg-qido-StudyDate",
    "pg-search-rate": "pg-search-patient",
}


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing() or postgresql.missing():
        return [Outcome(row, skipped=reason) for row in ROWS]
    with ExitStack() as stack:
        server, ((url, data),) = stack.enter_context(filled((SMALL,)))
        own = server.create("imported", is_new=True)
        sqlite = filled_store(SMALL, series=1)
        sides = {
            "PostgreSQL": Asked("PostgreSQL", url, data),
            "SQLite": Asked("SQLite", f"sqlite:///{sqlite.folder / 'data' / 'lightwell.db'}", sqlite),
        }
        series = {
            "PostgreSQL": _imported("with PostgreSQL", {"LIGHTWELL_DATABASE_URL": own}),
            "SQLite": _imported("with SQLite", {}),
        }
        for each in sides.values():
            stack.callback(each.server.stop)
        for loaded in series.values():
            stack.callback(loaded.server.stop)
        rounds: list[dict[str, float]] = []
        for number in range(-1, options.rounds):  # round -1 warms both
            found: dict[str, float] = {}
            for row, kind in ROWS.items():
                for side in list(sides)[:: 1 if number % 2 else -1]:
                    one = series[side]
                    asked = _metadata(one) if kind is None else sides[side].requests(kind)
                    found |= _rate(
                        f"{side} {row}", one.server if kind is None else sides[side].server, asked, options
                    )
            if number >= 0:
                rounds.append(found)
                print(f"  round {number + 1}  " + "  ".join(f"{k} {v:.1f}" for k, v in found.items()))
    return [
        Outcome(
            row,
            ratios(rounds, f"PostgreSQL {row}", f"SQLite {row}"),
            f"PostgreSQL {spread(rounds, f'PostgreSQL {row}')}/s, "
            f"SQLite {spread(rounds, f'SQLite {row}')}/s; {noise(rounds)}",
            rounds=rounds,
        )
        for row in ROWS
    ]


def _imported(name: str, settings: dict[str, str]) -> ImportedSeries:
    return ImportedSeries(Server(name, workers=2, settings=settings), corpus.ct())


def _metadata(loaded: ImportedSeries) -> list[Request]:
    size = len(loaded.metadata)
    signed = loaded.sign("get_image_set_metadata", datastoreId=loaded.datastore, imageSetId=loaded.image_set)
    return [Request(signed.data, size)]


def _rate(name: str, server: Server, asked: list[Request], options: Options) -> dict[str, float]:
    def once() -> dict[str, float]:
        with CpuMeter(server.tree) as meter:
            load = drive(server.address, asked, connections=_CONNECTIONS, seconds=options.seconds)
        if load.errors:
            raise RuntimeError(f"{name}: {load.errors}")
        return {name: load.rate, f"{name} others": meter.others}

    return least_disturbed(once, f"{name} others", options)
