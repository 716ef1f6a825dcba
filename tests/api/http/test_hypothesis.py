"""Requests of all kinds to one server: no fault, no hang, nothing malformed, a consistent store at the end.

`make fuzz-http` sends 100,000 of them; how many is in LIGHTWELL_HTTP_EXAMPLES.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from lightwell.settings import Settings
from lightwell.stores import open_stores
from tests.fuzz.http_surface import BOUNDARY, Connection, Known, Sent, requests, store_body
from tests.support import invariants
from tests.support.ct_files import ct
from tests.support.server import Server, running

EXAMPLES = int(os.environ.get("LIGHTWELL_HTTP_EXAMPLES", "300"))


def filled(server: Server, folder: Path) -> Known:
    """A data store with six studies."""
    client = server.client()
    datastore = client.create_datastore(datastoreName="hypothesis")["datastoreId"]
    part10, uids = b"", []
    for number in range(1, 7):
        data = ct(1, study=str(number))
        path = folder / f"{number}.dcm"
        data.save_as(path, enforce_file_format=True)
        part10 = path.read_bytes()
        uids.append((data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID))
        stored = server.signed(
            "POST",
            f"/datastore/{datastore}/studies",
            store_body(part10),
            headers={"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'},
        )
        assert server.send(stored).status == 200
    found = client.search_image_sets(datastoreId=datastore)["imageSetsMetadataSummaries"]
    sets = sorted(one["imageSetId"] for one in found)
    assert len(sets) == 6
    blob = client.get_image_set_metadata(datastoreId=datastore, imageSetId=sets[0])["imageSetMetadataBlob"]
    series = next(iter(json.loads(gzip.decompress(blob.read()))["Study"]["Series"].values()))
    frame = next(iter(series["Instances"].values()))["ImageFrames"][0]["ID"]
    return Known(datastore, sets, frame, uids, part10)


def test_answers_every_request_and_stays_consistent(tmp_path: Path) -> None:
    for bucket in ("in", "out"):
        (tmp_path / "data" / "buckets" / bucket).mkdir(parents=True)
    with running(tmp_path / "data", env={"LIGHTWELL_CODEC_WORKERS": "1"}) as server:
        known = filled(server, tmp_path)
        connection = Connection(server)

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(requests(known))
        def answered(sent: Sent) -> None:
            connection.send(sent)

        answered()
        print(f"\n{sum(connection.answers.values())} answers: {dict(sorted(connection.answers.items()))}")
        connection.send(Sent("GET", "/readyz", is_signed=False))
        connection.close()
        faults = [line for line in server.err if '"level":"error"' in line]
        assert not faults, "\n".join(faults[:5])
        # Enough of them got past what refuses ids and signatures.
        assert connection.answers.get(200, 0) > EXAMPLES // 30
    stores = open_stores(Settings(data=tmp_path / "data", database_url=server.database_url))
    try:
        invariants.check(stores)
    finally:
        stores.close()
