"""The console as a person meets it, in Chromium: signs in, imports, finds, looks, edits, lets others in.

One server and one browser for the whole story. Each chapter is a file of tests/browser/console/chapters;
those after a chapter that failed go on as well as they can.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from botocore.credentials import Credentials

from lightwell.imaging.demo.studies import write_samples
from tests.console.browser.files import KINDS, OTHER_KINDS, SCRIPT, head, hostile, samples
from tests.console.browser.pixels import check_samples, check_shown
from tests.console.browser.set_chapters import tell_of_image_sets, tell_of_imports
from tests.console.browser.stored import Story, imported, signed
from tests.console.browser.study_chapters import tell_of_provider, tell_of_study
from tests.console.browser.walk import Walk, walking
from tests.dicomweb.support.openid import Provider
from tests.support.javascript import BROWSER, needed, packages_folder, with_packages
from tests.support.server import Server, environment, running

# Pages that a reader is not led to.
ADMINISTRATION = {"keys", "roles", "authorizers", "policies", "import", "jobs", "health"}

SITE = Path(__file__).parents[3] / "src" / "lightwell" / "web" / "console" / "site"


@pytest.fixture(scope="module")
def story_server(openid: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not (SITE / "index.html").exists():
        pytest.fail(f"{SITE} is missing: run `make console`")
    env = {"LIGHTWELL_OIDC_ISSUER": openid.issuer, "LIGHTWELL_OIDC_CLIENT_ID": "console"}
    with running(tmp_path_factory.mktemp("story") / "data", workers=2, env=env) as server:
        yield server


@pytest.fixture(scope="module")
def walk(
    request: pytest.FixtureRequest, story_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walk]:
    needed("chromium")
    folder = tmp_path_factory.mktemp("walk")
    scripts = with_packages(BROWSER, packages_folder(request.config), folder / "browser")
    pictures = os.environ.get("LIGHTWELL_PICTURES")
    env = {"PICTURES": str(Path(pictures).absolute())} if pictures else {}
    with walking(scripts, story_server.url, folder / "seen", env) as found:
        yield found


def sign_in_link(server: Server) -> str:
    """What ``lightwell console`` prints."""
    command = [sys.executable, "-m", "lightwell", "console", "--data", str(server.data)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=True)
    return done.stdout.strip()


def what_readers_may(store: str, image_set: str) -> list[tuple[Any, ...]]:
    return [
        ("GET", f"/datastore/{store}"),
        ("POST", f"/datastore/{store}/imageSet/{image_set}/getImageSet"),
        ("GET", f"/datastore/{store}/studies"),
    ]


def what_readers_may_not(store: str, image_set: str, other: str) -> list[tuple[Any, ...]]:
    at = f"/datastore/{store}/imageSet/{image_set}"
    edit = {"DICOMUpdates": {"updatableAttributes": base64.b64encode(b"{}").decode()}}
    return [
        ("DELETE", f"/datastore/{store}"),
        ("POST", "/datastore", {"clientToken": "reader", "datastoreName": "mine"}),
        ("POST", f"{at}/deleteImageSet"),
        ("POST", f"{at}/updateImageSetMetadata?latestVersion=1", edit),
        ("DELETE", f"/datastore/{store}/studies/1.2.3"),
        ("GET", f"/datastore/{other}"),
        ("POST", f"/datastore/{other}/searchImageSets", {}),
        ("GET", f"/datastore/{other}/studies"),
        ("GET", "/console/api/keys"),
        ("POST", "/console/api/keys", {"name": "mine", "isAdministrator": True}),
        ("POST", f"/console/api/datastores/{store}/uploads", {"name": "mine", "files": 1, "bytes": 1}),
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_tells_the_story(
    walk: Walk, story_server: Server, openid: Provider, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    server = story_server
    key = {"accessKeyId": server.root.access_key, "secretAccessKey": server.root.secret_key}
    with subtests.test("sign in"):
        seen = walk.chapter("sign_in", link=sign_in_link(server))
        assert "no such access key" in seen["message"]

    series = head(tmp_path / "head")
    client = server.client()
    store = ""
    with subtests.test("data store"):
        store = walk.chapter("new_store", key=key, called="Head")["store"]
    store = store or client.create_datastore(datastoreName="Head")["datastoreId"]
    with subtests.test("import"):
        count = len(series.files)
        done = f"{count} of {count} DICOM files imported"
        walk.chapter("imports/folder", key=key, store=store, folder=str(series.folder), done=done)
    ((image_set, frames),) = imported(server, store, series.folder).items()
    assert sorted(set(frames.values())) == sorted(series.by_uid)
    with subtests.test("find"):
        text, patient = series.patient[:4].lower(), series.patient.partition("^")[0]
        seen = walk.chapter("find", key=key, store=store, text=text, patient=patient)
        assert seen["position"] == f"2 / {len(series.files)}"

    pages = {
        "data stores": "/console/stores",
        "studies": f"/console/stores/{store}",
        "details": f"/console/stores/{store}/details",
        "import": f"/console/stores/{store}/import",
        "jobs": f"/console/stores/{store}/jobs",
        "keys": "/console/keys",
        "roles": "/console/roles",
        "authorizers": "/console/authorizers",
        "policies": "/console/policies",
        "events": "/console/events",
        "health": "/console/health",
    }
    with subtests.test("viewer"):
        path = f"/console/stores/{store}/view/{image_set}"
        for seen in walk.chapter("viewer/stack", key=key, path=path)["seen"]:
            shown = series.by_uid[frames[seen["imageId"]]]
            check_samples(seen, shown.pixel_array)
            check_shown(seen, shown, shown.pixel_array)
    with subtests.test("kinds of images"):
        made = samples(tmp_path / "kinds", KINDS)
        store_of_kinds = client.create_datastore(datastoreName="Kinds")["datastoreId"]
        sets = imported(server, store_of_kinds, tmp_path / "kinds")
        paths = {name: f"/console/stores/{store_of_kinds}/view/{name}" for name in sets}
        views = walk.chapter("viewer/kinds", key=key, paths=paths)["seen"]
        assert {sets[name][seen["imageId"]] for name, seen in views.items()} == made.keys()
        for name, seen in views.items():
            shown = made[sets[name][seen["imageId"]]]
            check_samples(seen, shown.pixel_array)
            if shown.PhotometricInterpretation.startswith("MONOCHROME"):
                check_shown(seen, shown, shown.pixel_array)
    with subtests.test("other kinds"):
        samples(tmp_path / "others", OTHER_KINDS)
        store_of_others = client.create_datastore(datastoreName="Others")["datastoreId"]
        others = imported(server, store_of_others, tmp_path / "others")
        assert len(others) == len(OTHER_KINDS)
        paths = {name: f"/console/stores/{store_of_others}/view/{name}" for name in others}
        walk.chapter("viewer/other_kinds", key=key, paths=paths)
    with subtests.test("hostile values"):
        store_of_hostile = client.create_datastore(datastoreName="Hostile")["datastoreId"]
        folder = hostile(tmp_path / "hostile")
        walk.chapter("hostile", key=key, store=store_of_hostile, folder=str(folder), value=SCRIPT)
    with subtests.test("edit"):
        walk.chapter(
            "edit",
            key=key,
            path=f"/console/stores/{store}/sets/{image_set}",
            keyword="StudyDescription",
            value="Head, corrected",
            before=series.study,
        )
    with subtests.test("a key for somebody else"):
        other = client.create_datastore(datastoreName="Not-for-Anna")["datastoreId"]
        given = walk.chapter("give_key", key=key, user="anna.smith", store="Head")
        anna = Credentials(given["accessKeyId"], given["secretAccessKey"])
        walk.chapter(
            "reader",
            key=given,
            pages={name: path for name, path in pages.items() if name not in ADMINISTRATION},
            allowed=[signed(server, anna, *call) for call in what_readers_may(store, image_set)],
            refused=[signed(server, anna, *call) for call in what_readers_may_not(store, image_set, other)],
        )
    with subtests.test("explainer"):
        walk.chapter("explain", key=key, user="anna.smith", store="Head")
    story = Story(walk, server, key, tmp_path, subtests)
    tell_of_imports(story)
    tell_of_image_sets(story)
    tell_of_study(story)
    tell_of_provider(story, openid, store)
    with subtests.test("looks"):
        walk.chapter("looks", key=key, pages=pages)
    with subtests.test("plain HTTP"):
        walk.chapter("plain_http")
    with subtests.test("session"):
        walk.chapter("session", key=key)


@pytest.mark.slow
@pytest.mark.skipif("LIGHTWELL_PICTURES" not in os.environ, reason="LIGHTWELL_PICTURES names no folder")
def test_takes_the_pictures_of_the_documents(walk: Walk, story_server: Server, tmp_path: Path) -> None:
    """``LIGHTWELL_PICTURES=docs/pictures``: images of phantoms and of pydicom's samples alone."""
    client = story_server.client()
    store = client.create_datastore(datastoreName="radiology")["datastoreId"]
    series = head(tmp_path / "in" / "head")
    write_samples(tmp_path / "samples")
    for path in (tmp_path / "samples").rglob("*"):
        # Whoever takes the pictures need not have fonts for every script.
        if path.is_file() and str(pydicom.dcmread(path, stop_before_pixels=True).PatientName).isascii():
            shutil.copy(path, tmp_path / "in" / path.name)
    imported(story_server, store, tmp_path / "in")
    found = client.search_image_sets(
        datastoreId=store,
        searchCriteria={"filters": [{"values": [{"DICOMPatientId": "PLASTIC"}], "operator": "EQUAL"}]},
    )["imageSetsMetadataSummaries"]
    study = "CT head without contrast"
    attributes = {"StudyDescription": study, "AccessionNumber": "A-20417"}
    client.update_image_set_metadata(
        datastoreId=store,
        imageSetId=found[0]["imageSetId"],
        latestVersionId="1",
        includeStudyImageSets=True,
        updateImageSetMetadataUpdates={
            "DICOMUpdates": {
                "updatableAttributes": json.dumps(
                    {"SchemaVersion": 1.1, "Study": {"DICOM": attributes}}
                ).encode()
            }
        },
    )
    Path(os.environ["LIGHTWELL_PICTURES"]).mkdir(parents=True, exist_ok=True)
    key = {"accessKeyId": story_server.root.access_key, "secretAccessKey": story_server.root.secret_key}
    walk.chapter(
        "pictures",
        key=key,
        store=store,
        imageSet=found[0]["imageSetId"],
        study=study,
        folder=str(series.folder),
        done=f"of {len(series.files)} DICOM files",
    )
