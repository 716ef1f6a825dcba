"""What one instance, frame, document, search and version costs on both shapes: SQLite and local files,
PostgreSQL and S3 (SeaweedFS). There is no bar: what is printed is what docs/scale.md reckons with.

CPU is that of all processes of lightwell and, apart, of PostgreSQL; the S3 server's is left out. Statements
are those that PostgreSQL counted (pg_stat_statements, BEGIN and COMMIT among them), so there are at most as
many round trips: what is sent together makes one. Rows and objects are what the database, its log, and the
storage have grown by. CPU time hardly depends on what else the machine does; how long anything takes does,
and is left to the other scenarios.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.services import boto3_client

from bench.clients.dicomweb import DicomwebClient
from bench.clients.http_load import Request, drive
from bench.clients.import_jobs import ImportJob
from bench.inputs import corpus, small_mr
from bench.inputs.corpus import Corpus
from bench.inputs.small_mr import SmallInstances
from bench.results import Options, Outcome
from bench.servers import lightwell_server, postgresql, services
from bench.servers.imported_series import ImportedSeries
from bench.servers.lightwell_server import Server
from bench.servers.postgresql import Postgresql

ROW = "costs"
_COUNTED = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "all"}
_SETTLE = 2.0  # seconds after an import: everything it leaves to do is done
_VERSIONS = 50
_HEADER = ("CPU ms", "PostgreSQL's", "statements", "log KB", "rows KB", "objects", "objects KB")


@dataclass(frozen=True, slots=True)
class State:
    """What has been used up so far, by `_HEADER`: seconds, seconds, and counts of things and bytes."""

    values: tuple[float, ...]

    def since(self, before: State, count: float) -> tuple[float, ...]:
        scale = (1e3, 1e3, 1, 1e-3, 1e-3, 1, 1e-3)
        pairs = zip(self.values, before.values, scale, strict=True)
        return tuple((now - then) * factor / count for now, then, factor in pairs)


class Embedded:
    """SQLite and a local folder."""

    name = "embedded"

    def __init__(self, stack: ExitStack) -> None:
        self.server = Server("embedded", workers=2)
        stack.callback(self.server.stop)

    def state(self) -> State:
        packs = [path.stat().st_size for path in (self.server.data / "objects").rglob("*") if path.is_file()]
        with contextlib.closing(sqlite3.connect(self.server.data / "lightwell.db")) as db:
            (rows,) = db.execute(
                "SELECT (page_count - freelist_count) * page_size"
                " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
            ).fetchone()
        return State((self.server.tree.cpu(), 0, 0, 0, rows, len(packs), sum(packs)))


class Scaled:
    """PostgreSQL and SeaweedFS."""

    name = "PostgreSQL and S3"

    def __init__(self, stack: ExitStack) -> None:
        endpoint = stack.enter_context(services.s3())
        self._postgresql = Postgresql("costs", settings=_COUNTED)
        stack.callback(self._postgresql.stop)
        url = self._postgresql.create("costs")
        import psycopg

        self._db = psycopg.connect(url, autocommit=True)
        stack.callback(self._db.close)
        self._db.execute("CREATE EXTENSION pg_stat_statements")
        settings = services.s3_settings(endpoint)
        self._bucket = urlsplit(settings["LIGHTWELL_STORAGE_URL"]).netloc
        self._s3 = boto3_client(endpoint)
        stack.callback(self._s3.close)
        self.server = Server(
            "PostgreSQL and S3", workers=2, settings={**settings, "LIGHTWELL_DATABASE_URL": url}
        )
        stack.callback(self.server.stop)

    def state(self) -> State:
        row = self._db.execute(
            "SELECT (SELECT sum(calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
            " WHERE d.datname = current_database()),"
            " pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), pg_database_size(current_database())"
        ).fetchone()
        assert row is not None
        statements, log, rows = map(float, row)
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket)
        sizes = [item["Size"] for page in pages for item in page.get("Contents", ())]
        cpu = self.server.tree.cpu(), self._postgresql.tree.cpu()
        return State((*cpu, statements, log, rows, len(sizes), sum(sizes)))


Shape = Embedded | Scaled


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing() or postgresql.missing():
        return [Outcome(ROW, skipped=reason)]
    series = corpus.ct(100, "ct-costs") if options.quick else corpus.ct()
    small = small_mr.instances(400 if options.quick else 1_000)
    small_mr.instances(small_mr.SERIES)
    print(f"    {'':34}" + "".join(f"{title:>14}" for title in _HEADER))
    try:
        for make in (Embedded, Scaled):
            with ExitStack() as stack:
                shape = make(stack)
                print(f"  {shape.name}")
                _units(shape, series, small, options.seconds)
    except services.Unavailable as unavailable:
        return [Outcome(ROW, skipped=str(unavailable))]
    return [Outcome(ROW, detail="see what was printed")]


def _units(shape: Shape, series: Corpus, small: SmallInstances, seconds: float) -> None:
    server = shape.server
    ImportJob(server, server.datastore("warm"), small_mr.instances(small_mr.SERIES).uri).wait()
    time.sleep(_SETTLE)
    before, begun = shape.state(), time.monotonic()
    time.sleep(5)
    _show("idle, a second", shape, before, time.monotonic() - begun)
    before = shape.state()
    ImportJob(server, server.datastore("small"), small.uri).wait()
    time.sleep(_SETTLE)
    _show("MR instance of 256², imported", shape, before, len(small.paths))
    before = shape.state()
    reads = ImportedSeries(server, series)
    time.sleep(_SETTLE)
    _show("CT instance of 512², imported", shape, before, len(series.slices))
    frames = reads.frame_requests([0] * len(series.slices))
    few = [Request(frame.data) for frame in frames]
    _load("frame, native", shape, few, 8, seconds)
    web = DicomwebClient(server, reads.datastore)
    names = {"datastoreId": reads.datastore}
    document = reads.sign("get_image_set_metadata", imageSetId=reads.image_set, **names)
    _load(f"metadata of {len(few)}, read before", shape, [document], 8, seconds)
    criteria = {
        "filters": [{"values": [{"DICOMSeriesInstanceUID": _series_uid(reads)}], "operator": "EQUAL"}]
    }
    found = reads.sign("search_image_sets", searchCriteria=criteria, **names)
    _load("SearchImageSets by series", shape, [found], 8, seconds)
    json_ = {"Accept": "application/dicom+json"}
    _load("QIDO-RS, a page of 20 studies", shape, [web.get("/studies?limit=20", json_)], 8, seconds)
    before = shape.state()
    for number in range(1, _VERSIONS + 1):
        attributes = {"SchemaVersion": 1.1, "Study": {"DICOM": {"StudyDescription": f"described {number}"}}}
        updates = {"DICOMUpdates": {"updatableAttributes": json.dumps(attributes).encode()}}
        reads.client.update_image_set_metadata(
            imageSetId=reads.image_set,
            latestVersionId=str(number),
            updateImageSetMetadataUpdates=updates,
            includeStudyImageSets=True,
            **names,
        )
    _show("version: a study attribute", shape, before, _VERSIONS)


def _series_uid(reads: ImportedSeries) -> str:
    found = reads.client.search_image_sets(datastoreId=reads.datastore)["imageSetsMetadataSummaries"][0]
    uid: str = found["DICOMTags"]["DICOMSeriesInstanceUID"]
    return uid


def _load(what: str, shape: Shape, requests: list[Request], connections: int, seconds: float) -> None:
    """A closed loop of the same requests, to warm every process and then to count."""
    drive(shape.server.address, requests * 6, connections=connections, seconds=None)
    drive(shape.server.address, requests, connections=connections, seconds=seconds / 3)
    before = shape.state()
    load = drive(shape.server.address, requests, connections=connections, seconds=seconds)
    if load.errors:
        raise RuntimeError(f"{shape.name}: {what}: {load.errors}")
    _show(what, shape, before, len(load.latencies))


def _show(what: str, shape: Shape, before: State, count: float) -> None:
    values = shape.state().since(before, count)
    print(f"    {what:34}" + "".join(f"{value:14.3f}" for value in values), flush=True)
