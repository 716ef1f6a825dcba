"""``lightwell export``: what is chosen, how it is written, and a second run into the same folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels.utils import iter_pixels

from lightwell.cli.store_session import local_context, store_session
from lightwell.operations.delete_image_set import delete_image_set
from lightwell.settings import load
from lightwell.wire import shapes
from tests.cli.running import Done, lightwell_here
from tests.support.ct_files import ROOT, ct, write


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients: P1 with studies 1 and 2, P2 with study 3; study 1 has two instances."""
    folder = tmp_path_factory.mktemp("export")
    for name, dataset in {
        "1.dcm": ct(1),
        "2.dcm": ct(2),
        "3.dcm": ct(1, study="2"),
        "4.dcm": ct(1, study="3", PatientID="P2"),
    }.items():
        write(folder / "in" / name, dataset)
    assert lightwell_here("import", folder / "in", data=folder / "data").status == 0
    return folder / "data"


def export(data: Path, folder: Path, *arguments: str) -> Done:
    return lightwell_here("export", folder, "--datastore", "default", *arguments, data=data)


def uids(folder: Path) -> list[str]:
    found = [str(pydicom.dcmread(path).SOPInstanceUID) for path in folder.rglob("*.dcm")]
    return sorted(uid.removeprefix(ROOT) for uid in found)


def test_exports_what_meets_the_conditions(data: Path, tmp_path: Path) -> None:
    whole = export(data, tmp_path / "all", "--json")
    result = whole.json()
    assert (whole.status, result["isComplete"], result["message"]) == (0, True, None), whole
    assert (result["numberOfImageSets"], result["numberOfFilesWritten"]) == (3, 4)
    assert result["filesByTransferSyntaxUID"] == {"1.2.840.10008.1.2.1": 4}
    assert result["numberOfBytesWritten"] == sum(f.stat().st_size for f in (tmp_path / "all").rglob("*.dcm"))
    assert result["folder"] == str(tmp_path / "all")
    assert export(data, tmp_path / "p1", "--patient", "P1").status == 0
    assert uids(tmp_path / "p1") == [".1.1.1", ".1.1.2", ".2.1.1"]
    assert export(data, tmp_path / "two", "--study", f"{ROOT}.2", "--study", f"{ROOT}.3").status == 0
    assert uids(tmp_path / "two") == [".2.1.1", ".3.1.1"]
    both = export(data, tmp_path / "both", "--patient", "P1", "--study", f"{ROOT}.2")
    assert (both.status, both.out.split(" (")[0]) == (
        0, f"1 file of 1 image set written to {tmp_path / 'both'}",
    ), both  # fmt: skip
    for flag, value in (("--patient", "P9"), ("--study", "1.2"), ("--image-set", "0" * 32)):
        none = export(data, tmp_path / "none", "--study", f"{ROOT}.2", flag, value)
        assert (none.status, f" {value} in data store default; without {flag}," in none.err) == (1, True)
    none = export(data, tmp_path / "none", "--patient", "P2", "--study", f"{ROOT}.2")
    assert (none.status, "No image set meets all these conditions" in none.err) == (1, True)
    assert not (tmp_path / "none").exists()


def test_goes_on_where_it_stopped_and_says_why_it_stopped(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    in_the_way = out / f"{ROOT}.3"
    in_the_way.write_text("a file where a folder has to be")
    stopped = export(data, out, "--json")
    assert stopped.status == 1
    result = stopped.json()
    # Image sets of one job are exported in no particular order.
    before = len(uids(out))
    assert (result["isComplete"], result["numberOfFilesWritten"]) == (False, before)
    assert str(in_the_way) in result["message"]
    assert f"{before} file" in stopped.err
    assert "are complete; the same command goes on from there" in stopped.err
    in_the_way.unlink()
    on = export(data, out, "--json").json()
    assert (on["numberOfFilesWritten"], on["numberOfFilesUnchanged"]) == (4 - before, before)
    assert uids(out) == [".1.1.1", ".1.1.2", ".2.1.1", ".3.1.1"]


def test_leaves_no_file_of_an_older_version(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for number in (1, 2):
        write(tmp_path / "in" / f"{number}.dcm", ct(number))
    write(tmp_path / "in" / "3.dcm", ct(1, study="2"))
    assert lightwell_here("import", tmp_path / "in", data=data).status == 0
    assert export(data, out).status == 0
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")}
    write(tmp_path / "new" / "1.dcm", ct(1, SeriesDescription="corrected", size=20))
    assert lightwell_here("import", tmp_path / "new", data=data).status == 0
    cut = next(path for path in kept if path.stem == f"{ROOT}.1.1.2")
    cut.write_bytes(cut.read_bytes()[:-2])
    again = export(data, out, "--json")
    result = again.json()
    assert again.status == 0, again
    assert (result["numberOfFilesWritten"], result["numberOfFilesUnchanged"]) == (2, 1)
    new = pydicom.dcmread(next(out.rglob(f"{ROOT}.1.1.1.dcm")))
    assert (new.SeriesDescription, new.Rows) == ("corrected", 20)
    assert pydicom.dcmread(cut).pixel_array.shape == (16, 16)

    settings = load({"data": str(data)})
    with store_session(settings) as stores:
        store, image_set = result["datastoreId"], next(out.rglob(f"{ROOT}.2.1.1.dcm")).parent.name
        delete_image_set(
            local_context(settings, stores),
            shapes.DeleteImageSetRequest(datastore_id=store, image_set_id=image_set),
        )
    last = export(data, out, "--json").json()
    assert [each["imageSetId"] for each in last["leftovers"]] == [image_set]
    assert "deleted" in last["leftovers"][0]["reason"]
    assert f"{image_set} is of an earlier export: the image set was deleted since" in export(data, out).out


@pytest.mark.filterwarnings("ignore")
def test_writes_in_the_transfer_syntax_that_was_asked_for(tmp_path: Path) -> None:
    names = (
        "MR_small_bigendian.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "JPEG-lossy.dcm",
        "SC_rgb_rle_2frame.dcm",
        "rtdose.dcm",
    )
    files = [get_testdata_file(name, download=False) for name in names]
    assert all(files)
    assert lightwell_here("import", *map(str, files), data=tmp_path / "data").status == 0
    came = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, map(str, files))}

    def exported(syntax: str) -> tuple[dict[str, pydicom.FileDataset], Done]:
        done = export(tmp_path / "data", tmp_path / syntax, "--transfer-syntax", syntax)
        assert done.status == 0, done
        found = [pydicom.dcmread(path) for path in (tmp_path / syntax).rglob("*.dcm")]
        return {str(one.SOPInstanceUID): one for one in found}, done

    original, said = exported("original")
    syntaxes = {uid: str(one.file_meta.TransferSyntaxUID) for uid, one in original.items()}
    other = [uid for uid in came if syntaxes[uid] != came[uid].file_meta.TransferSyntaxUID]
    assert [str(came[uid].file_meta.TransferSyntaxUID) for uid in other] == ["1.2.840.10008.1.2.4.51"]
    assert "1  Explicit VR Little Endian: JPEG Extended cannot be written without loss" in said.out
    assert "1  the codestreams that came" in said.out
    assert "1  encoded again, the same samples" in said.out

    stored, said = exported("stored")
    assert sorted({str(one.file_meta.TransferSyntaxUID) for one in stored.values()}) == [
        "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.50",
    ]  # fmt: skip

    explicit, said = exported("explicit")
    assert {str(one.file_meta.TransferSyntaxUID) for one in explicit.values()} == {"1.2.840.10008.1.2.1"}
    assert "not as asked for" not in said.out
    for uid, one in came.items():
        if str(one.file_meta.TransferSyntaxUID)[-3:] not in (".50", ".51"):
            for found in (original[uid], explicit[uid]):
                pairs = zip(iter_pixels(one, raw=True), iter_pixels(found, raw=True), strict=True)
                assert all(np.array_equal(before, after) for before, after in pairs)
