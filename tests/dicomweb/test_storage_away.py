"""The object store goes away and comes back: who asks meanwhile is told to try again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from tests.dicomweb.support.sample_datastore import fill
from tests.dicomweb.support.uploads import RELATED, part10, related
from tests.support.ct_files import ct
from tests.support.server import Reply, running, until
from tests.support.services import S3, new_bucket
from tests.support.tcp_proxies import InterruptibleProxy


def test_asks_to_try_again_while_the_object_store_is_away(s3_endpoint: S3, tmp_path: Path) -> None:
    bucket = new_bucket(s3_endpoint)
    parts = urlsplit(s3_endpoint.url)
    assert parts.hostname and parts.port
    way = InterruptibleProxy(parts.hostname, parts.port)
    env = {
        **s3_endpoint.environment,
        "LIGHTWELL_STORAGE_URL": f"s3://{bucket}/objects",
        "LIGHTWELL_STORAGE_ENDPOINT_URL": f"http://127.0.0.1:{way.port}",
    }
    with running(tmp_path / "data", env=env) as server:
        sample = fill(server)
        one = sample.instance("large")
        metadata = json.loads(sample.get(one + "/metadata").body)[0]
        bulk = urlsplit(metadata["00191001"]["BulkDataURI"]).path.removeprefix(sample.root)
        (image_set,) = {
            each["imageSetId"]
            for each in server.client().search_image_sets(
                datastoreId=sample.datastore,
                searchCriteria={"filters": [{
                    "operator": "EQUAL",
                    "values": [{"DICOMSeriesInstanceUID": sample.files["large"].SeriesInstanceUID}],
                }]},
            )["imageSetsMetadataSummaries"]
        }  # fmt: skip
        path = f"/datastore/{sample.datastore}/imageSet/{image_set}"
        document = server.client().get_image_set_metadata(datastoreId=sample.datastore, imageSetId=image_set)

        study = json.loads(gzip.decompress(document["imageSetMetadataBlob"].read()))["Study"]
        (series,) = study["Series"].values()
        found = series["Instances"][sample.files["large"].SOPInstanceUID]
        frame = b'{"imageFrameId":"%s"}' % found["ImageFrames"][0]["ID"].encode()
        body = related(part10(ct(1, study="77")))
        asks: dict[str, Callable[[], Reply]] = {
            "frame": lambda: server.send(server.signed("POST", path + "/getImageFrame", frame)),
            "frames": lambda: sample.get(one + "/frames/1"),
            "decoded": lambda: sample.get(
                one + "/frames/1",
                'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1',
            ),
            "instance": lambda: sample.get(one),
            "series": lambda: sample.get(sample.series("large")),
            "bulk": lambda: sample.get(bulk),
            "rendered": lambda: sample.get(one + "/rendered"),
            "thumbnail": lambda: sample.get(sample.series("large") + "/thumbnail"),
            "store": lambda: server.send(
                server.signed(
                    "POST", f"/datastore/{sample.datastore}/studies", body, headers={"content-type": RELATED}
                )
            ),
        }

        def answers() -> dict[str, Reply]:
            with ThreadPoolExecutor(len(asks)) as threads:
                going = {name: threads.submit(ask) for name, ask in asks.items()}
                return {name: reply.result() for name, reply in going.items()}

        way.close()
        for name, reply in answers().items():
            assert (reply.status, reply.headers.get("retry-after")) == (503, "1"), (name, reply.body)
        assert not [line for line in server.err if "Traceback" in line and '"request failed"' in line]
        way.is_open = True
        # Where several were refused, one at a time finds out that it is back.
        until(lambda: all(ask().status == 200 for ask in asks.values()))
        assert {name: reply.status for name, reply in answers().items()} == dict.fromkeys(asks, 200)
    way.end()
