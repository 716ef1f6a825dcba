"""DICOM files over HTTP: instances, series and studies."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from tests.dicomweb.support.sample_datastore import (
    EXPLICIT,
    H264,
    HTJ2K,
    JPEG,
    JPEG2000,
    SampleDatastore,
    parts,
    read,
)
from tests.dicomweb.support.stored_files import StoredFiles
from tests.dicomweb.support.uploads import Store, new
from tests.support.ct_files import ct
from tests.support.javascript import needed

DICOM = "application/dicom"
PARTS = 'multipart/related; type="application/dicom"'
ALL = ("ct1", "ct2", "ct3", "frames", "colour", "jpeg", "bits", "report", "large", "blob", "video")


def same(found: FileDataset, sent: FileDataset) -> None:
    """Both say the same, but for what says how pixels are coded."""
    for element in sent:
        if element.tag.group != 0x7FE0 and element.keyword not in ("PhotometricInterpretation",
                                                                    "PlanarConfiguration"):  # fmt: skip
            assert found[element.tag] == element
    assert {e.tag for e in found} == {e.tag for e in sent}


@pytest.mark.parametrize(
    ("name", "accept", "syntax"),
    [
        ("ct1", None, EXPLICIT),
        ("ct1", "*/*", EXPLICIT),
        ("ct1", DICOM, EXPLICIT),
        ("ct1", f"{DICOM}; transfer-syntax={EXPLICIT}", EXPLICIT),
        ("ct1", f"{DICOM}; transfer-syntax=*", HTJ2K),
        ("ct1", f"{DICOM}; transfer-syntax={HTJ2K}", HTJ2K),
        ("ct1", f"{DICOM}; transfer-syntax={JPEG2000}", JPEG2000),
        ("frames", f"{DICOM}; transfer-syntax=*", HTJ2K),
        ("frames", f"{DICOM}; transfer-syntax={JPEG2000}", JPEG2000),
        ("colour", None, EXPLICIT),
        ("colour", f"{DICOM}; transfer-syntax=*", HTJ2K),
        ("colour", f"{DICOM}; transfer-syntax={JPEG2000}", JPEG2000),
        ("bits", f"{DICOM}; transfer-syntax=*", EXPLICIT),
        ("jpeg", None, JPEG),
        ("jpeg", f"{DICOM}; transfer-syntax=*", JPEG),
        ("jpeg", f"{DICOM}; transfer-syntax={EXPLICIT}", EXPLICIT),
        ("report", None, EXPLICIT),
        ("report", f"{DICOM}; transfer-syntax=*", EXPLICIT),
        ("large", None, EXPLICIT),
        ("blob", f"{DICOM}; transfer-syntax=*", EXPLICIT),
        ("blob", DICOM, EXPLICIT),
        ("video", None, H264),
        ("video", f"{DICOM}; transfer-syntax=*", H264),
    ],
)
def test_gives_an_instance_with_the_pixels_that_came(
    sample: SampleDatastore, tmp_path: Path, name: str, accept: str | None, syntax: str
) -> None:
    reply = sample.get(sample.instance(name), accept)
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == f"{DICOM}; transfer-syntax={syntax}"
    found, sent = read(reply.body), sample.files[name]
    assert found.file_meta.TransferSyntaxUID == syntax
    same(found, sent)
    if name in ("blob", "video"):
        assert found.PixelData == sent.PixelData
    elif name == "jpeg" and syntax == EXPLICIT:
        assert found.pixel_array.shape == sent.pixel_array.shape
    elif "PixelData" in sent:
        assert np.array_equal(found.pixel_array, sent.pixel_array)
    if name == "colour":
        assert found.PhotometricInterpretation == ("RGB" if syntax == EXPLICIT else "YBR_RCT")
    path = tmp_path / "instance.dcm"
    path.write_bytes(reply.body)
    needed("dcmdump", "dciodvfy")
    dumped = subprocess.run(["dcmdump", "-q", path], capture_output=True, check=True)
    assert dumped.stderr == b""
    if syntax != HTJ2K and name != "report":  # which dciodvfy takes for an uncompressed one
        sent.save_as(tmp_path / "came.dcm")
        assert faults(path) <= faults(tmp_path / "came.dcm")


def faults(path: Path) -> set[str]:
    checked = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace")
    lines = (checked.stdout + checked.stderr).splitlines()
    # A CT image in colour is none, in whatever colour space.
    return {line for line in lines if line.startswith("Error") and "<Photometric Interpretation>" not in line}


@pytest.mark.parametrize(
    ("name", "accept"),
    [
        ("ct1", f"{DICOM}; transfer-syntax={JPEG}"),
        ("ct1", f"{DICOM}; transfer-syntax=1.2.840.10008.1.2"),
        ("ct1", "image/jpeg"),
        ("jpeg", f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.91"),
        ("bits", f"{DICOM}; transfer-syntax={JPEG2000}"),
        ("report", f"{DICOM}; transfer-syntax={HTJ2K}"),
        ("blob", f"{DICOM}; transfer-syntax={HTJ2K}"),
        ("video", f"{DICOM}; transfer-syntax={EXPLICIT}"),
    ],
)
def test_answers_406_for_what_an_instance_cannot_be(sample: SampleDatastore, name: str, accept: str) -> None:
    reply = sample.get(sample.instance(name), accept)
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (406, "NotAcceptableException")
    assert b"transfer-syntax=*" in reply.body


def test_gives_an_instance_as_a_part(sample: SampleDatastore) -> None:
    reply = sample.get(sample.instance("ct1"), f"{PARTS}; transfer-syntax=*")
    (part,) = parts(reply)
    assert part.headers["content-type"] == f"{DICOM}; transfer-syntax={HTJ2K}"
    assert part.headers["content-location"] == sample.server.url + sample.root + sample.instance("ct1")
    assert np.array_equal(read(part.body).pixel_array, sample.files["ct1"].pixel_array)


def test_gives_a_series_in_order(sample: SampleDatastore) -> None:
    for accept in (None, "*/*", PARTS, f"{PARTS}; transfer-syntax=*"):
        reply = sample.get(sample.series("ct1"), accept)
        assert reply.status == 200 and reply.headers["transfer-encoding"] == "chunked"
        files = [read(part.body) for part in parts(reply)]
        assert [file.InstanceNumber for file in files] == [1, 2, 3]
        for number, file in enumerate(files, 1):
            assert np.array_equal(file.pixel_array, sample.files[f"ct{number}"].pixel_array)
    assert sample.get(sample.series("ct1"), DICOM).status == 406
    assert sample.get(sample.series("frames"), DICOM).status == 200


def test_gives_a_study_whole(sample: SampleDatastore) -> None:
    for accept in (None, f"{PARTS}; transfer-syntax=*"):
        reply = sample.get(sample.study("ct1"), accept)
        assert reply.status == 200 and "warning" not in reply.headers
        files = [read(part.body) for part in parts(reply)]
        assert [file.SOPInstanceUID for file in files] == [sample.files[name].SOPInstanceUID for name in ALL]


@pytest.mark.parametrize("syntax", [JPEG2000, "1.2.840.10008.1.2.4.91"])
def test_leaves_no_bits_between_frames_of_one_bit_that_it_decodes(
    sample: SampleDatastore, syntax: str
) -> None:
    made = sample.server.client().create_datastore(losslessStorageFormat="JPEG_2000_LOSSLESS")
    bits = np.random.default_rng(4).integers(0, 2, (3, 7, 9), np.uint8)
    coded = [imagecodecs.jpeg2k_encode(f, codecformat="j2k", reversible=True, bitspersample=1) for f in bits]
    one: dict[str, Any] = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "PixelRepresentation": 0}
    sent = ct(Rows=7, Columns=9, NumberOfFrames=3, **one)
    sent.PixelData = encapsulate(list(map(bytes, coded)))
    sent["PixelData"].VR = "OB"
    sent.file_meta.TransferSyntaxUID = UID(syntax)
    assert Store(sample.server, made["datastoreId"]).store(sent).status == 200
    stored = StoredFiles(sample.server, made["datastoreId"], {"bits": sent})
    reply = stored.get(stored.instance("bits"), f"{DICOM}; transfer-syntax={EXPLICIT}")
    assert np.array_equal(read(reply.body).pixel_array, bits)
    asked = f'multipart/related; type="application/octet-stream"; transfer-syntax={EXPLICIT}'
    found = parts(stored.get(stored.instance("bits") + "/frames/1,2,3", asked))
    for part, frame in zip(found, bits, strict=True):
        assert part.body == np.packbits(frame, bitorder="little").tobytes()


def test_says_of_a_deflated_file_that_it_was_inflated(sample: SampleDatastore) -> None:
    sent = ct(size=16, NumberOfFrames=3)  # of which there is one
    sent.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    store = new(sample.server)
    assert store.store(sent).status == 200
    stored = StoredFiles(sample.server, store.datastore, {"deflated": sent})
    for accept in (None, f"{DICOM}; transfer-syntax=*", f"{DICOM}; transfer-syntax={EXPLICIT}"):
        reply = stored.get(stored.instance("deflated"), accept)
        assert reply.headers["content-type"] == f"{DICOM}; transfer-syntax={EXPLICIT}"
        found = read(reply.body)
        assert (found.file_meta.TransferSyntaxUID, found.PixelData) == (EXPLICIT, sent.PixelData)
    deflated = f"{DICOM}; transfer-syntax={DeflatedExplicitVRLittleEndian}"
    assert stored.get(stored.instance("deflated"), deflated).status == 406
    (metadata,) = json.loads(stored.get(stored.instance("deflated") + "/metadata").body)
    assert metadata["00083002"]["Value"] == [EXPLICIT]


def test_gives_no_file_that_names_one_colour_space_for_frames_of_two(sample: SampleDatastore) -> None:
    pixels = np.random.default_rng(6).integers(0, 256, (16, 16, 3), np.uint8)
    frames = [
        imagecodecs.jpeg8_encode(pixels, colorspace="rgb", outcolorspace=space) for space in ("ycbcr", "rgb")
    ]
    three: dict[str, Any] = {
        "SamplesPerPixel": 3,
        "PlanarConfiguration": 0,
        "PhotometricInterpretation": "YBR_FULL_422",
    }
    eight: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    sent = ct(NumberOfFrames=2, **three, **eight)
    sent.PixelData = encapsulate(list(map(bytes, frames)))
    sent["PixelData"].VR = "OB"
    sent.file_meta.TransferSyntaxUID = UID(JPEG)
    store = new(sample.server)
    assert store.store(sent).status == 200
    stored = StoredFiles(sample.server, store.datastore, {"mixed": sent})
    assert stored.get(stored.instance("mixed")).status == 200
    reply = stored.get(stored.instance("mixed"), f"{DICOM}; transfer-syntax={EXPLICIT}")
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (406, "NotAcceptableException"), reply


def test_gives_icons_in_the_syntax_of_the_file_or_native(sample: SampleDatastore, tmp_path: Path) -> None:
    """PS3.5 A.4: JPEG icons in a JPEG file, native ones in every other, and in metadata."""
    grey = np.add.outer(np.arange(20), np.arange(31)).astype("u1")
    coded = bytes(imagecodecs.jpeg8_encode(grey))
    sent = ct(1, study="80")
    sent.file_meta.TransferSyntaxUID = UID(JPEG)
    sent.BitsAllocated = sent.BitsStored = 8
    sent.HighBit, sent.PixelRepresentation = 7, 0
    sent.PixelData = encapsulate([bytes(imagecodecs.jpeg8_encode(np.zeros((sent.Rows, sent.Columns), "u1")))])
    sent["PixelData"].is_undefined_length = True
    icon = Dataset()
    icon.SamplesPerPixel, icon.PhotometricInterpretation, icon.Rows, icon.Columns = 1, "MONOCHROME2", 20, 31
    icon.BitsAllocated, icon.BitsStored, icon.HighBit, icon.PixelRepresentation = 8, 8, 7, 0
    icon.PixelData = encapsulate([coded])
    icon["PixelData"].is_undefined_length = True
    sent.IconImageSequence = [icon]
    store = new(sample.server)
    assert store.store(sent).status == 200
    stored = StoredFiles(sample.server, store.datastore, {"icon": sent})
    native = imagecodecs.jpeg8_decode(coded).tobytes()
    same_syntax = stored.get(stored.instance("icon"), f"{DICOM}; transfer-syntax={JPEG}").body
    assert read(same_syntax).IconImageSequence == [icon]
    reply = stored.get(stored.instance("icon"), f"{DICOM}; transfer-syntax={EXPLICIT}")
    assert read(reply.body).IconImageSequence[0].PixelData == native
    assert len(reply.body) == int(reply.headers["content-length"])
    (metadata,) = json.loads(stored.get(stored.instance("icon") + "/metadata").body)
    shown = metadata["00880200"]["Value"][0]["7FE00010"]
    assert shown == {"vr": "OB", "InlineBinary": base64.b64encode(native).decode()}
    (tmp_path / "icon.dcm").write_bytes(reply.body)
    needed("dcmdump")
    checked = subprocess.run(["dcmdump", tmp_path / "icon.dcm"], capture_output=True, check=True)
    assert b"PixelSequence" not in checked.stdout and not checked.stderr


def test_says_what_of_a_study_is_left_out(sample: SampleDatastore) -> None:
    reply = sample.get(sample.study("ct1"), f"{PARTS}; transfer-syntax={HTJ2K}")
    assert reply.status == 206 and reply.headers["warning"].startswith("299 lightwell ")
    found = {read(part.body).SOPInstanceUID for part in parts(reply)}
    left_out = {sample.files[name].SOPInstanceUID for name in ("bits", "blob", "video")}
    assert found == {sample.files[name].SOPInstanceUID for name in ALL} - left_out
    assert sample.get(sample.series("bits"), f"{PARTS}; transfer-syntax={HTJ2K}").status == 406


def test_gives_another_set_by_its_id(sample: SampleDatastore) -> None:
    assert sample.get(sample.instance("other")).status == 404
    reply = sample.get(f"{sample.instance('other')}?imageSetId={sample.non_primary}")
    assert read(reply.body).PatientID == "P2"
    (part,) = parts(sample.get(f"{sample.series('other')}?imageSetId={sample.non_primary}"))
    assert read(part.body).PatientID == "P2"
    for path, status in (
        (f"{sample.instance('ct1')}?imageSetId={sample.non_primary}", 404),
        (f"{sample.instance('ct1')}?imageSetId={'0' * 32}", 404),
        (f"{sample.study('ct1')}?imageSetId={'0' * 32}", 404),
        (f"{sample.instance('ct1')}?imageSetId=A", 400),
        ("/studies/1.2.3", 404),
        ("/studies/x", 400),
        (f"{sample.study('ct1')}/series/1.2", 404),
        (f"{sample.series('ct1')}/instances/1.2", 404),
    ):
        assert sample.get(path).status == status, path


def test_gives_a_range_of_a_file(sample: SampleDatastore) -> None:
    for accept in (DICOM, f"{DICOM}; transfer-syntax=*"):
        whole = sample.get(sample.instance("frames"), accept)
        assert int(whole.headers["content-length"]) == len(whole.body)
        reply = sample.get(sample.instance("frames"), accept, range="bytes=5000-19999")
        assert (reply.status, reply.body) == (206, whole.body[5000:20000])
        assert reply.headers["content-range"] == f"bytes 5000-19999/{len(whole.body)}"
        known = sample.get(sample.instance("frames"), accept, if_none_match=whole.headers["etag"])
        assert (known.status, known.body) == (304, b"")
        head = sample.get(sample.instance("frames"), accept, method="HEAD")
        assert head.headers["content-length"] == whole.headers["content-length"] and not head.body
    assert sample.get(sample.study("ct1"), method="HEAD").body == b""
