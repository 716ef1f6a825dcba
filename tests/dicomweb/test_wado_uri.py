"""WADO-URI: instances by a query string."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import imagecodecs
import numpy as np
import pytest

from tests.dicomweb.support.sample_datastore import HTJ2K, JPEG2000, SampleDatastore, read
from tests.support.server import Reply

DICOM = "application/dicom"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "image/jpeg"


@pytest.fixture(scope="module")
def ask(sample: SampleDatastore) -> Iterator[object]:
    def ask(name: str, query: str = "", accept: str | None = None) -> Reply:
        """Ask for an instance of the data store; ``query`` follows the four needed parameters."""
        data = sample.files[name]
        text = f"?requestType=WADO&studyUID={data.StudyInstanceUID}&seriesUID={data.SeriesInstanceUID}"
        return sample.get(f"{text}&objectUID={data.SOPInstanceUID}{query}", accept)

    yield ask


def test_gives_the_file(sample: SampleDatastore, ask) -> None:  # type: ignore[no-untyped-def]
    reply = ask("ct1", f"&contentType={quote(DICOM, safe='')}")
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"].startswith(DICOM)
    found = read(reply.body)
    assert found.file_meta.TransferSyntaxUID == EXPLICIT
    assert np.array_equal(found.pixel_array, sample.files["ct1"].pixel_array)
    assert ask("ct1", "", DICOM).body == reply.body


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (HTJ2K, HTJ2K),
        (JPEG2000, JPEG2000),
        ("*", HTJ2K),
        ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.70"),
        ("1.2.840.10008.1.2.4.91", EXPLICIT),  # which is lossy
        ("1.2.840.10008.1.2", EXPLICIT),
    ],
)
def test_gives_the_transfer_syntax_or_the_default(ask, wanted: str, given: str) -> None:  # type: ignore[no-untyped-def]
    reply = ask("ct1", f"&contentType={DICOM}&transferSyntax={wanted}")
    assert reply.status == 200, reply.body
    assert read(reply.body).file_meta.TransferSyntaxUID == given


@pytest.mark.parametrize(
    ("name", "query", "accept", "kind"),
    [
        ("ct1", "", None, JPEG),
        ("ct1", "", "text/html,application/xhtml+xml,image/webp,*/*;q=0.8", JPEG),
        ("ct1", f"&contentType={JPEG}", "image/png", JPEG),
        ("ct1", "&contentType=image/png", None, "image/png"),
        ("ct1", "&contentType=image/gif,image/png", None, "image/gif"),
        ("jpeg", "", None, JPEG),
        ("frames", "", None, DICOM),
        ("frames", "&frameNumber=2", None, JPEG),
        ("frames", f"&contentType={JPEG}", None, JPEG),
        ("report", "", None, DICOM),
        ("report", "&contentType=text/plain", None, "text/plain"),
        ("report", "", "text/html,image/webp,*/*;q=0.8", "text/html"),
        ("blob", "", None, DICOM),
        ("blob", "", "image/webp,*/*;q=0.1", DICOM),
    ],
)
def test_shows_single_frames_and_gives_the_rest_as_files(ask, name, query, accept, kind) -> None:  # type: ignore[no-untyped-def]
    reply = ask(name, query, accept)
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"].partition(";")[0] == kind


def test_windows_and_cuts_a_picture(sample: SampleDatastore, ask) -> None:  # type: ignore[no-untyped-def]
    parameters = "&contentType=image/png&windowCenter=0.5&windowWidth=201"
    found = imagecodecs.png_decode(ask("ct1", parameters).body)
    expected = np.floor((sample.files["ct1"].pixel_array.astype(float) + 100).clip(0, 200) * 255 / 200 + 0.5)
    assert np.abs(found - expected).max() <= 1
    part = imagecodecs.png_decode(ask("ct1", parameters + "&region=0.5,0,1,0.5&rows=35").body)
    assert np.array_equal(part, found[:35, 35:])
    assert imagecodecs.png_decode(ask("ct1", parameters + "&columns=140&rows=20").body).shape == (20, 20)
    small = ask("ct1", f"&contentType={JPEG}&imageQuality=1")
    assert len(small.body) < len(ask("ct1", f"&contentType={JPEG}").body)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("&anonymize=yes", 400),
        ("&presentationUID=1.2", 400),
        ("&windowCenter=1", 400),
        ("&frameNumber=0", 400),
        ("&frameNumber=2", 404),
        ("&contentType=text/html", 406),
        ("&contentType=application/pdf", 406),
        ("&studyUID=1.2.3", 400),
        ("&STUDYUID=1.2.3", 400),
        ("&imageSetId=0123456789abcdef0123456789abcdef", 404),
    ],
)
def test_says_what_is_wrong(ask, query: str, status: int) -> None:  # type: ignore[no-untyped-def]
    reply = ask("ct1", query)
    assert (reply.status, b"message" in reply.body) == (status, True), reply.body


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?requestType=WADO", 400),
        ("?requestType=WSI&studyUID=1&seriesUID=1&objectUID=1", 400),
        ("?requestType=WADO&studyUID=1.2&seriesUID=1.2&objectUID=1.2", 404),
        ("?requestType=WADO&studyUID=a&seriesUID=1.2&objectUID=1.2", 400),
    ],
)
def test_needs_three_uids(sample: SampleDatastore, query: str, status: int) -> None:
    assert sample.get(query).status == status


def test_finds_an_instance_of_a_set_that_is_not_primary(sample: SampleDatastore, ask) -> None:  # type: ignore[no-untyped-def]
    assert ask("other").status == 404
    for query in ("", f"&contentType={DICOM}"):
        assert ask("other", f"&imageSetId={sample.non_primary}{query}").status == 200


def test_takes_names_of_parameters_in_any_case(sample: SampleDatastore) -> None:
    data = sample.files["ct1"]
    query = f"?requesttype=WADO&STUDYUID={data.StudyInstanceUID}&seriesuid={data.SeriesInstanceUID}"
    assert sample.get(f"{query}&objectuid={data.SOPInstanceUID}").headers["content-type"] == JPEG
