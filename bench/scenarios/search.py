"""SearchImageSets: the same questions subject of a thousand and of a million image sets."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta

from bench.clients.http_load import Request, drive
from bench.clients.signed_requests import Signer, exchange
from bench.inputs.filled_store import DAYS, FilledStore, filled_store
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import least_disturbed
from bench.results import Options, Outcome, noise, ratios, spread
from bench.servers import lightwell_server
from bench.servers.lightwell_server import Server

SMALL, LARGE = 1_000, 1_000_000
_QUERIES = 200
_RANGE_HITS = 20
_FIRST = datetime(2015, 1, 1)
KINDS = ("patient", "accession", "study", "series", "dates", "year", "year-by-date")


class Subject:
    """A server on one filled folder, with signed questions of each kind."""

    def __init__(self, name: str, data: FilledStore) -> None:
        self.name, self.data = name, data
        self.server = Server(name, data=data.folder / "data")
        self._sign = Signer(self.server.client())

    def questions(self, kind: str) -> list[Request]:
        """Newly signed requests of this kind."""
        return [
            self._sign("search_image_sets", datastoreId=self.data.datastore, searchCriteria=criteria)
            for criteria in criteria(kind, self.data)
        ]

    def hits(self, questions: list[Request]) -> float:
        """Sets on the first page, on average over a few questions; RuntimeError if one is not answered."""
        counts = []
        for request in questions[:: max(1, len(questions) // 10)]:
            status, _, body = exchange(self.server.address, request)
            if status != 200:
                raise RuntimeError(f"{self.name}: SearchImageSets answered {status}: {body[:300]!r}")
            counts.append(len(json.loads(body)["imageSetsMetadataSummaries"]))
        if not all(counts) and kind_finds_all(questions):
            raise RuntimeError(f"{self.name}: a search that must find something found {counts}")
        return sum(counts) / len(counts)


def kind_finds_all(questions: list[Request]) -> bool:
    """Whether each of these questions must find something: those by a value that was taken from the data."""
    return b"BETWEEN" not in questions[0].data


def criteria(kind: str, data: FilledStore) -> Iterator[dict[str, object]]:
    values = {
        "patient": ("DICOMPatientId", data.patients),
        "accession": ("DICOMAccessionNumber", data.accessions),
        "study": ("DICOMStudyInstanceUID", data.studies),
        "series": ("DICOMSeriesInstanceUID", data.series),
    }
    if kind in values:
        key, known = values[kind]
        for value in known:
            yield {"filters": [{"operator": "EQUAL", "values": [{key: value}]}]}
        return
    random_ = random.Random(kind)
    width = timedelta(days=DAYS * _RANGE_HITS / data.sets if kind == "dates" else 365)
    for _ in range(_QUERIES):
        lower = _FIRST + random_.random() * (timedelta(days=DAYS) - width)
        between = [
            {"DICOMStudyDateAndTime": {"DICOMStudyDate": f"{at:%Y%m%d}", "DICOMStudyTime": f"{at:%H%M%S}"}}
            for at in (lower, lower + width)
        ]
        criteria: dict[str, object] = {"filters": [{"operator": "BETWEEN", "values": between}]}
        if kind == "year-by-date":
            criteria["sort"] = {"sortField": "DICOMStudyDateAndTime", "sortOrder": "DESC"}
        yield criteria


def run(options: Options) -> list[Outcome]:
    reason = lightwell_server.missing()
    if reason:
        return [Outcome(f"search-{kind}", skipped=reason) for kind in KINDS]
    large = 50_000 if options.quick else LARGE
    folders = [("small", filled_store(SMALL)), ("large", filled_store(large))]
    contestants: list[Subject] = []
    rounds: list[dict[str, float]] = []
    try:
        for name, data in folders:
            contestants.append(Subject(name, data))
        hits = {
            f"{kind} {subject.name}": subject.hits(subject.questions(kind))
            for kind in KINDS
            for subject in contestants
        }
        for number in range(-1, options.rounds):  # round -1 warms both
            found: dict[str, float] = {}
            for kind in KINDS:
                for subject in contestants[:: 1 if number % 2 else -1]:
                    found |= _measure(kind, subject, options)
            if number >= 0:
                rounds.append(found)
                disturbed = max(value for key, value in found.items() if key.endswith("others"))
                print(
                    f"  round {number + 1}  "
                    + "  ".join(
                        f"{kind} {found[f'{kind} small']:.2f}/{found[f'{kind} large']:.2f}" for kind in KINDS
                    )
                    + f" ms  others {disturbed:.2f} cores"
                )
    finally:
        for subject in contestants:
            subject.server.stop()
    return [_outcome(kind, rounds, hits, large) for kind in KINDS]


def _measure(kind: str, subject: Subject, options: Options) -> dict[str, float]:
    def once() -> dict[str, float]:
        questions = subject.questions(kind)
        with CpuMeter(subject.server.tree) as meter:
            load = drive(subject.server.address, questions, connections=1, seconds=min(1.0, options.seconds))
        if load.errors:
            raise RuntimeError(f"{subject.name}, by {kind}: {load.errors}")
        return {f"{kind} {subject.name}": 1000 * load.quantile(0.5), others: meter.others}

    others = f"{kind} {subject.name} others"
    return least_disturbed(once, others, options)


def _outcome(kind: str, rounds: list[dict[str, float]], hits: dict[str, float], large: int) -> Outcome:
    detail = (
        f"p50 {spread(rounds, f'{kind} large', 2)} ms against {spread(rounds, f'{kind} small', 2)} ms; "
        f"{hits[f'{kind} large']:.0f} and {hits[f'{kind} small']:.0f} sets a page; {noise(rounds)}"
    )
    if large != LARGE:
        detail += f"; **only {large:,} sets**"
    values = ratios(rounds, f"{kind} large", f"{kind} small")
    return Outcome(f"search-{kind}", values, detail, rounds=rounds if kind == KINDS[0] else [])
