"""dicomweb-client, as it comes, retrieves and deletes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from dicomweb_client import DICOMwebClient

from tests.dicomweb.support.javascript_clients import imported
from tests.dicomweb.support.sample_datastore import EXPLICIT, HTJ2K, JPEG2000, SampleDatastore
from tests.dicomweb.test_retrieve import ALL
from tests.support.ct_files import ct, write
from tests.support.server import REGION, Server


class Signed(requests.auth.AuthBase):
    """Signs what requests sends."""

    def __init__(self, server: Server) -> None:
        self._signer = SigV4Auth(server.root, "medical-imaging", REGION)

    def __call__(self, request: Any) -> Any:
        signed = AWSRequest(request.method, request.url, data=request.body or b"")
        if "host" in request.headers:  # which the client sets itself in some calls, without the port
            signed.headers["host"] = request.headers["host"]
        self._signer.add_auth(signed)
        request.headers.update(dict(signed.headers))
        return request


def client_of(sample: SampleDatastore, session: requests.Session) -> Any:
    session.auth = Signed(sample.server)
    return DICOMwebClient(sample.server.url + sample.root, session=session)


@pytest.fixture(scope="module")
def client(sample: SampleDatastore) -> Iterator[Any]:
    with requests.Session() as session:
        yield client_of(sample, session)


def uids(sample: SampleDatastore, name: str) -> tuple[str, str, str]:
    data = sample.files[name]
    return data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID


@pytest.mark.parametrize("syntax", [None, "*", EXPLICIT, JPEG2000])
def test_retrieves_an_instance(sample: SampleDatastore, client: Any, syntax: str | None) -> None:
    types = None if syntax is None else (("application/dicom", syntax),)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = client.retrieve_instance(*uids(sample, "frames"), media_types=types)
    assert np.array_equal(found.pixel_array, sample.files["frames"].pixel_array)
    assert found.file_meta.TransferSyntaxUID == {None: HTJ2K, "*": HTJ2K}.get(syntax, syntax)


def test_retrieves_series_and_studies(sample: SampleDatastore, client: Any) -> None:
    study, series, _ = uids(sample, "ct1")
    found = client.retrieve_series(study, series)
    assert [file.SOPInstanceUID for file in found] == [uids(sample, f"ct{n}")[2] for n in (1, 2, 3)]
    wanted = [uids(sample, name)[2] for name in ALL]
    assert [file.SOPInstanceUID for file in client.retrieve_study(study)] == wanted
    assert [file.SOPInstanceUID for file in client.iter_study(study)] == wanted


def test_retrieves_frames(sample: SampleDatastore, client: Any) -> None:
    pixels = sample.files["frames"].pixel_array
    for types, decode in (
        (None, None),
        ((("application/octet-stream", EXPLICIT),), None),
        ((("application/octet-stream", "*"),), imagecodecs.htj2k_decode),
        ((("image/jp2", JPEG2000),), imagecodecs.jpeg2k_decode),
    ):
        for call in (client.retrieve_instance_frames, client.iter_instance_frames):
            found = list(call(*uids(sample, "frames"), [3, 1], media_types=types))
            assert len(found) == 2
            for body, number in zip(found, (3, 1), strict=True):
                frame = np.frombuffer(body, np.int16).reshape(70, 70) if decode is None else decode(body)
                assert np.array_equal(frame, pixels[number - 1])


def test_deletes(sample: SampleDatastore) -> None:
    datastore = sample.server.client().create_datastore(datastoreName="client")["datastoreId"]
    for number in (1, 2):
        path = sample.server.data / "buckets" / "in-bucket" / datastore / f"{number}.dcm"
        write(path, ct(number, study="78"))
    imported(sample.server, datastore, f"{datastore}/")
    one = ct(1, study="78")
    with requests.Session() as session:
        client = client_of(SampleDatastore(sample.server, datastore, {}), session)
        client.delete_instance(one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
        (left,) = client.retrieve_series(one.StudyInstanceUID, one.SeriesInstanceUID)
        assert left.InstanceNumber == 2
        client.delete_series(one.StudyInstanceUID, one.SeriesInstanceUID)
        with pytest.raises(requests.HTTPError, match="404"):
            client.delete_study(one.StudyInstanceUID)
