"""Memory after a million requests against after ten thousand: of all kinds, also such as are refused."""

from __future__ import annotations

import time

from bench.clients.dicomweb import DicomwebClient
from bench.clients.http_load import Request, drive
from bench.inputs import corpus
from bench.results import Options, Outcome
from bench.scenarios.web_frames import FRAMES_AS, path_of
from bench.servers import lightwell_server
from bench.servers.imported_series import ImportedSeries
from bench.servers.lightwell_server import Server
from bench.workspace import new_folder

CONNECTIONS = 8
FIRST = 10_000
_BATCH = 50_000  # sent with signatures that were made just before
_REFUSED = 0.1
_SETTLE_SECONDS = 150
_JSON = {"Accept": "application/dicom+json"}
_MIB = 1 << 20


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing():
        return [Outcome("request-memory", skipped=reason)]
    data = new_folder("request-memory") / "data"
    first_run = Server("lightwell", data=data)
    try:
        loaded = ImportedSeries(first_run, corpus.ct(100))
    finally:
        first_run.stop()
    # Without what was started for the import, and ends after a while.
    subject = Server("lightwell", workers=2, data=data)
    try:
        loaded.move(subject)
        sent, batch = 0, 0
        rounds: list[dict[str, float]] = []
        while sent < options.requests:
            count = min(_BATCH, options.requests - sent) if rounds else min(FIRST, options.requests)
            _send(loaded, count, batch)
            if not rounds and not options.quick:
                # What a server loads in its first minutes, asked or not, is not what requests leave behind.
                time.sleep(_SETTLE_SECONDS)
            sent, batch = sent + count, batch + 1
            rounds.append({"requests": float(sent), "MiB": subject.tree.pss() / _MIB})
            print(f"  {sent:9,} requests  {rounds[-1]['MiB']:.1f} MiB", flush=True)
    finally:
        subject.stop()
    first, last = rounds[0]["MiB"], rounds[-1]["MiB"]
    return [
        Outcome(
            "request-memory",
            [last / first],
            f"{first:.0f} MiB after {rounds[0]['requests']:,.0f}, {last:.0f} MiB after {sent:,} requests: "
            "frames, metadata, searches, data stores, DICOMweb, a tenth of them refused",
            rounds=rounds,
        )
    ]


def _send(loaded: ImportedSeries, count: int, batch: int) -> None:
    """So many requests, each kind in turn."""
    refused = int(count * _REFUSED)
    for requests, number, good in (
        (_answered(loaded, batch), count - refused, b"2"),
        (_refused(loaded, batch), refused, b"4"),
    ):
        whole = [requests[each % len(requests)] for each in range(number)]
        load = drive(loaded.server.address, whole, connections=CONNECTIONS, seconds=None, good=good)
        if load.errors:
            raise RuntimeError(f"batch {batch}: {load.errors}")


def _answered(loaded: ImportedSeries, batch: int) -> list[Request]:
    """What is stored, in many ways, and some hundred searches that no earlier batch has made."""
    one = {"datastoreId": loaded.datastore, "imageSetId": loaded.image_set}
    web = DicomwebClient(loaded.server, loaded.datastore)
    files, found = loaded.corpus, []
    for number, frame in enumerate(loaded.frame_ids):
        name = f"P{batch}-{number}"
        criteria = {"filters": [{"values": [{"DICOMPatientId": name}], "operator": "EQUAL"}]}
        found += [
            loaded.sign("get_image_frame", **one, imageFrameInformation={"imageFrameId": frame}),
            web.get(path_of(files, number) + "/frames/1", {"Accept": FRAMES_AS.format("*")}),
            loaded.sign("search_image_sets", datastoreId=loaded.datastore, searchCriteria=criteria),
            web.get(f"/studies?PatientID={name}", _JSON),
            loaded.sign("get_image_set", **one),
            loaded.sign("list_datastores"),
        ]
    found += [loaded.sign("get_image_set_metadata", **one), web.get(path_of(files, 0) + "/metadata", _JSON)]
    return found


def _refused(loaded: ImportedSeries, batch: int) -> list[Request]:
    """Image sets that are not there, signatures that are wrong, keys that nobody has."""
    found = []
    for number in range(100):
        image_set = f"{batch * 1000 + number:032x}"
        missing = loaded.sign("get_image_set", datastoreId=loaded.datastore, imageSetId=image_set)
        forged = missing.data.replace(b"Signature=", b"Signature=0", 1)
        unknown = missing.data.replace(b"Credential=", b"Credential=X%d" % number, 1)
        found += [missing, Request(forged), Request(unknown)]
    return found
