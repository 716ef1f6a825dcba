"""QIDO-RS and frames on PostgreSQL against Orthanc on PostgreSQL (Debian's orthanc-postgresql).

Both keep their index in one PostgreSQL server, in a database each, and hold the same 10,000 studies, which
are kept for later runs.
"""

from __future__ import annotations

import json
from contextlib import ExitStack

from bench.clients.import_jobs import ImportJob
from bench.inputs import corpus, small_studies
from bench.results import Options, Outcome
from bench.scenarios import web_frames, web_search
from bench.servers import lightwell_server, orthanc, postgresql
from bench.servers.lightwell_server import Server
from bench.servers.orthanc import Orthanc
from bench.servers.postgresql import Postgresql
from bench.workspace import work_folder

_FRAMES = ("pg-orthanc-frames", "pg-orthanc-frames-raw")
_BAR = "pg-orthanc-qido"
ROWS = (*_FRAMES, *(f"{_BAR}-{kind}" for kind in web_search.KINDS))


def run(options: Options) -> list[Outcome]:
    reason = lightwell_server.missing() or postgresql.missing() or orthanc.missing_postgresql()
    if reason:
        return [Outcome(row, skipped=reason) for row in ROWS]
    files = small_studies.studies(500 if options.quick else web_search.PEERED)
    folder = work_folder() / f"pg-orthanc-{files.count}-{small_studies.REVISION}"
    (folder / "orthanc").mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        database = Postgresql(folder=folder / "cluster")
        stack.callback(database.stop)
        database.create("orthanc")
        peer = Orthanc("tuned", folder / "orthanc", postgresql=(database.port, "orthanc"))
        stack.callback(peer.stop)
        web_search.fill(peer, files)
        settings = {"LIGHTWELL_DATABASE_URL": database.create("lightwell")}
        subject = Server("lightwell", data=folder / "data", workers=2, settings=settings)
        stack.callback(subject.stop)
        datastore = _imported(subject, files)
        ct = corpus.ct(100 if options.quick else corpus.COUNT)
        return [
            *web_search.compare(subject, datastore, peer, files, options, _BAR),
            *web_frames.compare(subject, peer, ct, options, _FRAMES),
        ]


def _imported(subject: Server, files: small_studies.Studies) -> str:
    """The data store with the studies, imported once."""
    notes = subject.data.parent / "imported.json"
    if not notes.exists():
        datastore = subject.datastore("qido")
        ImportJob(subject, datastore, files.uri).wait(1800)
        notes.write_text(json.dumps(datastore))
    return str(json.loads(notes.read_text()))
