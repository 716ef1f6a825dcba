"""Chapters about imports, and about image sets that are copied, promoted, exported and deleted."""

from __future__ import annotations

import base64
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.console.browser.archives import check_archive
from tests.console.browser.stored import Story, document, image_sets, imported, signed
from tests.support.ct_files import ROOT, ct, write, write_series
from tests.support.server import Server

# Far more than can be read before the codec workers are held.
MANY = 10_000
RESUMED, BEFORE = 30, 10
INSTANCES = 3


def tell_of_imports(story: Story) -> None:
    walk, key, subtests = story.walk, story.key, story.subtests
    store = story.new_store("Imports")
    with subtests.test("zip files"):
        paths = write_series(story.folder / "zipped", 5, study="1300", size=64)
        file, broken = story.folder / "disc.zip", story.folder / "broken.zip"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in paths:
                archive.write(path, f"DICOM/{path.stem}")
            archive.writestr("README.txt", "no DICOM\n")
            archive.writestr("AUTORUN.INF", "no DICOM\n")
        broken.write_bytes(file.read_bytes()[:-100])
        done = f"{len(paths)} of {len(paths)} DICOM files imported"
        walk.chapter("imports/zip", key=key, store=store, file=str(file), broken=str(broken), done=done)
        held(story, store, "1300", len(paths))
    with subtests.test("resumed upload"):
        write_series(story.folder / "resumed", RESUMED, study="1301", size=64)
        seen = walk.chapter(
            "imports/resume",
            key=key,
            store=store,
            folder=str(story.folder / "resumed"),
            files=RESUMED,
            before=BEFORE,
        )
        assert seen["again"] == RESUMED - BEFORE
        held(story, store, "1301", RESUMED)
    with subtests.test("cancelled import"):
        bucket = story.server.data / "buckets" / "many"
        (bucket / "out").mkdir(parents=True)
        first = write(bucket / "in" / "first.dcm", ct(1, study="1302"))
        for number in range(MANY):
            os.link(first, first.with_name(f"{number}.dcm"))
        with held_workers(story.server):
            job = walk.chapter(
                "imports/cancel",
                key=key,
                store=store,
                input="s3://many/in/",
                output="s3://many/out/",
                role="arn:aws:iam::000000000000:role/import",
            )["job"]
        ended = story.server.client().get_dicom_import_job(datastoreId=store, jobId=job)["jobProperties"]
        assert ended["jobStatus"] == "FAILED" and "Cancelled" in ended["message"]


@contextmanager
def held_workers(server: Server) -> Iterator[None]:
    """No job ends meanwhile: the codec workers, also those that are started now, stand still."""
    stopped: set[psutil.Process] = set()
    is_over = threading.Event()

    def stop() -> None:
        for process in psutil.Process(server.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process not in stopped and "lightwell.codec_pool.worker_main" in process.cmdline():
                    process.suspend()
                    stopped.add(process)

    def stop_new() -> None:
        while not is_over.wait(0.05):
            stop()

    stop()
    thread = threading.Thread(target=stop_new)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def held(story: Story, store: str, study: str, count: int) -> None:
    """The data store has one image set of a study, with that many instances."""
    (found,) = image_sets(story.server, store, f"{ROOT}.{study}")
    (series,) = document(story.server, store, found["imageSetId"])["Study"]["Series"].values()
    assert len(series["Instances"]) == count


def described(server: Server, store: str, image_set: str, description: str) -> dict[str, Any]:
    """The request that makes version 2 of a primary image set, with another description of the study."""
    edit = {"SchemaVersion": 1.1, "Study": {"DICOM": {"StudyDescription": description}}}
    blob = base64.b64encode(json.dumps(edit).encode()).decode()
    at = f"/datastore/{store}/imageSet/{image_set}/updateImageSetMetadata"
    body = {"DICOMUpdates": {"updatableAttributes": blob}}
    return signed(server, None, "POST", f"{at}?latestVersion=1&includeStudyImageSets=true", body)


def tell_of_image_sets(story: Story) -> None:
    walk, key, subtests, server = story.walk, story.key, story.subtests, story.server
    store = story.new_store("Sets")
    names = {"1201": "Alder", "1202": "Birch", "1203": "Cedar", "1204": "Dogwood"}
    files = {
        study: [
            ct(number, study=study, size=64, PatientID=study, PatientName=f"{name}^Bulk")
            for number in range(1, INSTANCES + 1)
        ]
        for study, name in names.items()
    }
    for study, several in files.items():
        for number, data in enumerate(several):
            write(story.folder / "sets" / study / f"{number}.dcm", data)
    imported(server, store, story.folder / "sets")
    (last,) = image_sets(server, store, f"{ROOT}.1204")
    with subtests.test("copy and promote"):
        path = f"/console/stores/{store}/sets/{last['imageSetId']}"
        change = described(server, store, last["imageSetId"], "Changed by somebody else")
        seen = walk.chapter("copy_promote", key=key, path=path, instances=INSTANCES, change=change)
        assert seen["made"] == seen["grown"]
        copy, promoted = (seen[name].rpartition("/")[2] for name in ("made", "promoted"))
        found = {each["imageSetId"]: each for each in image_sets(server, store, f"{ROOT}.1204")}
        assert {name: (each["isPrimary"], each["version"]) for name, each in found.items()} == {
            copy: (False, 2),
            promoted: (True, 1),
        }
        wanted = sorted(data.SOPInstanceUID for data in files["1204"])
        for name in found:
            (series,) = document(server, store, name)["Study"]["Series"].values()
            assert sorted(series["Instances"]) == wanted
        server.client().delete_image_set(datastoreId=store, imageSetId=promoted)
        server.client().delete_image_set(datastoreId=store, imageSetId=copy)
    with subtests.test("several studies at once"):
        people = dict(zip(("first", "second", "third"), list(names.values()), strict=False))
        exported = walk.chapter("bulk", key=key, store=store, **people)["exported"]
        assert exported["name"] == "dicom.zip"
        check_archive(Path(exported["path"]), files["1201"] + files["1202"])
        assert image_sets(server, store, f"{ROOT}.1203") == []
        for study in ("1201", "1202"):
            both = image_sets(server, store, f"{ROOT}.{study}")
            assert sorted(each["isPrimary"] for each in both) == [False, True]
            for each in both:
                (series,) = document(server, store, each["imageSetId"])["Study"]["Series"].values()
                assert sorted(series["Instances"]) == sorted(data.SOPInstanceUID for data in files[study])
