"""What restricted keys may do on the DICOMweb surface: actions, conditions on study and series, relational
searches, and resources that HealthImaging has not.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.credentials import Credentials

from lightwell.auth.policies.actions import OTHER_NAMES
from tests.api.auth.restricted_keys import ACCOUNT, allow, deny, key, store_arn
from tests.dicomweb.support.javascript_clients import imported
from tests.dicomweb.support.sample_datastore import SampleDatastore
from tests.support.ct_files import ct, write
from tests.support.server import Reply

STUDY, SERIES = "medical-imaging:StudyInstanceUID", "medical-imaging:SeriesInstanceUID"
GETS = "medical-imaging:GetDICOM*"


def ask(sample: SampleDatastore, who: Credentials, path: str, method: str = "GET") -> Reply:
    request = sample.server.signed(method, sample.root + path, credentials=who)
    return sample.server.send(request)


def status(sample: SampleDatastore, who: Credentials, path: str, method: str = "GET") -> int:
    reply = ask(sample, who, path, method)
    if reply.status == 403:
        assert reply.headers["x-amzn-errortype"] == "AccessDeniedException"
    return reply.status


def paths(sample: SampleDatastore) -> dict[str, tuple[str, str]]:
    """Path → the operation there and its action."""
    study, series, instance = sample.study("ct1"), sample.series("ct1"), sample.instance("ct1")
    get, frames = "GetDICOMInstance", "GetDICOMInstanceFrames"
    return {
        instance: (get, get),
        f"{instance}/metadata": ("GetDICOMInstanceMetadata", "GetDICOMInstanceMetadata"),
        f"{instance}/frames/1": (frames, frames),
        f"{instance}/frames/1?level=0": (frames, frames),
        f"{series}/frames?level=0": (frames, frames),
        f"{instance}/rendered": (frames, frames),
        f"{instance}/bulkdata/x": ("GetDICOMBulkdata", "GetDICOMBulkdata"),
        f"{series}/metadata": ("GetDICOMSeriesMetadata", "GetDICOMSeriesMetadata"),
        f"{study}/metadata": ("GetDICOMSeriesMetadata", "GetDICOMSeriesMetadata"),
        study: (get, get),
        "/studies": ("SearchDICOMStudies", "SearchDICOMStudies"),
        f"{study}/series": ("SearchDICOMSeries", "SearchDICOMSeries"),
        f"{series}/instances": ("SearchDICOMInstances", "SearchDICOMInstances"),
        f"{study}/instances": ("SearchDICOMStudyInstances", "SearchDICOMInstances"),
        "/series": ("SearchDICOMAllSeries", "SearchDICOMSeries"),
        "/instances": ("SearchDICOMAllInstances", "SearchDICOMInstances"),
    }


def test_requires_the_action_of_every_resource(sample: SampleDatastore) -> None:
    arn = store_arn(sample.datastore)
    nobody = key(sample.server, deny("s3:*"))
    for path, (operation, action) in paths(sample).items():
        assert status(sample, nobody, path) == 403, path
        able = key(sample.server, allow(f"medical-imaging:{action}", arn))
        assert status(sample, able, path) != 403, path
        # The other name of a relational search counts, too.
        assert status(sample, key(sample.server, allow(f"medical-imaging:{operation}", arn)), path) != 403, (
            path
        )
        for name in (operation, action):
            unable = key(sample.server, allow("*"), deny(f"medical-imaging:{name}"))
            assert status(sample, unable, path) == 403, path


@pytest.mark.parametrize(("effect", "found"), [("Allow", 403), ("Deny", 200)])
def test_denies_a_search_under_either_of_its_names(sample: SampleDatastore, effect: str, found: int) -> None:
    named = ["medical-imaging:SearchDICOMInstances", "medical-imaging:SearchDICOMSeries"]
    others = {"Effect": effect, "NotAction": named, "Resource": "*"}
    who = key(sample.server, others, *([allow("*")] if effect == "Deny" else []))
    for path, (operation, action) in paths(sample).items():
        if f"medical-imaging:{action}" in named:
            assert status(sample, who, path) == found, operation
    assert {operation: action for operation, action in paths(sample).values() if operation != action} == {
        operation.rpartition(":")[2]: action.rpartition(":")[2] for operation, action in OTHER_NAMES.items()
    }


def test_says_who_is_not_authorized_to_do_what(sample: SampleDatastore) -> None:
    reply = ask(sample, key(sample.server, deny("s3:*"), name="eve"), "/series")
    assert json.loads(reply.body)["message"] == (
        f"User: arn:aws:iam::{ACCOUNT}:user/eve is not authorized to perform: "
        f"medical-imaging:SearchDICOMSeries on resource: {store_arn(sample.datastore)} "
        "because no identity-based policy allows the medical-imaging:SearchDICOMSeries action"
    )


def test_refuses_before_it_reveals_what_exists(sample: SampleDatastore) -> None:
    nobody = key(sample.server, deny("s3:*"))
    for path in ("/studies/1.2.3", "/studies/x/metadata", sample.study("ct1")):
        assert status(sample, nobody, path) == 403
    request = sample.server.signed("POST", sample.root + "/studies", b"x" * 100, credentials=nobody)
    assert sample.server.send(request).status == 403


def test_tells_only_the_signer_why_an_upload_is_refused(sample: SampleDatastore) -> None:
    nobody = key(sample.server, deny("s3:*"), name="eve")
    thief = Credentials(nobody.access_key, "guessed")
    for who, body, error, message in (
        (thief, b"x" * 100, "InvalidSignatureException", "does not match"),
        (nobody, b"x" * 100, "AccessDeniedException", "user/eve is not authorized"),
        # Of a long one it is not found out: its hash must be in a header.
        (nobody, b"x" * (2 << 20), "AccessDeniedException", "x-amz-content-sha256"),
        (thief, b"", "InvalidSignatureException", "does not match"),
    ):
        for root in (sample.root, f"/datastore/{'0' * 32}"):
            headers = {"content-type": "application/dicom"}
            path = f"{root}/studies"
            reply = sample.server.send(
                sample.server.signed("POST", path, body, credentials=who, headers=headers)
            )
            assert (reply.status, reply.headers["x-amzn-errortype"]) == (403, error)
            assert message in json.loads(reply.body)["message"]


@pytest.mark.parametrize("allowed", [True, False])
def test_applies_conditions_on_the_study_in_the_path(sample: SampleDatastore, allowed: bool) -> None:
    uid = str(sample.files["ct1"].StudyInstanceUID)
    if allowed:
        who = key(sample.server, allow([GETS, "medical-imaging:SearchDICOM*"], StringEquals={STUDY: uid}))
    else:
        who = key(sample.server, allow("*"), deny("*", StringLike={STUDY: uid[:-1] + "*"}))
    expected = {True: 200, False: 403}[allowed]
    for path in (sample.instance("ct1"), sample.series("ct1") + "/metadata", sample.study("ct1") + "/series"):
        assert status(sample, who, path) == expected, path
    # A search of the whole store names no study: what an Allow asks for is not there.
    assert status(sample, who, "/studies") == (403 if allowed else 200)
    assert (status(sample, who, "/studies/1.2.3/metadata") == 403) is allowed
    wado = f"?requestType=WADO&studyUID={uid}&seriesUID=1.2&objectUID=1.2"
    assert (status(sample, who, wado) == 403) is not allowed
    # Which of two is meant is not for the guard to guess.
    assert status(sample, who, f"{wado}&studyUID=1.2.3") == 403


def test_applies_conditions_on_the_series_in_the_path(sample: SampleDatastore) -> None:
    uid = str(sample.files["ct1"].SeriesInstanceUID)
    only = key(sample.server, allow(GETS, StringEquals={SERIES: uid}))
    but = key(sample.server, allow(GETS), deny("*", StringEquals={SERIES: uid}))
    assert status(sample, only, sample.instance("ct1")) == 200
    assert status(sample, only, sample.instance("frames")) == 403
    assert status(sample, but, sample.instance("ct1")) == 403
    assert status(sample, but, sample.instance("frames")) == 200
    # What holds several series at once does not slip past a policy that tells them apart.
    for path in (sample.study("ct1"), sample.study("ct1") + "/metadata"):
        assert status(sample, only, path) == 403
        assert status(sample, but, path) == 403


def test_applies_conditions_on_the_tags_of_the_data_store(sample: SampleDatastore) -> None:
    who = key(sample.server, allow("medical-imaging:*", StringEquals={"aws:ResourceTag/Project": "x"}))
    client = sample.server.client()
    arn = store_arn(sample.datastore)
    assert status(sample, who, sample.instance("ct1")) == 403
    client.tag_resource(resourceArn=arn, tags={"project": "x"})
    assert status(sample, who, sample.instance("ct1")) == 200
    client.untag_resource(resourceArn=arn, tagKeys=["project"])
    assert status(sample, who, sample.instance("ct1")) == 403


def test_deletes_only_what_each_image_set_allows(sample: SampleDatastore) -> None:
    client = sample.server.client()
    datastore = client.create_datastore(datastoreName="guarded")["datastoreId"]
    files = {name: ct(1, study="78", series=name) for name in ("1", "2")}
    for name, data in files.items():
        write(sample.server.data / "buckets" / "in-bucket" / datastore / f"{name}.dcm", data)
    imported(sample.server, datastore, f"{datastore}/")
    guarded = SampleDatastore(sample.server, datastore, files)
    arn, action = store_arn(datastore), "medical-imaging:DeleteImageSet"
    found: list[dict[str, Any]] = client.search_image_sets(datastoreId=datastore)[
        "imageSetsMetadataSummaries"
    ]
    uids = {each["DICOMTags"]["DICOMSeriesInstanceUID"]: each["imageSetId"] for each in found}
    kept = f"{arn}/imageset/{uids[str(files['2'].SeriesInstanceUID)]}"
    for statements in ([allow(action, arn)], [allow(action), deny(action, kept)]):
        who = key(sample.server, *statements)
        assert status(guarded, who, guarded.study("1"), "DELETE") == 403
        assert status(guarded, who, guarded.series("2"), "DELETE") == 403
        assert status(guarded, who, guarded.instance("2"), "DELETE") == 403
    assert status(guarded, who, guarded.series("1"), "DELETE") == 204
    assert status(guarded, key(sample.server, allow(action)), guarded.study("2"), "DELETE") == 204
