"""QIDO-RS: against Orthanc at 10,000 studies, and the same questions at 1,000 and 1,000,000 studies."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from urllib.parse import quote

from bench.clients.dicomweb import DicomwebClient
from bench.clients.http_load import Request, drive
from bench.clients.import_jobs import ImportJob
from bench.clients.signed_requests import exchange
from bench.inputs import small_studies
from bench.inputs.filled_store import FilledStore, filled_store
from bench.inputs.small_studies import Studies
from bench.measure.latency import p50, show
from bench.results import Options, Outcome, noise, ratios, spread
from bench.servers import lightwell_server, orthanc
from bench.servers.lightwell_server import Server
from bench.servers.orthanc import Orthanc
from bench.workspace import work_folder

PEERED = 10_000
SMALL, LARGE = 1_000, 1_000_000
KINDS = ("PatientID", "AccessionNumber", "StudyInstanceUID", "StudyDate")
_JSON = {"Accept": "application/dicom+json"}


def run(options: Options) -> list[Outcome]:
    absent = lightwell_server.missing()
    return [*_against_orthanc(options, absent or orthanc.missing()), *_by_size(options, absent)]


# Against Orthanc -----------------------------------------------------------------------------------------


def _queries(files: Studies) -> dict[str, list[str]]:
    days = [
        (day, (datetime.strptime(day, "%Y%m%d") + timedelta(days=3)).strftime("%Y%m%d"))
        for day in files.dates
    ]
    return {
        "PatientID": [f"/studies?PatientID={value}" for value in files.patients],
        "AccessionNumber": [f"/studies?AccessionNumber={value}" for value in files.accessions],
        "StudyInstanceUID": [f"/studies?StudyInstanceUID={value}" for value in files.studies],
        "StudyDate": [f"/studies?StudyDate={first}-{last}" for first, last in days],
    }


def _against_orthanc(options: Options, reason: str | None) -> list[Outcome]:
    if reason:
        return [Outcome(f"qido-{kind}", skipped=reason) for kind in KINDS]
    files = small_studies.studies(500 if options.quick else PEERED)
    subject = Server("lightwell", workers=2)
    peer = _filled_orthanc(files)
    try:
        datastore = subject.datastore("qido")
        ImportJob(subject, datastore, files.uri).wait(1800)
        return compare(subject, datastore, peer, files, options, "qido")
    finally:
        subject.stop()
        peer.stop()


def compare(
    subject: Server, datastore: str, peer: Orthanc, files: Studies, options: Options, bar: str
) -> list[Outcome]:
    """Asks both, which hold the same studies; ``bar`` is what the keys of the bars begin with."""
    web = DicomwebClient(subject, datastore)
    rounds = []
    for number in range(-1, options.rounds):
        found: dict[str, float] = {}
        for kind, asked in _queries(files).items():
            ours = [web.get(path, _JSON) for path in asked]
            theirs = [orthanc.get(path, **_JSON) for path in asked]
            if number < 0:
                _same(web, ours, peer, theirs)
            found |= p50(f"lightwell {kind}", subject, ours, options)
            found |= p50(f"orthanc {kind}", peer, theirs, options)
        if number >= 0:
            rounds.append(found)
            show(number, found)
    return [
        Outcome(
            f"{bar}-{kind}",
            ratios(rounds, f"orthanc {kind}", f"lightwell {kind}"),
            f"p50 at 1 connection: lightwell {spread(rounds, f'lightwell {kind}', 2)} ms, "
            f"Orthanc {spread(rounds, f'orthanc {kind}', 2)} ms; {noise(rounds)}",
            rounds=rounds,
        )
        for kind in KINDS
    ]


def _filled_orthanc(files: Studies) -> Orthanc:
    """An Orthanc with these studies; filling it takes minutes, so its folder is kept."""
    folder = work_folder() / f"orthanc-{files.count}-{small_studies.REVISION}"
    folder.mkdir(exist_ok=True)
    peer = Orthanc("tuned", folder)
    fill(peer, files)
    return peer


def fill(peer: Orthanc, files: Studies) -> None:
    """Stores those studies in Orthanc that it has not got yet; stops it where it does not take them."""
    if peer.instances() != files.count:
        print(f"filling Orthanc with {files.count:,} studies", flush=True)
        known = peer.instances()
        every = sorted(files.folder.iterdir())[known - known % 500 :]
        for first in range(0, len(every), 500):
            load = [orthanc.stow(path.read_bytes()) for path in every[first : first + 500]]
            # On PostgreSQL it refuses some that come at once with others; those it has are only named again.
            if drive(peer.address, load, connections=4, seconds=None).errors and (
                errors := drive(peer.address, load, connections=1, seconds=None).errors
            ):
                peer.stop()
                raise RuntimeError(f"Orthanc did not take the studies: {errors}")


def _same(web: DicomwebClient, ours: list[Request], peer: Orthanc, theirs: list[Request]) -> None:
    """Both must find the same studies."""
    for mine, other in list(zip(ours, theirs, strict=True))[::40]:
        _, body = web.fetch(mine)
        status, _, answer = exchange(peer.address, other)
        if status != 200 or _uids(body) != _uids(answer) or not _uids(body):
            raise RuntimeError(f"{other.data[:200]!r}: {_uids(body)} here, {status} {_uids(answer)} there")


def _uids(body: bytes) -> list[str]:
    return sorted(hit["0020000D"]["Value"][0] for hit in json.loads(body or b"[]"))


# By size -------------------------------------------------------------------------------------------------


def _by_size(options: Options, reason: str | None) -> list[Outcome]:
    kinds = (*KINDS, "wildcard")
    if reason:
        return [Outcome(f"qido-size-{kind}", skipped=reason) for kind in kinds]
    sizes = (SMALL, LARGE // 50 if options.quick else LARGE)
    data = [filled_store(size, series=1) for size in sizes]
    subjects = [
        Server(f"lightwell-{size}", data=each.folder / "data") for size, each in zip(sizes, data, strict=True)
    ]
    try:
        asked = [
            (DicomwebClient(subject, each.datastore), each)
            for subject, each in zip(subjects, data, strict=True)
        ]
        rounds = []
        for number in range(-1, options.rounds):
            found: dict[str, float] = {}
            for kind in kinds:
                for name, subject, (web, each) in zip(("small", "large"), subjects, asked, strict=True):
                    requests = [web.get(path, _JSON) for path in paths(kind, each)]
                    if number < 0:
                        _finds_some(web, requests)
                    found |= p50(f"{name} {kind}", subject, requests, options)
            if number >= 0:
                rounds.append(found)
                show(number, found)
    finally:
        for subject in subjects:
            subject.stop()
    return [
        Outcome(
            f"qido-size-{kind}",
            ratios(rounds, f"large {kind}", f"small {kind}"),
            f"p50 {spread(rounds, f'large {kind}', 2)} ms at {sizes[1]:,} studies, "
            f"{spread(rounds, f'small {kind}', 2)} ms at {sizes[0]:,}; {noise(rounds)}",
            rounds=rounds,
        )
        for kind in kinds
    ]


def paths(kind: str, data: FilledStore) -> list[str]:
    """Questions that find about as many studies in a small store as in a large one."""
    if kind == "PatientID":
        return [f"/studies?PatientID={value}" for value in data.patients]
    if kind == "AccessionNumber":
        return [f"/studies?AccessionNumber={value}" for value in data.accessions]
    if kind == "StudyInstanceUID":
        return [f"/studies?StudyInstanceUID={value}" for value in data.studies]
    if kind == "wildcard":
        # ACC000012345 → *12345*: what nobody but this study and its like has.
        return [f"/studies?AccessionNumber={quote(f'*{value[-7:]}*')}&limit=20" for value in data.accessions]
    # A page of the newest: a range of a year in the large store, of all in the small one.
    years = range(2015, 2024)
    return [f"/studies?StudyDate={year}0101-{year}1231&limit=20" for year in years]


def _finds_some(web: DicomwebClient, requests: list[Request]) -> None:
    for request in requests[::40]:
        _, body = web.fetch(request)
        if not _uids(body):
            raise RuntimeError(f"a search that must find something found nothing: {request.data[:200]!r}")
