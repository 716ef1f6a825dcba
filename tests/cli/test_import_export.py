"""``lightwell import`` and ``lightwell export``: in, and out again with the same pixels and attributes."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import iter_pixels

from tests.cli.running import lightwell, lightwell_here
from tests.unit.imaging import headers

# One of each way that pixels are kept: encoded, native, unchanged, missing, truncated.
NAMES = [
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_truncated.dcm",
    "JPEG2000.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "examples_palette.dcm",
    "examples_ybr_color.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "reportsi.dcm",
    "rtdose.dcm",
]


def shipped(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert path is not None, f"pydicom's wheel lacks {name}"
    return Path(str(path))


def exported(folder: Path) -> dict[str, Path]:
    return {p.stem: p for p in folder.rglob("*.dcm")}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_gives_back_the_pixels_and_attributes_that_went_in(name: str, tmp_path: Path) -> None:
    source = shipped(name)
    done = lightwell_here("import", source, data=tmp_path / "data")
    assert (done.status, "1 of 1 file imported, 1 image set\n" in done.out) == (0, True), done
    written = lightwell_here("export", "--datastore", "default", tmp_path / "out", data=tmp_path / "data")
    assert written.status == 0, written
    before = pydicom.dcmread(source)
    after_path = exported(tmp_path / "out")[before.SOPInstanceUID]
    after = pydicom.dcmread(after_path)
    pixel_module = {"PixelData", "PlanarConfiguration", "PhotometricInterpretation"}
    for element in before:
        if element.keyword not in pixel_module and element.tag.element != 0:
            assert after[element.tag].value == element.value, element
    if "PixelData" not in before:
        assert "PixelData" not in after
    elif name == "MR_truncated.dcm":
        assert after.PixelData == before.PixelData
    else:
        pairs = zip(iter_pixels(before, raw=True), iter_pixels(after, raw=True), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_counts_files_that_are_not_dicom_apart(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    shutil.copy(shipped("CT_small.dcm"), folder / "a.dcm")
    (folder / "notes.txt").write_text("no DICOM at all")
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder.parent / ".DS_Store").touch()
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(shipped("rtdose.dcm"), "x/rtdose.dcm")
        archive.writestr("x/Thumbs.db", b"\xd0\xcf\x11\xe0" * 99)
    given = "import", tmp_path / "in", tmp_path / "more.zip"
    done = lightwell_here(*given, "--json", data=tmp_path / "data")
    result = done.json()
    assert done.status == 0, done.err
    assert (result["numberOfScannedFiles"], result["numberOfImportedFiles"]) == (6, 2)
    assert (result["numberOfFilesNotDicom"], result["numberOfFilesWithCustomerError"]) == (4, 0)
    assert sorted(Path(name).name for name in result["filesNotDicom"]) == [
        ".DS_Store", ".DS_Store", "Thumbs.db", "notes.txt",
    ]  # fmt: skip
    assert result["reasons"] == []
    assert len(result["imageSets"]) == 2
    # The report keeps AWS's words and counts.
    report = Path(result["reportPath"])
    lines = [json.loads(line) for line in (report / "FAILURE" / "failure.ndjson").read_text().splitlines()]
    assert {line["exception"]["message"] for line in lines} == {"DICOM attributes does not exist"}
    summary = json.loads((report / "job-output-manifest.json").read_text())["jobSummary"]
    assert summary["numberOfFilesWithCustomerError"] == 4

    strict = lightwell_here(*given, "--strict", "--check", data=tmp_path / "data")
    assert strict.status == 1
    assert strict.out.splitlines()[:2] == [
        "2 of 2 files would be imported, 2 image sets",
        "4 files are not DICOM: .DS_Store, notes.txt, Thumbs.db",
    ]


def test_fails_for_damaged_dicom_and_where_nothing_is_dicom(tmp_path: Path) -> None:
    whole = shipped("CT_small.dcm").read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "whole").write_bytes(whole)
    (tmp_path / "in" / "bare").write_bytes(whole[132:])
    (tmp_path / "in" / "lost.dcm").touch()
    (tmp_path / "notes.txt").write_text("no DICOM at all")
    # As on a machine that works for PostgreSQL: the engine that it names is not for a dry run.
    there = {"LIGHTWELL_ENGINE": "pgqueuer"}
    done = lightwell("import", tmp_path / "in", "--check", data=tmp_path / "data", environ=there)
    assert (done.status, done.out.splitlines()[0]) == (1, "1 of 3 files would be imported, 1 image set")
    assert "       2  it is damaged at its beginning" in done.out
    none = lightwell("import", tmp_path / "notes.txt", "--check", data=tmp_path / "data")
    assert (none.status, "there is no DICOM file in what was named" in none.out) == (1, True)


def test_checks_without_keeping_anything(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = lightwell_here("import", "--check", shipped("CT_small.dcm"), data=data)
    assert (done.status, "1 of 1 file would be imported, 1 image set\n" in done.out) == (0, True), done
    assert list(data.iterdir()) == []


def test_reports_repeated_files_as_already_stored(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = lightwell_here("import", shipped("CT_small.dcm"), "--json", data=data).json()
    packs = [(path, path.stat().st_size) for path in (data / "objects").rglob("*.pack")]
    second = lightwell_here("import", shipped("CT_small.dcm"), "--json", data=data).json()
    assert first["imageSets"] == second["imageSets"]
    assert [one["numberOfImportedFiles"] for one in (first, second)] == [1, 1]
    assert [one["numberOfFilesAlreadyThere"] for one in (first, second)] == [0, 1]
    assert second["reasons"] == second["warnings"] == []
    both = lightwell_here("import", shipped("CT_small.dcm"), shipped("MR_small.dcm"), data=data)
    assert both.status == 0
    assert both.out.startswith("2 of 2 files imported, 2 image sets\n1 of them was already stored"), both
    for path, size in packs:
        assert path.stat().st_size == size
    assert len(packs) + 1 == len(list((data / "objects").rglob("*.pack")))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import", "/does/not/exist"], "does not exist"),
        (["import", "--datastore", "a b", "."], "is not a valid data store name"),
        (["export", "--datastore", "none", "out"], "no data folder"),
    ],
)
def test_says_what_is_wrong_without_a_stack_trace(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = lightwell(*arguments, data=tmp_path / "data")
    assert done.status in (1, 2)
    assert words in done.err
    assert "Traceback" not in done.err
    assert words != "does not exist" or not (tmp_path / "data").exists()


@pytest.mark.filterwarnings("ignore")
def test_exports_every_instance_whatever_its_uid_looks_like(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    long = "1.2." + "3" * 200
    uids = {f"{long}.1", f"{long}.2", "1/2", "1*2", "A.1", "a.1", "../../up", "1.2.3"}
    for number, uid in enumerate(sorted(uids)):
        (tmp_path / "in" / f"{number}.dcm").write_bytes(headers.image(headers.element(0x00080018, "UI", uid)))
    assert lightwell_here("import", tmp_path / "in", data=tmp_path / "data").status == 0
    done = lightwell_here("export", "--datastore", "default", tmp_path / "out", data=tmp_path / "data")
    assert (done.status, f"{len(uids)} files" in done.out) == (0, True), done
    files = list((tmp_path / "out").rglob("*.dcm"))
    assert {str(pydicom.dcmread(path).SOPInstanceUID) for path in files} == uids
    assert len({path.name.lower() for path in files}) == len(uids)


def test_exports_icons_native_where_the_pixels_are(tmp_path: Path) -> None:
    grey = np.add.outer(np.arange(20), np.arange(30)).astype("u1")
    sent = pydicom.dcmread(shipped("SC_rgb_rle_2frame.dcm"))
    icon = pydicom.Dataset()
    icon.SamplesPerPixel, icon.PhotometricInterpretation, icon.Rows, icon.Columns = 1, "MONOCHROME2", 20, 30
    icon.BitsAllocated, icon.BitsStored, icon.HighBit, icon.PixelRepresentation = 8, 8, 7, 0
    icon.PixelData = encapsulate([bytes(imagecodecs.jpeg8_encode(grey, lossless=True))])
    icon["PixelData"].is_undefined_length = True
    sent.IconImageSequence = [icon]
    sent.save_as(tmp_path / "icon.dcm")
    data = tmp_path / "data"
    assert lightwell_here("import", tmp_path / "icon.dcm", data=data).status == 0
    assert lightwell_here("export", "--datastore", "default", tmp_path / "out", data=data).status == 0
    (path,) = exported(tmp_path / "out").values()
    found = pydicom.dcmread(path)
    assert found.file_meta.TransferSyntaxUID.is_implicit_VR is False
    assert found.IconImageSequence[0].PixelData == grey.tobytes()
    assert lightwell_here("data", "verify", data=data).status == 0


def test_refuses_an_unknown_data_store_and_image_set_at_export(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert lightwell_here("import", shipped("CT_small.dcm"), data=data).status == 0
    done = lightwell_here("export", "--datastore", "other", tmp_path / "out", data=data)
    assert (done.status, done.err) == (
        1,
        "lightwell: There is no data store other; existing data stores: default\n",
    )
    done = lightwell_here(
        "export", "--datastore", "default", "--image-set", "0" * 32, tmp_path / "out", data=data
    )
    assert (done.status, "no image set" in done.err) == (1, True)
