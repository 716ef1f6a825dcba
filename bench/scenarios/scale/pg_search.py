"""SearchImageSets and QIDO-RS on PostgreSQL: the same questions at a thousand and at a million studies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.clients.dicomweb import DicomwebClient
from bench.clients.http_load import Request
from bench.clients.signed_requests import Signer, exchange
from bench.inputs.filled_store import FilledStore, filled_postgresql
from bench.measure.latency import p50, show
from bench.results import Options, Outcome, noise, ratios, spread
from bench.scenarios.search import criteria
from bench.scenarios.web_search import paths
from bench.servers import lightwell_server, postgresql
from bench.servers.lightwell_server import Server
from bench.servers.postgresql import Postgresql
from bench.workspace import work_folder

SMALL, LARGE = 1_000, 1_000_000
NATIVE = ("patient", "accession", "study", "dates", "year", "year-by-date")
WEB = (
    "PatientID",
    "AccessionNumber",
    "StudyInstanceUID",
    "StudyDate",
    "wildcard",
    "fuzzy",
    "modality",
    "second-page",
)
ROWS = (*(f"pg-search-{kind}" for kind in NATIVE), *(f"pg-qido-{kind}" for kind in WEB))
_JSON = {"Accept": "application/dicom+json"}


@contextmanager
def filled(sizes: tuple[int, ...]) -> Iterator[tuple[Postgresql, list[tuple[str, FilledStore]]]]:
    """A server with a database of each size, kept for later runs; (URL, what is in it) of each."""
    folder = work_folder() / "filled-pg"
    server = Postgresql(folder=folder / "cluster")
    try:
        urls = [server.create(f"f{size}") for size in sizes]
        yield (
            server,
            [
                (url, filled_postgresql(url, folder / f"f{size}", size, 1))
                for url, size in zip(urls, sizes, strict=True)
            ],
        )
    finally:
        server.stop()


class Asked:
    """A lightwell server on one of the databases, and the questions to it."""

    def __init__(self, name: str, url: str, data: FilledStore) -> None:
        self.name, self.data = name, data
        self.server = Server(name, data=data.folder / "data", settings={"LIGHTWELL_DATABASE_URL": url})
        self._sign = Signer(self.server.client())
        self._web = DicomwebClient(self.server, data.datastore)

    def requests(self, row: str) -> list[Request]:
        """The questions of a row, newly signed."""
        kind = row.partition("-")[2].partition("-")[2]
        if row.startswith("pg-qido-"):
            return [self._web.get(path, _JSON) for path in web_paths(kind, self.data)]
        return [
            self._sign("search_image_sets", datastoreId=self.data.datastore, searchCriteria=each)
            for each in criteria(kind, self.data)
        ]

    def check(self, row: str) -> None:
        """A few of the questions are answered, and by something."""
        found = 0
        for request in self.requests(row)[::60]:
            status, _, body = exchange(self.server.address, request)
            if status != 200:
                raise RuntimeError(f"{self.name}: {row}: {status} {body[:200]!r}")
            answer = json.loads(body)
            found += len(answer if isinstance(answer, list) else answer["imageSetsMetadataSummaries"])
        if not found:
            raise RuntimeError(f"{self.name}: {row} finds nothing")


def web_paths(kind: str, data: FilledStore) -> list[str]:
    if kind == "fuzzy":
        names = ("nova ja", "sil ana", "lindq ni", "kaya el")
        return [f"/studies?PatientName={name}&fuzzymatching=true&limit=20" for name in map(_quoted, names)]
    if kind == "modality":
        return [f"/studies?ModalitiesInStudy={name}&limit=20" for name in ("CT", "MR", "US", "PT")]
    if kind == "second-page":
        return [f"/studies?limit=20&offset={offset}" for offset in range(20, 400, 20)]
    return paths(kind, data)


def _quoted(text: str) -> str:
    return text.replace(" ", "%20")


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing() or postgresql.missing():
        return [Outcome(row, skipped=reason) for row in ROWS]
    sizes = (SMALL, 20_000 if options.quick else LARGE)
    with ExitStack() as stack:
        _, stores = stack.enter_context(filled(sizes))
        contestants = []
        for name, (url, data) in zip(("small", "large"), stores, strict=True):
            contestants.append(Asked(name, url, data))
            stack.callback(contestants[-1].server.stop)
        rounds: list[dict[str, float]] = []
        for number in range(-1, options.rounds):  # round -1 warms both
            found: dict[str, float] = {}
            for row in ROWS:
                for one in contestants[:: 1 if number % 2 else -1]:
                    if number < 0:
                        one.check(row)
                    found |= p50(f"{one.name} {row}", one.server, one.requests(row), options)
            if number >= 0:
                rounds.append(found)
                show(number, {key: value for key, value in found.items() if "others" not in key})
    return [
        Outcome(
            row,
            ratios(rounds, f"large {row}", f"small {row}"),
            f"p50 {spread(rounds, f'large {row}', 2)} ms at {sizes[1]:,} studies, "
            f"{spread(rounds, f'small {row}', 2)} ms at {sizes[0]:,}; {noise(rounds)}",
            rounds=rounds,
        )
        for row in ROWS
    ]
