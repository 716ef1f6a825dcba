"""The headers that keep answers out of shared caches, and that nothing stored can write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from lightwell.web.dicomweb.multipart import Multipart
from lightwell.web.dicomweb.resources import PATHS
from lightwell.wire.routes import ROUTES
from tests.dicomweb.support.sample_datastore import SampleDatastore, parts
from tests.dicomweb.support.stored_files import StoredFiles
from tests.dicomweb.support.uploads import new
from tests.support.ct_files import ct
from tests.support.server import Reply

NO_STORE, REVALIDATED = "no-store", "private, no-cache"
IDS = {"jobId": "4" * 32, "resourceArn": "arn%3Aaws%3Ax"}


def check(reply: Reply, what: str) -> None:
    """Nobody but the client itself keeps the answer, and where it has an ETag, not without asking again."""
    assert reply.headers.get("x-content-type-options") == "nosniff", what
    expected = REVALIDATED if "etag" in reply.headers else NO_STORE
    assert reply.headers.get("cache-control") == expected, what


@pytest.fixture(scope="module")
def bulk(sample: SampleDatastore) -> str:
    """The hash of a bulk value of the instance ``large``."""
    document = sample.get(sample.instance("large") + "/metadata").body.decode()
    found = re.search(r"/bulkdata/([^\"?/]+)\"", document)
    assert found is not None
    return found[1]


def resources(sample: SampleDatastore, bulk: str) -> Iterator[tuple[str, str, str]]:
    """Method, path and kind of every DICOMweb resource."""
    for pattern, methods in PATHS.items():
        name = "large" if "bulkdata" in pattern else "ct1"
        data = sample.files[name]
        item = bulk if pattern.endswith("bulkdata/*") else "1"
        labels = {
            "S": data.StudyInstanceUID,
            "E": data.SeriesInstanceUID,
            "I": data.SOPInstanceUID,
            "*": item,
        }
        path = "".join(f"/{labels.get(part, part)}" for part in pattern.split("/") if part)
        if not pattern:
            uids = f"studyUID={labels['S']}&seriesUID={labels['E']}&objectUID={labels['I']}"
            path = f"?requestType=WADO&{uids}"
        for method, (kind, _) in methods.items():
            yield method, path, kind


def test_keeps_dicomweb_answers_out_of_caches(sample: SampleDatastore, bulk: str) -> None:
    seen = set()
    for method, path, kind in resources(sample, bulk):
        # Nothing of what the other tests read is deleted.
        path = path.replace("/studies/", "/studies/9.") if method == "DELETE" else path
        first = sample.get(path, method=method)
        check(first, f"{method} {path}")
        if method == "GET":
            assert first.status in (200, 206), path
            check(sample.get(path, method="HEAD"), path)
            check(sample.get(path, accept="x/y"), path)
        if "etag" in first.headers:
            again = sample.get(path, if_none_match=first.headers["etag"])
            assert again.status == 304, path
            check(again, path)
            seen.add(kind)
        refused = sample.server.call(method, sample.root + path)
        assert refused.status == 403
        check(refused, f"{method} {path} without a signature")
    assert seen >= {"frames", "part10", "metadata", "bulkdata", "rendered", "thumbnail"}


def test_keeps_a_range_out_of_caches(sample: SampleDatastore, bulk: str) -> None:
    for path, accept in (
        (sample.instance("ct1") + "/frames/1", "application/octet-stream"),
        (sample.instance("large") + f"/bulkdata/{bulk}", "application/octet-stream"),
        (sample.instance("ct1"), "application/dicom"),
    ):
        for wanted, status in (("bytes=0-3", 206), ("bytes=99999999-", 416)):
            reply = sample.get(path, accept, range=wanted)
            assert reply.status == status, path
            check(reply, path)


def test_keeps_native_answers_out_of_caches(sample: SampleDatastore) -> None:
    client = sample.server.client()
    image_set = client.search_image_sets(datastoreId=sample.datastore)["imageSetsMetadataSummaries"][0]
    labels = {**IDS, "datastoreId": sample.datastore, "imageSetId": image_set["imageSetId"]}
    for operation, route in ROUTES.items():
        path = re.sub(r"\{(\w+)\+?\}", lambda m: labels.get(m[1], labels["imageSetId"]), route.template)
        if operation.startswith(("Delete", "Create")):
            path = path.replace(sample.datastore, "9" * 32)
        check(sample.server.send(sample.server.signed(route.method, path)), operation)
        check(sample.server.call(route.method, path), f"{operation} without a signature")
    # Those that are answered on the event loop, and with what they are asked for.
    root = f"{sample.root}/imageSet/{image_set['imageSetId']}"
    for _ in range(2):
        document = sample.server.send(sample.server.signed("POST", f"{root}/getImageSetMetadata"))
        assert document.status == 200
        check(document, "GetImageSetMetadata")
    (study,) = client.search_image_sets(
        datastoreId=sample.datastore,
        searchCriteria={
            "filters": [
                {
                    "operator": "EQUAL",
                    "values": [{"DICOMSeriesInstanceUID": sample.files["video"].SeriesInstanceUID}],
                }
            ]
        },
    )["imageSetsMetadataSummaries"]
    metadata = client.get_image_set_metadata(datastoreId=sample.datastore, imageSetId=study["imageSetId"])
    for frame_id in frame_ids(metadata["imageSetMetadataBlob"].read()):
        path = f"{sample.root}/imageSet/{study['imageSetId']}/getImageFrame"
        body = json.dumps({"imageFrameId": frame_id}).encode()
        frame = sample.server.send(sample.server.signed("POST", path, body))
        assert frame.status == 200
        check(frame, "GetImageFrame")


def frame_ids(document: bytes) -> list[str]:
    import gzip

    found = re.findall(rb'"ID":"([0-9a-f]{32})"', gzip.decompress(document).replace(b" ", b""))
    assert found
    return [each.decode() for each in found]


def test_keeps_everything_else_out_of_caches(sample: SampleDatastore) -> None:
    server = sample.server
    for path in ("/healthz", "/readyz", "/metrics", "/version", "/", "/nowhere"):
        for method in ("GET", "HEAD", "POST"):
            check(server.call(method, path), f"{method} {path}")
    preflight = {"origin": "https://viewer.example", "access-control-request-method": "GET"}
    reply = server.call("OPTIONS", sample.root + "/studies", headers=preflight)
    assert reply.status == 204
    check(reply, "preflight")
    form = {"content-type": "application/x-www-form-urlencoded"}
    check(server.call("POST", "/", b"Action=GetCallerIdentity&Version=2011-06-15", form), "STS")


@pytest.mark.parametrize(
    "data",
    [
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * (80 << 10),
    ],
)
def test_keeps_refusals_of_what_is_no_request_out_of_caches(sample: SampleDatastore, data: bytes) -> None:
    head = sample.server.raw(data, end=False).partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    assert b"x-content-type-options: nosniff" in head
    assert b"cache-control: no-store" in head


# What is stored cannot write headers or parts of the answers in which it is sent.
FORGED = "1.2\r\nX-Forged: 1\r\n\r\nforged"
OF_PARTS = {"content-type", "content-location"}
DICOM = 'multipart/related; type="application/dicom"'
FRAMES = 'multipart/related; type="application/octet-stream"'


def _forged(keyword: str) -> FileDataset:
    data = ct(2, study="7")
    # Past pydicom's own check of values.
    setattr(data, keyword, UID(FORGED, validation_mode=0))
    data.file_meta.MediaStorageSOPInstanceUID = ct(2).SOPInstanceUID
    return data


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("keyword", ["SeriesInstanceUID", "SOPInstanceUID"])
def test_a_uid_ends_no_header_of_a_part(sample: SampleDatastore, keyword: str) -> None:
    store = new(sample.server)
    study = ct(1, study="7")
    data = _forged(keyword)
    report = store.store(study, data)
    assert [len(report.stored), report.failed] == [2, []]
    files = StoredFiles(sample.server, store.datastore, {"study": study, "forged": data})
    path = f"/studies/{study.StudyInstanceUID}"
    of_series = 1 if keyword == "SeriesInstanceUID" else 2
    one = f"{path}/series/{quote(data.SeriesInstanceUID)}/instances/{quote(data.SOPInstanceUID)}"
    for each, accept, count in (
        (path, DICOM, 2),
        (f"{path}/pixeldata", FRAMES, 2),
        (f"{one}/frames/1", FRAMES, 1),
        (f"{one}/frames/1?level=1", FRAMES, 1),
        (f"{one.partition('/instances/')[0]}/frames?level=1", FRAMES, of_series),
    ):
        reply = files.get(each, accept)
        assert reply.status == 200, reply.body
        found = parts(reply)
        names = {name for part in found for name in part.headers if not name.startswith("x-lightwell-")}
        assert len(found) == count and names == OF_PARTS
        assert sum("%0D%0AX-Forged" in part.headers["content-location"] for part in found) == 1
    for kind in ("rendered", "thumbnail"):
        assert "%0D%0AX-Forged" in files.get(f"{one}/{kind}").headers["content-location"]


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\rb"])
def test_no_part_has_a_header_with_a_line_break(value: str) -> None:
    assert Multipart("b").opening("text/plain", "a b", first=True).count(b"\r\n") == 4
    with pytest.raises(ValueError, match="line break"):
        Multipart("b").opening("text/plain", value, first=True)
    with pytest.raises(ValueError, match="line break"):
        Multipart("b").opening("text/plain", "a", [f"X: {value}"])
