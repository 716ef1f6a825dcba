"""The results of a scenario, and the bars that they are measured against."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the table. ``unit`` stands behind the numbers; ``least``: more is better."""

    what: str
    unit: str
    least: bool
    bar: float
    aim: float

    def verdict(self, value: float) -> str:
        if self._holds(value, self.aim):
            return "aim met"
        return "bar met" if self._holds(value, self.bar) else "**missed**"

    def _holds(self, value: float, limit: float) -> bool:
        return value >= limit if self.least else value <= limit


_SEARCH = "SearchImageSets {}: p50 at 1,000,000 image sets against 1,000"
_QIDO = "QIDO-RS by {} at 10,000 studies: p50 against Orthanc's"
_QIDO_SIZE = "QIDO-RS by {}: p50 at 1,000,000 studies against 1,000"
_MEMORY = "peak memory of any process, one 2 GB multi-frame file: {}"

BARS: dict[str, Bar] = {
    "import-jpegls": Bar(
        "import of 500 CT slices (HTJ2K, verified, fsync), against Orthanc storing lossless JPEG-LS by STOW",
        "×",
        True,
        3.2,
        4,
    ),
    "import-tuned": Bar("the same, against Orthanc storing them raw", "×", True, 1, 1.2),
    "import-small": Bar(
        "import of 20,000 MR instances of 256 × 256 (HTJ2K, verified, fsync), against Orthanc storing them "
        "raw by STOW",
        "×",
        True,
        1,
        2,
    ),
    "import-cpu": Bar(
        "CPU a slice of the whole import, against a minimal import with plain pydicom", "×", False, 1.0, 0.7
    ),
    "import-workers": Bar("import with 2 codec workers against 1", "×", True, 1.5, 1.8),
    "frames": Bar("GetImageFrame, signed, 8 connections, against nginx", "×", True, 0.45, 0.65),
    "frames-wrk": Bar("the same, driven by wrk", "×", True, 0.45, 0.65),
    "metadata": Bar(
        "GetImageSetMetadata of 500 instances, warm, 8 connections, against nginx", "×", True, 0.4, 0.8
    ),
    "metadata-wrk": Bar("the same answer, driven by wrk", "×", True, 0.4, 0.8),
    "search-patient": Bar(_SEARCH.format("by patient"), "×", False, 2, 1.2),
    "search-accession": Bar(_SEARCH.format("by accession number"), "×", False, 2, 1.2),
    "search-study": Bar(_SEARCH.format("by study UID"), "×", False, 2, 1.2),
    "search-series": Bar(_SEARCH.format("by series UID"), "×", False, 2, 1.2),
    "search-dates": Bar(_SEARCH.format("by a date range with some 20 hits"), "×", False, 2, 1.2),
    "search-year": Bar(_SEARCH.format("by a year, first page"), "×", False, 2, 1.2),
    "search-year-by-date": Bar(_SEARCH.format("by a year, first page by study date"), "×", False, 2, 1.2),
    "lives-update": Bar(
        "update of one study attribute of 5,000 instances, against the same of 5", "×", False, 2, 1.2
    ),
    "lives-copy-bytes": Bar(
        "copy of 5,000 instances: written an instance, log included", "bytes", False, 300, 120
    ),
    "lives-store-one": Bar(
        "storing one more instance into a set of 5,000, against into an empty one", "×", False, 2, 1.1
    ),
    "lives-new-version": Bar(
        "first read of the metadata of a new version of 5,000 CT instances, an instance", "µs", False, 15, 4
    ),
    "lives-versions": Bar(
        "GetImageSetMetadata of versions 1, 500 and 1,000 of 1,000, first read, against the only one",
        "×",
        False,
        1.5,
        1.1,
    ),
    "memory-native": Bar(_MEMORY.format("native"), "MiB", False, 1024, 300),
    "memory-encapsulated": Bar(_MEMORY.format("encapsulated (RLE)"), "MiB", False, 1024, 300),
    "memory-deflated": Bar(_MEMORY.format("deflated"), "MiB", False, 1024, 300),
    "encrypted-frames": Bar(
        "GetImageFrame of an encrypted data store against one that is not, requests/s", "×", True, 0.85, 0.95
    ),
    "encrypted-web-frames": Bar("the same over DICOMweb", "×", True, 0.85, 0.95),
    "audited-frames": Bar(
        "GetImageFrame with the audit trail against a server without one, requests/s", "×", True, 0.97, 0.99
    ),
    "audited-web-frames": Bar("frames over DICOMweb, the same", "×", True, 0.97, 0.99),
    "audited-metadata": Bar("GetImageSetMetadata, warm, the same", "×", True, 0.97, 0.99),
    "restore": Bar(
        "restore of a backup, verified, against `cp -r` and `sync` of the same files", "×", False, 2, 1.3
    ),
    "start": Bar("`lightwell serve`: start to ready", "s", False, 4, 1),
    "idle": Bar("idle memory (PSS) of the whole process tree", "MiB", False, 300, 150),
    "web-frames": Bar(
        "DICOMweb, one CT frame a request, as stored, 8 connections, against Orthanc", "×", True, 4, 6
    ),
    "web-frames-raw": Bar(
        "the same as Explicit VR Little Endian (decoded here, copied there)", "×", True, 0.4, 0.7
    ),
    "web-metadata": Bar(
        "DICOMweb metadata of a series of 500 instances, gzip accepted, warm, against Orthanc",
        "×",
        True,
        5,
        10,
    ),
    "web-metadata-first": Bar("the same, first read after a change", "×", True, 5, 20),
    "qido-PatientID": Bar(_QIDO.format("PatientID"), "×", True, 10, 30),
    "qido-AccessionNumber": Bar(_QIDO.format("AccessionNumber"), "×", True, 10, 30),
    "qido-StudyInstanceUID": Bar(_QIDO.format("StudyInstanceUID"), "×", True, 10, 30),
    "qido-StudyDate": Bar(_QIDO.format("StudyDate range"), "×", True, 10, 30),
    "qido-size-PatientID": Bar(_QIDO_SIZE.format("PatientID"), "×", False, 2, 1.2),
    "qido-size-AccessionNumber": Bar(_QIDO_SIZE.format("AccessionNumber"), "×", False, 2, 1.2),
    "qido-size-StudyInstanceUID": Bar(_QIDO_SIZE.format("StudyInstanceUID"), "×", False, 2, 1.2),
    "qido-size-StudyDate": Bar(_QIDO_SIZE.format("StudyDate range, first 20"), "×", False, 2, 1.2),
    "qido-size-wildcard": Bar(_QIDO_SIZE.format("infix wildcard"), "×", False, 2, 1.2),
    "web-store-jpegls": Bar(
        "STOW-RS of CT slices in batches of 10, 8 connections (HTJ2K, verified, fsync), against Orthanc "
        "storing lossless JPEG-LS",
        "×",
        True,
        2.7,
        3.2,
    ),
    "web-store-tuned": Bar("the same, against Orthanc storing them raw", "×", True, 0.85, 1),
    "web-store-full": Bar(
        "the same with 40,000 studies stored, against an empty store", "×", True, 0.8, 0.95
    ),
    "web-bearer-python": Bar(
        "a frame by bearer token, a `python:` authorizer asked, against the same signed: p50",
        "×",
        False,
        3,
        1.5,
    ),
    "web-bearer-http": Bar(
        "the same with an HTTP authorizer: p50 beyond the signed request and the function's own time",
        "ms",
        False,
        2,
        0.5,
    ),
    "levels-bytes": Bar(
        "all 500 slices of a series at 64 × 64 in one request: bytes, against the whole frames",
        "×",
        False,
        0.1,
        0.05,
    ),
    "levels-loopback": Bar("the same: until the last one has come, loopback", "ms", False, 1500, 150),
    "levels-first": Bar("until the first one has come, loopback", "ms", False, 300, 50),
    "levels-line": Bar(
        "until all 500 have come over a 4G line (12 Mbit/s, 50 ms): whole frames, 6 connections, against all "
        "at 64 × 64 in one request",
        "×",
        True,
        10,
        25,
    ),
    "levels-one-by-one": Bar(
        "the same: slices at 64 × 64 one by one, 6 connections, against one request", "×", True, 1, 1.5
    ),
    "viewer-first": Bar(
        "the console's viewer, from the click on a study of 500 CT slices until the first picture is shown",
        "ms",
        False,
        300,
        150,
    ),
    "viewer-small": Bar("the same, until all 500 can be scrolled through, small", "ms", False, 1500, 500),
    "viewer-scroll": Bar(
        "the longest wait between two slices of a scroll through all, one a frame of the screen",
        "ms",
        False,
        100,
        34,
    ),
    "console-paint": Bar(
        "the console, opened for the first time, until the first text is painted", "ms", False, 500, 200
    ),
    "console-bytes": Bar("what it has fetched by then", "kB", False, 300, 150),
    "console-studies": Bar(
        "opened again by somebody who is signed in, until the first of 300 studies is listed",
        "ms",
        False,
        1000,
        400,
    ),
    "web-memory": Bar("memory above idle while a study of 2 GB is retrieved", "MiB", False, 200, 64),
    "claims-16": Bar(
        "chunks that 16 processes claim and end a second, PostgreSQL", "chunks/s", True, 400, 800
    ),
    "redelivery": Bar("until a unit of a killed worker is taken up again, the longest", "s", False, 15, 5),
    "claims-48": Bar("the same of 48 processes", "chunks/s", True, 250, 600),
    "idle-workers": Bar("CPU of PostgreSQL for 10 workers without work", "% of a core", False, 1, 0.3),
    "hostile-heads": Bar(
        "p99 of DICOMweb frames, 8 connections, beside 8 of forged heads as long as may be, against beside 8 "
        "more of frames",
        "×",
        False,
        8,
        4,
    ),
}

BARS["pg-frames"] = Bar(
    "GetImageFrame, signed, 8 connections, on PostgreSQL against SQLite", "×", True, 0.5, 0.8
)
BARS["soak"] = Bar(
    "GetImageFrame for 30 minutes at 70 % of the most that the server can: p99 of the last 5 minutes against "
    "the first 5",
    "×",
    False,
    1.2,
    1.05,
)
BARS["request-memory"] = Bar(
    "memory (PSS) of the whole process tree after 1,000,000 requests against after 10,000",
    "×",
    False,
    1.1,
    1.02,
)
BARS["far-import-s3"] = Bar(
    "import of 20,000 small MR instances from S3, PostgreSQL and S3 against embedded, 2 codec workers each",
    "×",
    True,
    0.9,
    1.2,
)
BARS["far-import-local"] = Bar("the same from a local folder", "×", True, 0.7, 0.9)
BARS["killed-import"] = Bar(
    "time of an import of 4,000 small MR instances from S3 by two workers, of which or of two servers one "
    "process is killed every 5 s, against one without kills",
    "×",
    False,
    3,
    1.5,
)
BARS["killed-retaken"] = Bar("a dead worker's work is taken up again", "s", False, 15, 5)
BARS["two-servers"] = Bar(
    "CPU a frame of two servers on PostgreSQL and S3 behind nginx, against one behind it",
    "×",
    False,
    1.2,
    1.05,
)
BARS["two-servers-direct"] = Bar("the same against one asked directly", "×", False, 1.2, 1.05)
BARS["pg-web-frames"] = Bar("the same over DICOMweb, as stored", "×", True, 0.5, 0.8)
for _suffix, _far in (("", ""), ("-20ms", ", S3 20 ms away")):
    BARS[f"s3-frames-warm{_suffix}"] = Bar(
        f"GetImageFrame, signed, 8 connections, from S3{_far}, cached here, against local files",
        "×",
        True,
        0.8,
        0.95,
    )
    BARS[f"s3-frames-cold{_suffix}"] = Bar(
        f"the same, nothing cached, against ranged GETs of the S3 server by obstore{_far}",
        "×",
        True,
        0.5,
        0.8,
    )
    BARS[f"s3-frames-series{_suffix}"] = Bar(
        f"a series of 500 frames, first to last, nothing cached, against one GET of each of its packs{_far}",
        "×",
        True,
        0.5,
        0.8,
    )

for _kind in ("patient", "accession", "study", "dates", "year", "year-by-date"):
    BARS[f"pg-search-{_kind}"] = Bar(
        f"SearchImageSets on PostgreSQL, {_kind}: p50 at 1,000,000 studies against 1,000", "×", False, 2, 1.2
    )
for _kind in (
    *("PatientID", "AccessionNumber", "StudyInstanceUID", "StudyDate"),
    *("wildcard", "fuzzy", "modality", "second-page"),
):
    BARS[f"pg-qido-{_kind}"] = Bar(
        f"QIDO-RS on PostgreSQL, {_kind}: p50 at 1,000,000 studies against 1,000", "×", False, 2, 1.2
    )
for _row, _what in (
    ("pg-metadata", "GetImageSetMetadata of 500 instances, warm"),
    ("pg-qido-rate", "QIDO-RS by PatientID"),
    ("pg-qido-page", "QIDO-RS by StudyDate, a page of 20"),
    ("pg-search-rate", "SearchImageSets by patient"),
):
    BARS[_row] = Bar(
        f"{_what}, 8 connections, on PostgreSQL against SQLite, local files", "×", True, 0.5, 0.8
    )

for _kind in ("PatientID", "AccessionNumber", "StudyInstanceUID", "StudyDate"):
    BARS[f"pg-orthanc-qido-{_kind}"] = Bar(
        f"QIDO-RS by {_kind} at 10,000 studies, both on PostgreSQL: p50 against Orthanc's", "×", True, 5, 15
    )
for _row, _what in (("pg-orthanc-frames", "as stored"), ("pg-orthanc-frames-raw", "uncompressed")):
    BARS[_row] = Bar(f"DICOMweb frames {_what}, both on PostgreSQL, against Orthanc", "×", True, 3, 8)

Round = Mapping[str, float]


@dataclass(slots=True)
class Outcome:
    """One bar's result: a value per round, or the reason why it is missing.

    ``detail`` explains how the numbers were obtained; ``rounds`` keeps everything that was measured.
    """

    bar: str
    values: list[float] = field(default_factory=list)
    detail: str = ""
    skipped: str = ""
    rounds: list[dict[str, float]] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True)
class Options:
    """How long to measure: ``rounds`` visits of every contestant, ``seconds`` of each load.

    ``tries`` and ``quiet``: see `bench.measure.repeat`. ``minutes`` and ``requests`` are for what watches a
    server for long: `bench.scenarios.lasting`.
    """

    rounds: int = 5
    seconds: float = 3.0
    quick: bool = False
    tries: int = 3
    quiet: float = 0.25
    minutes: float = 30.0
    requests: int = 1_000_000


def median(rounds: Sequence[Round], key: str) -> float:
    """Median of ``key`` over the rounds that have it; NaN if none has."""
    values = [entry[key] for entry in rounds if key in entry]
    return statistics.median(values) if values else float("nan")


def spread(rounds: Sequence[Round], key: str, digits: int = 0, unit: str = "") -> str:
    """``median (least..most)`` in words."""
    values = [entry[key] for entry in rounds if key in entry]
    if not values:
        return "not measured"
    low, middle, high = (
        f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle}{unit} ({low}..{high})"


def noise(rounds: Sequence[Round]) -> str:
    """What everything else on the machine used at worst, in words."""
    used = [value for entry in rounds for key, value in entry.items() if key.endswith("others")]
    return f"others up to {max(used, default=0):.1f} cores"


def ratios(rounds: Sequence[Round], above: str, below: str) -> list[float]:
    """One quotient a round, of the rounds that have both."""
    return [entry[above] / entry[below] for entry in rounds if entry.get(below) and above in entry]
