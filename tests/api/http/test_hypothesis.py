"""Requests of all kinds to one server: no fault, no hang, nothing malformed, a consistent store at the end.

`make fuzz-http` sends 100,000 of them; how many is in LIGHTWELL_HTTP_EXAMPLES.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import boto3
from botocore.credentials import Credentials
from hypothesis import HealthCheck, Phase, given, settings

from lightwell.settings import Settings
from lightwell.stores import open_stores
from tests.cli.running import lightwell
from tests.fuzz.http_doors import FUNCTION, ISSUER, POLICY, ROLE, TRUST
from tests.fuzz.http_surface import BOUNDARY, Connection, requests, store_body
from tests.fuzz.http_words import Known, Sent
from tests.support import invariants
from tests.support.console import ConsoleClient
from tests.support.ct_files import ct
from tests.support.server import REGION, Server, running

FUNCTIONS = Path(__file__).parents[2] / "dicomweb" / "auth" / "functions"
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
    return Known(datastore, sets, frame, uids, part10, *_doors(server, datastore, sets))


def _doors(
    server: Server, datastore: str, sets: list[str]
) -> tuple[str, list[str], dict[str, list[str]], Credentials]:
    """A data store with an authorizer, tokens, what labels of the console's paths are known, a session."""
    root = ConsoleClient(server)
    root("PUT", f"roles/{ROLE}", {"trustPolicy": TRUST, "policies": [POLICY]})
    put = lightwell("authorizer", "put", FUNCTION, "python:behaving:handler", data=server.data)
    assert put.status == 0, put
    judged = server.client().create_datastore(datastoreName="judged", lambdaAuthorizerArn=FUNCTION)
    authorized = judged["datastoreId"]
    tokens = [root("POST", f"datastores/{id}/viewer-token", {})["token"] for id in (datastore, authorized)]
    upload = root("POST", f"datastores/{datastore}/uploads", {"name": "x", "files": 9, "bytes": 90_000})
    key = root("POST", "keys", {"name": "known", "policies": [POLICY]})["accessKeyId"]
    labels = {
        "datastoreId": [datastore, authorized],
        "imageSetId": sets,
        "accessKeyId": [key],
        "roleName": [ROLE + "2"],
        "uploadId": [upload["uploadId"]],
        "jobId": [datastore],
        "part": ["success", "failure", "manifest"],
    }
    key_id, secret = server.root_pair
    client = boto3.client(
        "sts",
        endpoint_url=server.url,
        region_name=REGION,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
    )
    given = client.get_session_token()["Credentials"]
    session = Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    return authorized, tokens, labels, session


def _of_somebody(known: Known) -> list[str]:
    """What metrics may not tell: whose images there are, which, and who asked for them."""
    data = ct(1)
    people = [str(data.PatientName), str(data.PatientID)]
    uids = [uid for each in known.uids for uid in each]
    keys = [*known.labels["accessKeyId"], known.session.access_key, ROLE]
    ids = [known.datastore, known.authorized, known.frame, *known.image_sets, *known.labels["uploadId"]]
    return [*people, *uids, *keys, *ids, *known.tokens]


def test_answers_every_request_and_stays_consistent(tmp_path: Path) -> None:
    for bucket in ("in", "out"):
        (tmp_path / "data" / "buckets" / bucket).mkdir(parents=True)
    (tmp_path / "functions").mkdir()
    shutil.copy(FUNCTIONS / "behaving.py", tmp_path / "functions")
    env = {
        "LIGHTWELL_CODEC_WORKERS": "1",
        "LIGHTWELL_AUTHORIZERS_DIR": str(tmp_path / "functions"),
        "LIGHTWELL_OIDC_ISSUER": ISSUER,
        "LIGHTWELL_OIDC_CLIENT_ID": "console",
        # Otherwise a bad token in a hundred would be all that is looked at.
        "LIGHTWELL_FAILED_PROOFS": "0",
    }
    with running(tmp_path / "data", env=env) as server:
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
        measured = server.call("GET", "/metrics").body.decode()
        assert "lightwell_requests_total" in measured
        assert not [word for word in _of_somebody(known) if word in measured]
        faults = [line for line in server.err if '"level":"error"' in line]
        assert not faults, "\n".join(faults[:5])
        # Enough of them got past what refuses ids and signatures.
        assert connection.answers.get(200, 0) > EXAMPLES // 30
    stores = open_stores(Settings(data=tmp_path / "data", database_url=server.database_url))
    try:
        invariants.check(stores)
    finally:
        stores.close()
