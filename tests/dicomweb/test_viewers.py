"""Viewers' own code, unmodified: Cornerstone's image loader in Chromium, dcmjs's dicomweb-client in Node."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.dicomweb.support.javascript_clients import imported, node
from tests.support.ct_files import ROOT, ct, write, write_series
from tests.support.javascript import BROWSER, needed, packages_folder, run, with_packages
from tests.support.server import Server, running

SIZE = 160
PAGES = Path(__file__).parents[2]

# Packages are installed and pages built before the first test.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("viewers") / "data") as found:
        yield found


@pytest.fixture(scope="module")
def scripts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    needed("chromium")
    folder = tmp_path_factory.mktemp("viewers-page") / "browser"
    with_packages(BROWSER, packages_folder(request.config), folder)
    run(["npx", "vite", "build"], folder)
    return folder


def slope(dtype: str) -> NDArray[Any]:
    """Smooth enough that a level of less resolution looks alike, with all corners different."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    return np.asarray(rows * 5 + columns * 2 - 300, dtype)


def pictures() -> dict[str, tuple[Any, bytes]]:
    """Series number → a file of one kind of image, and its pixels."""
    signed = slope("<i2")
    eight = (slope("<i2") % 251).astype("u1")
    colour = np.stack([eight, eight[::-1], eight[:, ::-1]], axis=-1)
    found = {}
    for series, pixels, attributes in (
        ("1", signed, {}),
        ("2", eight, {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}),
        (
            "3",
            colour,
            {
                "BitsAllocated": 8,
                "BitsStored": 8,
                "HighBit": 7,
                "PixelRepresentation": 0,
                "SamplesPerPixel": 3,
                "PhotometricInterpretation": "RGB",
                "PlanarConfiguration": 0,
            },
        ),
    ):
        data = ct(1, series=series, size=SIZE, **attributes, PixelData=pixels.tobytes())
        data["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"
        found[series] = (data, pixels.tobytes())
    return found


@pytest.mark.slow
def test_shows_the_right_pixels_by_cornerstone(server: Server, scripts: Path, tmp_path: Path) -> None:
    made = pictures()
    for series, (data, _) in made.items():
        write(server.data / "buckets" / "in-bucket" / "pictures" / f"{series}.dcm", data)
    datastore = server.client().create_datastore(datastoreName="pictures")["datastoreId"]
    imported(server, datastore, "pictures/")

    frames = []
    for series in made:
        at = f"/datastore/{datastore}/studies/{ROOT}.1/series/{ROOT}.1.{series}"
        reply = server.send(server.signed("GET", f"{at}/metadata"))
        assert reply.status == 200, reply.body
        (metadata,) = json.loads(reply.body)
        path = f"{at}/instances/{ROOT}.1.{series}.1/frames/1"
        signed = server.signed("GET", path)
        headers = {name: signed.headers[name] for name in ("Authorization", "X-Amz-Date")}
        for streaming in (False, True):
            url = f"{server.url}{path}"
            frames.append({"url": url, "headers": headers, "metadata": metadata, "streaming": streaming})
    given = tmp_path / "frames.json"
    given.write_text(json.dumps({"frames": frames, "show": frames[0]["url"]}))
    seen = node("frames.mjs", scripts, {"INPUT": str(given)})

    wanted = [pixels for _, pixels in made.values() for _ in range(2)]
    for loaded, pixels in zip(seen["loaded"], wanted, strict=True):
        assert loaded["syntax"] == "1.2.840.10008.1.2.4.202"
        assert (loaded["rows"], loaded["columns"]) == (SIZE, SIZE)
        assert loaded["sha256"] == hashlib.sha256(pixels).hexdigest()

    picture = imagecodecs.png_decode(base64.b64decode(seen["shown"]["picture"].partition(",")[2]))
    grey = picture[..., 0].astype(int)
    # Rows and columns both brighten the picture, rows more so, and it fills the square.
    assert grey[8, 8] < grey[8, -8] < grey[-8, 8] < grey[-8, -8]
    assert np.array_equal(picture[..., 0], picture[..., 1])


@pytest.mark.slow
def test_shows_small_pictures_by_cornerstones_decoder(server: Server, scripts: Path) -> None:
    write_series(server.data / "buckets" / "in-bucket" / "small", 2, study="78", size=SIZE)
    datastore = server.client().create_datastore(datastoreName="small")["datastoreId"]
    imported(server, datastore, "small/")
    at = f"/datastore/{datastore}/studies/{ROOT}.78/series/{ROOT}.78.1"
    for level, side in ((0, 40), (1, 80), (2, 160)):
        signed = server.signed("GET", f"{at}/frames?level={level}")
        headers = {name: signed.headers[name] for name in ("Authorization", "X-Amz-Date")}
        headers["Accept"] = "application/vnd.lightwell.frames"
        page = str(PAGES / "docs" / "howto" / "levels.md")
        seen = node("levels.mjs", scripts, {"URL": signed.url, "HEADERS": json.dumps(headers), "PAGE": page})
        for number, found in enumerate(seen, 1):
            frame = f"{at}/instances/{ROOT}.78.1.{number}/frames/1"
            whole = server.send(server.signed("GET", frame, headers={"Accept": "image/jphc"})).body
            wanted = imagecodecs.jpeg2k_decode(whole, skipres=2 - level)
            assert found == {
                "width": side,
                "height": side,
                "position": number,
                "sha256": hashlib.sha256(wanted.tobytes()).hexdigest(),
            }
        assert len(seen) == 2


@pytest.mark.slow
def test_serves_the_javascript_client(server: Server, scripts: Path, tmp_path: Path) -> None:
    datastore = server.client().create_datastore(datastoreName="javascript")["datastoreId"]
    private = os.urandom((1 << 20) + 2)
    files = []
    for number in (1, 2):
        data = ct(
            number,
            study="77",
            PatientID="JS-1",
            PatientName="Müller^Käthe",
            SpecificCharacterSet="ISO_IR 192",
        )
        block = data.private_block(0x0029, "LIGHTWELL TEST", create=True)
        block.add_new(0x10, "OB", private)
        files.append(write(tmp_path / f"{number}.dcm", data))
    key = server.root
    seen = node(
        "client.mjs",
        scripts,
        {
            "ROOT": f"{server.url}/datastore/{datastore}",
            "FILES": ":".join(map(str, files)),
            "AWS_ACCESS_KEY_ID": key.access_key,
            "AWS_SECRET_ACCESS_KEY": key.secret_key,
        },
    )
    assert seen == {
        "stored": 2,
        "studies": 1,
        "series": 1,
        "instances": [f"{ROOT}.77.1.1", f"{ROOT}.77.1.2"],
        "metadata": [2, 2],
        "name": "Müller^Käthe",
        "part10": "DICM",
        "files": 2,
        "frame": hashlib.sha256(ct(1, study="77").PixelData).hexdigest(),
        "bulk": hashlib.sha256(private).hexdigest(),
        "picture": "PNG",
    }
