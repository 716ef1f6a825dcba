"""Settings that change what clients are answered, and where events go, on a server that has them all."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.dicomweb.support.uploads import new
from tests.support.ct_files import ct
from tests.support.server import running


def test_a_server_does_as_its_settings_say(tmp_path: Path) -> None:
    env = {
        "LIGHTWELL_RETRIEVE_INSTANCE_AS": "multipart",
        "LIGHTWELL_STRICT_QUERIES": "true",
        "LIGHTWELL_EVENTS_FILE": str(tmp_path / "events-elsewhere.ndjson"),
        "LIGHTWELL_EVENTS_ROTATE_BYTES": "1",
    }
    with running(tmp_path / "data", env=env) as server:
        store, file = new(server), ct(1)
        assert len(store.store(file).stored) == 1
        series = f"{store.path(file.StudyInstanceUID)}/series/{file.SeriesInstanceUID}"

        def types(accept: str) -> str:
            where = f"{series}/instances/{file.SOPInstanceUID}"
            reply = server.send(server.signed("GET", where, headers={"accept": accept}))
            assert reply.status == 200, reply.body
            return reply.headers["content-type"].partition(";")[0]

        assert types("*/*") == "multipart/related"
        assert types("application/dicom") == "application/dicom"

        for query in ("_=1", "limit=1001", "patientid=1", "PatientSex=F", "emptyvaluematching=true"):
            reply = server.send(server.signed("GET", f"{store.path()}?{query}"))
            assert (reply.status, json.loads(reply.body)["message"] != "") == (400, True), query
        assert server.send(server.signed("GET", f"{store.path()}?PatientID=*&limit=1000")).status == 200

        end = time.monotonic() + 60
        while not (files := sorted(tmp_path.glob("events-elsewhere-*.ndjson"))) and time.monotonic() < end:
            new(server)
            time.sleep(0.2)
    events = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert events and events[0]["detail-type"].startswith("Data Store")
    assert (tmp_path / "events-elsewhere.ndjson").exists()
    assert not (tmp_path / "data" / "events.ndjson").exists()
