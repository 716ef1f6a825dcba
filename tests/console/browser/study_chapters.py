"""Chapters about what is no plain stack of images, about OHIF, and about a provider of identities."""

from __future__ import annotations

import base64
import json

import numpy as np

from lightwell.cli.main import main
from tests.console.browser.drawn import check_curve, check_plane, check_segments, check_slide
from tests.console.browser.ohif import write_stand_in
from tests.console.browser.stored import Story, document, imported
from tests.console.browser.study import FINDING, ORIGIN, SLICES, SPACING, write_study
from tests.dicomweb.support.openid import Provider
from tests.support.console import ACCOUNT


def tell_of_study(story: Story) -> None:
    walk, key, subtests = story.walk, story.key, story.subtests
    study = write_study(story.folder / "study")
    store = story.new_store("Everything")
    of_instance = {
        instance: name
        for name in imported(story.server, store, study.folder)
        for series in document(story.server, store, name)["Study"]["Series"].values()
        for instance in series["Instances"]
    }
    paths = {
        name: f"/console/stores/{store}/view/{of_instance[several[0].SOPInstanceUID]}"
        for name, several in study.series.items()
    }
    with subtests.test("planes"):
        seen = walk.chapter("viewer/planes", key=key, path=paths["volume"])
        middles = {
            name: {plane: check_plane(each, study) for plane, each in seen[name].items()}
            for name in ("first", "second")
        }
        centre = np.asarray(ORIGIN) + (np.asarray(study.volume.shape[::-1]) - 1) / 2 * SPACING[::-1]
        # Each plane goes through the middle of the volume first, and through where somebody clicked then.
        for plane, axis in (("Sagittal", 0), ("Coronal", 1), ("Axial", 2)):
            assert abs(middles["first"][plane][axis] - centre[axis]) < 0.1
            has_moved = abs(middles["second"][plane][axis] - centre[axis]) > 1
            assert has_moved == (plane != "Axial")
    with subtests.test("segments"):
        seen = walk.chapter("viewer/segments", key=key, path=paths["volume"], on=6, off=12)
        check_segments(seen["both"], study, [0, 1])
        check_segments(seen["one"], study, [1])
        check_segments(seen["neither"], study, [])
    with subtests.test("documents"):
        (ecg,) = study.series["ecg"]
        given = {name: paths[name] for name in ("report", "pdf", "ecg")}
        seen = walk.chapter("viewer/documents", key=key, place=11, **given)
        assert FINDING in seen["text"] and "12.5 mm" in seen["text"]
        assert seen["position"] == f"12 / {SLICES}"
        files = [data.EncapsulatedDocument[: data.EncapsulatedDocumentLength] for data in study.series["pdf"]]
        assert [base64.b64decode(letter["data"]) for letter in seen["letters"]] == files
        assert all("Walk" not in letter["name"] for letter in seen["letters"])
        assert seen["label"].startswith("12 channels")
        check_curve(seen["png"], ecg)
    with subtests.test("slide"):
        seen = walk.chapter("viewer/slide", key=key, path=paths["slide"])
        check_slide(seen["near"], study)
        check_slide(seen["far"], study)
        assert seen["far"]["microns"] > 3 * seen["near"]["microns"]
    with subtests.test("OHIF"):
        source = write_stand_in(story.folder / "ohif")
        assert main(["ohif", "install", str(source), "--data", str(story.server.data)]) == 0
        uid = study.files[0].StudyInstanceUID
        shown = walk.chapter("viewer/ohif", key=key, store=store, study=uid)["shown"]
        assert shown["series"] == sorted({data.SeriesInstanceUID for data in study.files})
        assert (shown["status"], shown["elsewhere"]) in [(200, 401), (200, 403), (200, 404)]


def tell_of_provider(story: Story, openid: Provider, store: str) -> None:
    """People of ``openid`` may take two roles, which may look at ``store``."""
    host = openid.issuer.removeprefix("http://")
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{host}:aud": "console"}},
    }
    actions = [f"medical-imaging:{verb}*" for verb in ("Get", "List", "Search")]
    policy = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    roles, flags = ["Radiologist", "Researcher"], []
    for name, statement in (("trust-policy", trust), ("policy", policy)):
        path = story.folder / f"{name}.json"
        path.write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        flags += [f"--{name}", str(path)]
    for name in roles:
        assert main(["role", "put", name, "--data", str(story.server.data), *flags]) == 0
    with story.subtests.test("OpenID provider"):
        story.walk.chapter("openid", issuer=openid.issuer, who="ana", store=store, role=roles[0], roles=roles)
