"""Instances and frames in the lossless transfer syntaxes that clients ask for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from lightwell.imaging.dataset.transfer_syntaxes import LOSSLESS_SYNTAXES, retrievable
from tests.dicomweb.support.sample_datastore import (
    EXPLICIT,
    FRAMES,
    H264,
    HTJ2K,
    JPEG,
    SampleDatastore,
    parts,
    read,
)
from tests.dicomweb.support.stored_files import StoredFiles
from tests.dicomweb.support.uploads import new
from tests.support.ct_files import ct

DICOM = "application/dicom"
ROOT = "1.2.840.10008.1.2."
SV1, JPEG_LS, RLE = f"{ROOT}4.70", f"{ROOT}4.80", f"{ROOT}5"
TYPES = {
    "4.57": "image/jpeg",
    "4.70": "image/jpeg",
    "4.80": "image/jls",
    "4.81": "image/jls",
    "4.90": "image/jp2",
    "4.201": "image/jphc",
    "4.202": "image/jphc",
    "4.203": "image/jphc",
    "5": "image/dicom-rle",
}


@pytest.mark.parametrize("name", ["ct1", "frames", "colour", "jpeg"])
@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES)
def test_gives_an_instance_in_every_lossless_syntax(sample: SampleDatastore, name: str, syntax: str) -> None:
    reply = sample.get(sample.instance(name), f"{DICOM}; transfer-syntax={syntax}")
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == f"{DICOM}; transfer-syntax={syntax}"
    found = read(reply.body)
    native = read(sample.get(sample.instance(name), f"{DICOM}; transfer-syntax={EXPLICIT}").body)
    assert found.file_meta.TransferSyntaxUID == syntax
    # Nothing but the form of the pixels differs from the decoded file.
    assert [e for e in found if e.tag.group != 0x7FE0 and e.tag.group != 0x28] == [
        e for e in native if e.tag.group != 0x7FE0 and e.tag.group != 0x28
    ]
    transforms = TYPES[syntax.removeprefix(ROOT)] in ("image/jp2", "image/jphc")
    if name in ("colour", "jpeg"):
        assert native.PhotometricInterpretation in ("RGB", "YBR_FULL")
        as_rgb = native.PhotometricInterpretation == "RGB" and transforms
        colours = "YBR_RCT" if as_rgb else native.PhotometricInterpretation
        assert (found.PhotometricInterpretation, found.PlanarConfiguration) == (colours, 0)
    assert found.get("LossyImageCompression") == native.get("LossyImageCompression")
    pixels, _ = get_decoder(UID(syntax)).as_array(found, raw=True)
    assert pixels.dtype == native.pixel_array.dtype
    wanted, _ = get_decoder(UID(EXPLICIT)).as_array(native, raw=True)
    assert np.array_equal(pixels, wanted)


@pytest.mark.parametrize(("end", "kind"), TYPES.items())
def test_gives_frames_in_every_lossless_syntax(sample: SampleDatastore, end: str, kind: str) -> None:
    path = sample.instance("frames") + "/frames/2,1"
    for accept in (FRAMES + ROOT + end, f"multipart/related; type={kind}; transfer-syntax={ROOT}{end}"):
        reply = sample.get(path, accept)
        assert reply.status == 200, reply.body
        assert reply.headers["content-type"].startswith(f'multipart/related; type="{kind}"; boundary=')
        found = parts(reply)
        assert [part.headers["content-type"] for part in found] == [
            f"{kind}; transfer-syntax={ROOT}{end}"
        ] * 2
    whole = read(sample.get(sample.instance("frames"), f"{DICOM}; transfer-syntax={ROOT}{end}").body)
    whole.PixelData = encapsulate([part.body for part in found])
    whole.NumberOfFrames = 2
    pixels, _ = get_decoder(UID(ROOT + end)).as_array(whole, raw=True)
    assert np.array_equal(pixels, sample.files["frames"].pixel_array[[1, 0]])
    assert sample.get(path, accept).headers["etag"] == reply.headers["etag"]
    alone = sample.get(sample.instance("frames") + "/frames/2", f"{kind}; transfer-syntax={ROOT}{end}")
    assert alone.body == found[0].body and alone.headers["etag"] != reply.headers["etag"]
    every = sample.get(sample.instance("frames") + "/pixeldata", accept)
    assert [part.body for part in parts(every)][:2] == [found[1].body, found[0].body]


def test_names_the_colours_of_jpeg_frames_whose_colours_were_transformed_at_import(
    sample: SampleDatastore,
) -> None:
    sent = read(sample.get(sample.instance("colour"), f"{DICOM}; transfer-syntax={ROOT}4.90").body)
    assert sent.PhotometricInterpretation == "YBR_RCT"
    store = new(sample.server)
    assert store.store(sent).status == 200
    stored = StoredFiles(sample.server, store.datastore, {"colour": sent})
    frame = stored.get(stored.instance("colour") + "/frames/1", f"image/jpeg; transfer-syntax={SV1}").body
    whole = read(stored.get(stored.instance("colour"), f"{DICOM}; transfer-syntax={SV1}").body)
    assert whole.PhotometricInterpretation == "RGB"
    (coded,) = generate_frames(whole.PixelData, number_of_frames=1)
    # The components are named R, G and B in both.
    assert b"Adobe" in frame and frame.rstrip(b"\0") == coded.rstrip(b"\0")


@pytest.mark.parametrize(
    ("name", "accept", "kind", "syntax"),
    [
        ("ct1", "image/jpeg", "image/jpeg", SV1),
        ("ct1", "image/jls", "image/jls", JPEG_LS),
        ("ct1", "image/x-jls", "image/jls", JPEG_LS),
        ("ct1", "image/dicom-rle", "image/dicom-rle", RLE),
        ("ct1", "image/x-dicom-rle", "image/dicom-rle", RLE),
        ("ct1", "image/jphc", "image/jphc", HTJ2K),
        ("ct1", "image/bmp, image/jls;q=0.5", "image/jls", JPEG_LS),
        ("jpeg", "image/jpeg", "image/jpeg", JPEG),
        ("jpeg", "image/jls", "image/jls", JPEG_LS),
        ("jpeg", f"image/jpeg; transfer-syntax={SV1}", "image/jpeg", SV1),
        ("bits", "image/jls, application/octet-stream;q=0.1", "application/octet-stream", EXPLICIT),
    ],
)
def test_takes_the_syntax_from_the_media_type(
    sample: SampleDatastore, name: str, accept: str, kind: str, syntax: str
) -> None:
    reply = sample.get(sample.instance(name) + "/frames/1", accept)
    assert (reply.status, reply.headers["content-type"]) == (200, f"{kind}; transfer-syntax={syntax}")


def test_sends_what_is_stored_under_the_other_names_that_are_true_of_it(
    sample: SampleDatastore,
) -> None:
    stored = sample.get(sample.instance("ct1") + "/frames/1", f"image/jphc; transfer-syntax={HTJ2K}")
    for end in ("201", "203"):
        other = sample.get(sample.instance("ct1") + "/frames/1", f"image/jphc; transfer-syntax={ROOT}4.{end}")
        assert other.body == stored.body and other.headers["etag"] != stored.headers["etag"]


def test_gives_a_study_in_a_lossless_syntax(sample: SampleDatastore) -> None:
    reply = sample.get(sample.study("ct1"), f'multipart/related; type="{DICOM}"; transfer-syntax={JPEG_LS}')
    assert reply.status == 206 and "3 instances" in reply.headers["warning"]
    sent = [read(part.body) for part in parts(reply)]
    found = {data.SOPInstanceUID: data.file_meta.TransferSyntaxUID for data in sent}
    assert found[sample.files["colour"].SOPInstanceUID] == JPEG_LS
    assert found[sample.files["report"].SOPInstanceUID] == EXPLICIT
    assert not {sample.files[name].SOPInstanceUID for name in ("bits", "blob", "video")} & set(found)


def test_names_in_searches_what_can_be_retrieved(sample: SampleDatastore) -> None:
    for asked in ("includefield=AvailableTransferSyntaxUID", "includefield=00083002", "includefield=all", ""):
        found = json.loads(sample.get(f"{sample.study('ct1')}/instances?{asked}").body)
        by_uid = {each["00080018"]["Value"][0]: each.get("00083002") for each in found}
        for name, stored in (("ct1", HTJ2K), ("colour", HTJ2K), ("jpeg", JPEG)):
            named = by_uid[sample.files[name].SOPInstanceUID]
            assert named == ({"vr": "UI", "Value": list(retrievable(stored))} if asked else None), name
            if asked:
                for syntax in named["Value"]:
                    reply = sample.get(sample.instance(name), f"{DICOM}; transfer-syntax={syntax}")
                    assert reply.status == 200
        for name, only in (
            ("bits", EXPLICIT),
            ("report", EXPLICIT),
            ("blob", EXPLICIT),
            ("video", H264),
        ):
            named = by_uid[sample.files[name].SOPInstanceUID]
            assert named == ({"vr": "UI", "Value": [only]} if asked else None), name
    (metadata,) = json.loads(sample.get(sample.instance("ct1") + "/metadata").body)
    assert metadata["00083002"]["Value"] == [HTJ2K]
    (series, *_) = json.loads(sample.get("/series?includefield=00083002").body)
    assert "00083002" not in series


def test_gives_what_cannot_be_decoded_as_it_is_if_no_syntax_is_asked_for(sample: SampleDatastore) -> None:
    sent = ct(size=16, NumberOfFrames=3, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0)
    sent.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])  # one frame, and not even that
    sent["PixelData"].VR = "OB"
    sent.file_meta.TransferSyntaxUID = UID(JPEG_LS)
    store = new(sample.server)
    assert store.store(sent).status == 200
    stored = StoredFiles(sample.server, store.datastore, {"broken": sent})
    for accept in (None, "*/*", DICOM, f"{DICOM}; transfer-syntax=*", f"{DICOM}; transfer-syntax={JPEG_LS}"):
        reply = stored.get(stored.instance("broken"), accept)
        assert (reply.status, reply.headers["content-type"]) == (200, f"{DICOM}; transfer-syntax={JPEG_LS}")
        assert read(reply.body).PixelData == sent.PixelData
    for path in (stored.series("broken"), stored.study("broken")):
        reply = stored.get(path)
        assert reply.status == 200
        (part,) = parts(reply)
        assert part.headers["content-type"] == f"{DICOM}; transfer-syntax={JPEG_LS}"
    for syntax in (EXPLICIT, SV1, HTJ2K):
        assert stored.get(stored.instance("broken"), f"{DICOM}; transfer-syntax={syntax}").status == 406


def test_marks_what_it_has_encoded_as_weakly_the_same(sample: SampleDatastore) -> None:
    for path, form in ((sample.instance("ct1"), DICOM), (sample.instance("ct1") + "/frames/1", "image/jls")):
        accept = f"{form}; transfer-syntax={JPEG_LS}"
        known = sample.get(path, accept)
        assert known.headers["etag"].startswith('W/"')
        assert sample.get(path, accept, if_none_match=known.headers["etag"]).status == 304
        ranged = sample.get(path, accept, range="bytes=0-9", if_range=known.headers["etag"])
        assert (ranged.status, ranged.body) == (200, known.body)
    kept = sample.get(sample.instance("ct1") + "/frames/1", f"image/jphc; transfer-syntax={ROOT}4.201")
    assert kept.headers["etag"].startswith('"')
