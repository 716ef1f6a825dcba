"""Updates, copies and versions: what they cost in a set of 5,000 instances, and after 1,000 versions."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import statistics
import time
from pathlib import Path

from bench.clients.http_load import Request
from bench.clients.import_jobs import ImportJob
from bench.clients.signed_requests import Signer, exchange_on
from bench.inputs import small_slices
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import least_disturbed
from bench.results import Options, Outcome, noise, ratios, spread
from bench.servers import lightwell_server
from bench.servers.lightwell_server import Server

MANY, FEW, VERSIONS, OF_VERSIONS = 5_000, 5, 1_000, 100
_IDLE = 2.0  # seconds after which the server may have closed a connection
BARS = ("update", "copy-bytes", "store-one", "new-version", "versions")


class Subject:
    """A server with one data store, and what is asked of it over one connection."""

    def __init__(self) -> None:
        self.server = Server("lightwell", settings={"LIGHTWELL_CODEC_WORKERS": "1"}, workers=1)
        self.client = self.server.client()
        self.sign = Signer(self.server.client())
        self.datastore = self.server.datastore("lives")
        self._connection: socket.socket | None = None
        self._used = 0.0

    def import_series(self, uri: str) -> float:
        """Import; ms from when the job was taken until it had ended, by its own times."""
        job = ImportJob(self.server, self.datastore, uri)
        found = job.wait(1800)
        return 1000 * float(found["endedAt"] - found["submittedAt"])

    def sets(self) -> dict[int, str]:
        """The image sets by how many instances they have."""
        found = self.client.search_image_sets(datastoreId=self.datastore)["imageSetsMetadataSummaries"]
        return {one["DICOMTags"]["DICOMNumberOfStudyRelatedInstances"]: one["imageSetId"] for one in found}

    def timed(self, request: Request) -> float:
        """ms until the whole answer is there; RuntimeError for another than 200."""
        if self._connection is None or time.monotonic() - self._used > _IDLE:
            self._close()
            self._connection = socket.create_connection(self.server.address, timeout=600)
        begun = time.perf_counter()
        status, _, body = exchange_on(self._connection, request)
        self._used = time.monotonic()
        taken = 1000 * (time.perf_counter() - begun)
        if status != 200:
            raise RuntimeError(f"answered {status}: {body[:300]!r}")
        return taken

    def update(self, image_set: str, version: int, blob: dict[str, object], *, wide: bool = True) -> Request:
        updates = json.dumps({"SchemaVersion": 1.1, **blob}).encode()
        return self.sign(
            "update_image_set_metadata",
            datastoreId=self.datastore,
            imageSetId=image_set,
            latestVersionId=str(version),
            updateImageSetMetadataUpdates={"DICOMUpdates": {"updatableAttributes": updates}},
            **({"includeStudyImageSets": True} if wide else {}),
        )

    def metadata(self, image_set: str, version: int) -> Request:
        return self.sign(
            "get_image_set_metadata",
            datastoreId=self.datastore,
            imageSetId=image_set,
            versionId=str(version),
        )

    def copy(self, image_set: str, version: int) -> str:
        answer = self.client.copy_image_set(
            datastoreId=self.datastore,
            sourceImageSetId=image_set,
            copyImageSetInformation={"sourceImageSet": {"latestVersionId": str(version)}},
        )
        id: str = answer["destinationImageSetProperties"]["imageSetId"]
        return id

    def written(self) -> int:
        """Bytes that the processes of the server have handed to the system in writes, to files."""
        total = 0
        for pid in self.server.tree.pids():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/io").read_text().splitlines()
                total += int(dict(line.split(": ") for line in lines)["wchar"])
        return total

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def stop(self) -> None:
        self._close()
        self.server.stop()


def run(options: Options) -> list[Outcome]:
    reason = lightwell_server.missing()
    if reason:
        return [Outcome(f"lives-{bar}", skipped=reason) for bar in BARS]
    many = MANY // 10 if options.quick else MANY
    subject = Subject()
    try:
        subject.import_series(small_slices.series("many", many))
        subject.import_series(small_slices.series("few", FEW))
        ids = subject.sets()
        return [
            *_updates(subject, ids[many], ids[FEW], many, options),
            _copies(subject, ids[many], many, options),
            _one_more(subject, many, options),
            _old_versions(subject, options),
        ]
    finally:
        subject.stop()


def _describe(value: int) -> dict[str, object]:
    return {"Study": {"DICOM": {"StudyDescription": f"described {value}"}}}


def _updates(subject: Subject, many: str, few: str, count: int, options: Options) -> list[Outcome]:
    """Updates of either set in turn, and after each round the first read of what that made."""
    numbers = {many: 1, few: 1}
    repeats = 10 if options.quick else 30

    def measure() -> dict[str, float]:
        taken: dict[str, list[float]] = {many: [], few: []}
        with CpuMeter(subject.server.tree) as meter:
            for _ in range(repeats):
                for id in (many, few):
                    request = subject.update(id, numbers[id], _describe(numbers[id]))
                    taken[id].append(subject.timed(request))
                    numbers[id] += 1
            reads = subject.timed(subject.metadata(many, numbers[many]))
        return {
            "many": statistics.median(taken[many]),
            "few": statistics.median(taken[few]),
            "read": 1000 * reads / count,
            "others": meter.others,
        }

    measure()  # warms
    rounds = []
    for number in range(options.rounds):
        rounds.append(least_disturbed(measure, "others", options))
        _show(number, rounds[-1])
    return [
        Outcome(
            "lives-update",
            ratios(rounds, "many", "few"),
            f"{spread(rounds, 'many', 2, ' ms')} with {count:,} instances, "
            f"{spread(rounds, 'few', 2, ' ms')} with {FEW}; {noise(rounds)}",
            rounds=rounds,
        ),
        Outcome(
            "lives-new-version",
            [entry["read"] for entry in rounds],
            f"{count:,} instances of {small_slices.ELEMENTS} elements, through HTTP; {noise(rounds)}",
        ),
    ]


def _copies(subject: Subject, many: str, count: int, options: Options) -> Outcome:
    """Several copies a round, so that the writing back of the log is in it."""
    copies = 2 if options.quick else 5
    version = subject.client.get_image_set(datastoreId=subject.datastore, imageSetId=many)["versionId"]
    rounds = []
    for number in range(options.rounds):
        before, begun = subject.written(), time.perf_counter()
        for _ in range(copies):
            subject.copy(many, int(version))
        taken = 1000 * (time.perf_counter() - begun) / copies
        time.sleep(0.3)
        rounds.append({"bytes": (subject.written() - before) / copies / count, "ms": taken})
        _show(number, rounds[-1])
    return Outcome(
        "lives-copy-bytes",
        [entry["bytes"] for entry in rounds],
        f"all writes of all processes, log and its writing back; a copy of {count:,} took "
        f"{spread(rounds, 'ms', 0, ' ms')}",
        rounds=rounds,
    )


def _one_more(subject: Subject, many: int, options: Options) -> Outcome:
    """Jobs of one file: the next slice of the large series, and the first of a new one."""
    repeats = 4 if options.quick else 10
    rounds = []
    place = 0
    for number in range(options.rounds):
        taken: dict[str, list[float]] = {"full": [], "empty": []}
        with CpuMeter(subject.server.tree) as meter:
            for _ in range(repeats):
                taken["full"].append(subject.import_series(small_slices.series("many", 1, many + place)))
                taken["empty"].append(subject.import_series(small_slices.series(f"new {place}", 1)))
                place += 1
        rounds.append({key: statistics.median(values) for key, values in taken.items()})
        rounds[-1]["others"] = meter.others
        _show(number, rounds[-1])
    return Outcome(
        "lives-store-one",
        ratios(rounds, "full", "empty"),
        f"a whole import job of one file: {spread(rounds, 'full', 1, ' ms')} into {many:,}, "
        f"{spread(rounds, 'empty', 1, ' ms')} into none; {noise(rounds)}",
        rounds=rounds,
    )


def _old_versions(subject: Subject, options: Options) -> Outcome:
    """A set with many versions, of which every other changed an instance; each version is read once."""
    versions = VERSIONS // 10 if options.quick else VERSIONS
    subject.import_series(small_slices.series("versions", OF_VERSIONS))
    id = subject.sets()[OF_VERSIONS]
    (uid, *_), series = _instances(subject, id)
    copy = subject.copy(id, 1)
    for number in range(1, versions):
        instance = {uid: {"DICOM": {"ImageComments": f"comment {number}"}}}
        blob: dict[str, object] = (
            _describe(number) if number % 2 else {"Study": {"Series": {series: {"Instances": instance}}}}
        )
        subject.timed(subject.update(copy, number, blob, wide=False))
    reads = 5
    first = {
        f"version {middle}": [subject.metadata(copy, number) for number in _around(middle, reads, versions)]
        for middle in (1, versions // 2, versions)
    }
    single = [subject.copy(id, 1) for _ in range(options.rounds * reads)]
    rounds = []
    taken = {key: [subject.timed(request) for request in requests] for key, requests in first.items()}
    for number in range(options.rounds):
        one = [subject.timed(subject.metadata(each, 1)) for each in single[number * reads :][:reads]]
        rounds.append({"one": statistics.median(one)})
        rounds[-1] |= {key: statistics.median(values) for key, values in taken.items()}
        rounds[-1]["worst"] = max(statistics.median(values) for values in taken.values())
        _show(number, rounds[-1])
    parts = ", ".join(f"{key} {spread(rounds, key, 1, ' ms')}" for key in first)
    return Outcome(
        "lives-versions",
        ratios(rounds, "worst", "one"),
        f"{OF_VERSIONS} instances; {parts}; the only version {spread(rounds, 'one', 1, ' ms')}",
        rounds=rounds,
    )


def _around(middle: int, count: int, last: int) -> range:
    first = max(1, min(middle - count // 2, last - count + 1))
    return range(first, first + count)


def _instances(subject: Subject, image_set: str) -> tuple[list[str], str]:
    answer = subject.client.get_image_set_metadata(datastoreId=subject.datastore, imageSetId=image_set)
    document = json.loads(gzip.decompress(answer["imageSetMetadataBlob"].read()))
    ((uid, series),) = document["Study"]["Series"].items()
    return list(series["Instances"]), uid


def _show(number: int, found: dict[str, float]) -> None:
    print(f"  round {number + 1}  " + "  ".join(f"{key} {value:.2f}" for key, value in found.items()))
