"""The list of studies and the archives of image sets, as the console asks for them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pydicom
import pytest

from lightwell.domain.arn import datastore_arn
from tests.dicomweb.support.uploads import Store, new
from tests.support.console import ACCOUNT, ConsoleClient, allow
from tests.support.ct_files import ROOT, ct
from tests.support.server import REGION, Server

NO_SUCH = "0" * 32


@pytest.fixture(scope="module")
def store(server: Server) -> Store:
    """Two series of one study, one of another, and a copy of the latter's only image set, which is gone."""
    made = new(server)
    made.store(
        *(ct(n, study="71", PatientName="Silva^Ana", SeriesDescription="<img onerror=x>") for n in (1, 2)),
        ct(1, study="71", series="2", Modality="SR", PatientName="Silva^Ana"),
        ct(1, study="72", PatientName="Lind^Bo", PatientID="", StudyDate="20200229"),
    )
    client = server.client()
    last = next(s for s in made.sets() if s["DICOMTags"]["DICOMStudyInstanceUID"] == f"{ROOT}.72")
    client.copy_image_set(
        datastoreId=made.datastore,
        sourceImageSetId=last["imageSetId"],
        copyImageSetInformation={"sourceImageSet": {"latestVersionId": "1"}},
    )
    client.delete_image_set(datastoreId=made.datastore, imageSetId=last["imageSetId"])
    return made


def test_lists_studies_of_primary_image_sets_and_of_others(root: ConsoleClient, store: Store) -> None:
    path = f"datastores/{store.datastore}/studies"
    found = root("POST", path, {"sort": "date", "direction": "ascending"})
    assert (found["total"], found["nextToken"], found["sortedWithin"]) == (2, None, None)
    other, study = found["studies"]
    assert (study["patientName"], study["modalities"]) == ("Silva^Ana", ["CT", "SR"])
    assert (study["seriesCount"], study["instanceCount"]) == (2, 3)
    assert (study["primaryImageSetCount"], study["otherImageSetCount"]) == (2, 0)
    pictures, report = study["imageSets"]
    assert (pictures["modality"], report["modality"]) == ("CT", "SR")
    assert pictures["seriesDescription"] == "<img onerror=x>" and pictures["versionId"] == "1"
    assert study["thumbnailImageSetId"] == pictures["imageSetId"]
    assert (other["patientName"], other["patientId"], other["studyDate"]) == ("Lind^Bo", None, "20200229")
    assert (other["primaryImageSetCount"], other["otherImageSetCount"]) == (0, 1)
    assert other["imageSets"][0]["isPrimary"] is False

    first = root("POST", path, {"maxResults": 1})
    then = root("POST", path, {"maxResults": 1, "nextToken": first["nextToken"]})
    uids = [each["studies"][0]["studyInstanceUid"] for each in (first, then)]
    assert sorted(uids) == [f"{ROOT}.71", f"{ROOT}.72"]
    assert root.refused("POST", path, {"nextToken": first["nextToken"], "text": "x"})[0] == 400

    for body, expected in (
        ({"text": "ana sil"}, "71"),
        ({"text": "LIND"}, "72"),
        ({"text": f"{ROOT}.71"}, "71"),
        ({"patient": "bo", "lastDay": "2020-12-31"}, "72"),
        ({"modalities": ["SR"]}, "71"),
        ({"primary": "nonPrimary"}, "72"),
        ({"studyInstanceUids": [f"{ROOT}.72", "9"]}, "72"),
    ):
        found = root("POST", path, body)
        assert [each["studyInstanceUid"] for each in found["studies"]] == [f"{ROOT}.{expected}"], body


def test_tells_patients_of_one_study_apart(server: Server, root: ConsoleClient) -> None:
    made = new(server)
    made.store(ct(1, study="73", Modality="SR", PatientID="S1", PatientName="Smith^Jo"))
    made.store(*(ct(n, study="73", series="2", PatientID="D1", PatientName="Doe^Jo") for n in (1, 2)))
    path = f"datastores/{made.datastore}/studies"

    (study,) = root("POST", path, {})["studies"]
    own, other = study["imageSets"]
    assert (study["patientId"], own["isPrimary"], own["otherPatient"]) == ("S1", True, None)
    assert (other["isPrimary"], other["otherPatient"]) == (
        False,
        {"patientId": "D1", "patientName": "Doe^Jo"},
    )
    assert study["thumbnailImageSetId"] is None  # the only picture is another patient's

    (study,) = root("POST", path, {"text": "doe"})["studies"]
    assert (study["patientId"], study["patientName"], study["instanceCount"]) == ("D1", "Doe^Jo", 2)
    assert study["thumbnailImageSetId"] == study["imageSets"][0]["imageSetId"] == other["imageSetId"]
    assert study["imageSets"][1]["otherPatient"] == {"patientId": "S1", "patientName": "Smith^Jo"}


@pytest.mark.parametrize(
    "body",
    [
        {"sort": "size"},
        {"direction": "up"},
        {"primary": "some"},
        {"firstDay": "soon"},
        {"modalities": ["<"]},
        {"maxResults": 0},
        {"studyInstanceUids": [""]},
        {"studyInstanceUids": ["1"] * 101},
        {"text": "x" * 300},
        {"nextToken": "x"},
        {"more": 1},
    ],
)
def test_refuses_what_is_no_search(root: ConsoleClient, store: Store, body: dict[str, Any]) -> None:
    assert root.refused("POST", f"datastores/{store.datastore}/studies", body)[:2] == (
        400,
        "ValidationException",
    )


def test_needs_both_searches_allowed(
    store: Store, limited: Callable[..., ConsoleClient], root: ConsoleClient
) -> None:
    arn = datastore_arn(REGION, ACCOUNT, store.datastore)
    path = f"datastores/{store.datastore}/studies"
    both = ["medical-imaging:SearchImageSets", "medical-imaging:SearchDICOMStudies"]
    assert limited(allow(both, arn), name="reader")("POST", path, {})["total"] == 2
    assert limited(allow(both[0], arn), name="native")("POST", path, {}, status=403)
    assert root.refused("POST", f"datastores/{NO_SUCH}/studies", {})[0] == 404


def _names(archive: bytes) -> dict[str, pydicom.FileDataset]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        return {name: pydicom.dcmread(io.BytesIO(opened.read(name))) for name in opened.namelist()}


def test_exports_image_sets_primary_or_not_as_one_archive(
    server: Server, root: ConsoleClient, store: Store, limited: Callable[..., ConsoleClient]
) -> None:
    ids = [each["imageSetId"] for each in store.sets()]
    path = f"datastores/{store.datastore}/archive?imageSetIds={','.join(ids)}"
    # As a link, which the browser follows by itself.
    reply = server.send(server.signed("GET", f"/console/api/{path}", query_expires=60))
    assert (reply.status, reply.headers["content-type"]) == (200, "application/zip")
    assert reply.headers["content-disposition"] == 'attachment; filename="dicom.zip"'
    files = _names(reply.body)
    assert {name.rpartition("/")[0] for name in files} == {
        f"{ROOT}.{each}" for each in (f"71/{ROOT}.71.1", f"71/{ROOT}.71.2", f"72/{ROOT}.72.1")
    }
    one = files[f"{ROOT}.71/{ROOT}.71.1/00002.dcm"]
    assert one.PixelData == ct(2, study="71").PixelData

    query = "imageSetIds"
    stored = root.send("GET", f"datastores/{store.datastore}/archive?{query}={ids[0]}&syntax=stored")
    assert {each.file_meta.TransferSyntaxUID for each in _names(stored.body).values()} == {
        "1.2.840.10008.1.2.4.202"
    }
    assert root.refused("GET", f"datastores/{store.datastore}/archive?{query}=")[0] == 400
    assert root.refused("GET", f"datastores/{store.datastore}/archive?{query}={NO_SUCH}")[0] == 404
    nobody = limited(allow("medical-imaging:SearchImageSets"), name="nobody")
    for each in (ids[0], NO_SUCH):
        assert nobody.refused("GET", f"datastores/{store.datastore}/archive?{query}={each}")[0] == 403
    arn = datastore_arn(REGION, ACCOUNT, store.datastore)
    of_one_study = {
        **allow("medical-imaging:GetDICOMInstance", arn),
        "Condition": {"StringEquals": {"medical-imaging:StudyInstanceUID": f"{ROOT}.72"}},
    }
    some = limited(of_one_study, name="some")
    by_study = {each["DICOMTags"]["DICOMStudyInstanceUID"]: each["imageSetId"] for each in store.sets()}
    allowed = by_study[f"{ROOT}.72"]
    assert some.send("GET", f"datastores/{store.datastore}/archive?{query}={allowed}").status == 200
    assert some.refused("GET", f"{path}")[0] == 403


def test_dicomweb_sends_a_study_as_an_archive(server: Server, store: Store) -> None:
    path = f"/datastore/{store.datastore}/studies/{ROOT}.71"
    reply = server.send(server.signed("GET", path, headers={"Accept": "application/zip"}))
    assert (reply.status, reply.headers["content-type"]) == (200, "application/zip")
    assert len(_names(reply.body)) == 3
    one = server.send(
        server.signed("GET", f"{path}/series/{ROOT}.71.2?accept=application%2Fzip", query_expires=60)
    )
    assert list(_names(one.body)) == [f"{ROOT}.71/{ROOT}.71.2/00001.dcm"]
    asked = "application/zip; transfer-syntax=1.2.840.10008.1.2.4.50"
    assert server.send(server.signed("GET", path, headers={"Accept": asked})).status == 406
