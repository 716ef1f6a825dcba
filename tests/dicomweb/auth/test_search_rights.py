"""What a search shows to who may search and not read metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.credentials import Credentials

from lightwell.domain.qido.attributes import MATCH_KEYS
from tests.api.auth.restricted_keys import Statement, allow, deny, key, store_arn
from tests.dicomweb.support.searchable_studies import STUDIES, Archive, filled, value
from tests.support.server import Reply, running

IN_STUDY = f"studies/{STUDIES[0]}"
IN_SERIES = f"{IN_STUDY}/series/{STUDIES[0]}.1"
PATHS = [
    "studies",
    "series",
    "instances",
    f"{IN_STUDY}/series",
    f"{IN_STUDY}/instances",
    f"{IN_SERIES}/instances",
]
SEARCH, READ = "medical-imaging:SearchDICOM*", "medical-imaging:GetDICOMInstanceMetadata"
LEFT_OUT = "Attributes that need the right to GetDICOMInstanceMetadata are left out"
STUDY_KEYS = {key.name for key in MATCH_KEYS.values() if key.level == "study"}
STUDY = "medical-imaging:StudyInstanceUID"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with running(tmp_path_factory.mktemp("rights") / "data") as server:
        yield filled(server)


@pytest.fixture(scope="module")
def searcher(archive: Archive) -> Credentials:
    """Who may do everything but read."""
    return key(archive.server, allow("*"), deny("medical-imaging:GetDICOM*"))


def ask(archive: Archive, who: Credentials, path: str, query: str = "") -> Reply:
    where = f"/datastore/{archive.datastore}/{path}{'?' if query else ''}{query}"
    return archive.server.send(archive.server.signed("GET", where, credentials=who))


def found(reply: Reply) -> list[dict[str, Any]]:
    assert reply.status == 200, reply.body
    results: list[dict[str, Any]] = json.loads(reply.body)
    assert results
    return results


@pytest.mark.parametrize("path", PATHS)
def test_returns_no_more_attributes_without_the_right_to_metadata(
    archive: Archive, searcher: Credentials, path: str
) -> None:
    plain = ask(archive, searcher, path)
    assert found(plain) == archive.found(path)
    assert "warning" not in plain.headers
    everything = ask(archive, searcher, path, "includefield=all")
    for shown, usual in zip(found(everything), found(plain), strict=True):
        # What HealthImaging lets a search be asked by is no secret.
        assert set(shown) - set(usual) <= STUDY_KEYS
        assert shown | usual == shown
        if path in (f"{IN_STUDY}/series", f"{IN_SERIES}/instances"):
            assert shown == usual
    assert LEFT_OUT in everything.headers["warning"]
    # Who may read is answered what there is.
    reader = key(archive.server, allow([SEARCH, READ], store_arn(archive.datastore)))
    reply = ask(archive, reader, path, "includefield=all")
    assert found(reply) == archive.found(path, "includefield=all") != found(everything)
    assert "warning" not in reply.headers


@pytest.mark.parametrize(
    "query",
    [
        "includefield=InstitutionName", "includefield=00080080", "includefield=BodyPartExamined",
        "includefield=00180015", "includefield=ReferringPhysicianIdentificationSequence.InstitutionName",
        "includefield=00080096.00401101.00080100", "includefield=00080096", "InstitutionName=",
        "00180015=", "includefield=00400275", "includefield=00400275.00321060",
        "includefield=00190010", "includefield=00191001&00190010=LIGHT", "includefield=PatientName,00280101",
        "includefield=PatientSex&includefield=all",
    ],
)  # fmt: skip
def test_leaves_out_requested_attributes_however_they_are_spelled(
    archive: Archive, searcher: Credentials, query: str
) -> None:
    usual = {name for result in found(ask(archive, searcher, "instances")) for name in result}
    reply = ask(archive, searcher, "instances", query)
    assert {name for result in found(reply) for name in result} <= usual | {"00100032"}
    assert all(
        len(item) <= 2 for result in found(reply) for item in result.get("00400275", {}).get("Value", [])
    )
    assert LEFT_OUT in reply.headers["warning"]


def test_leaves_out_an_attribute_above_what_the_path_names(archive: Archive, searcher: Credentials) -> None:
    for path in (f"{IN_STUDY}/series", f"{IN_SERIES}/instances"):
        reply = ask(archive, searcher, path, "includefield=PatientName,00100020&PatientID=")
        assert not any({"00100010", "00100020"} & set(result) for result in found(reply))
        assert LEFT_OUT in reply.headers["warning"]


def test_returns_what_a_viewer_requests(archive: Archive, searcher: Credentials) -> None:
    query = (
        "PatientID=P-1&fuzzymatching=false&includefield=00081030%2C00080060%2C00080090%2C00100030,00100032"
    )
    reply = ask(archive, searcher, "studies", query)
    assert found(reply) == archive.found("studies", query)
    for path, query_of_shown in (("studies", "PatientSex=M"), ("series", "SeriesDescription=AX*")):
        assert len(found(ask(archive, searcher, path, query_of_shown))) == 1
    assert [value(result, "00100032") for result in found(reply)] == ["0830"]
    assert "warning" not in reply.headers


def test_refuses_to_match_on_what_it_does_not_return(archive: Archive, searcher: Credentials) -> None:
    for path, query in (
        (f"{IN_STUDY}/series", "PatientName=T*"),
        (f"{IN_STUDY}/series", "00100020=P-1"),
        (f"{IN_SERIES}/instances", "PatientID=P-1"),
        (f"{IN_SERIES}/instances", "Modality=CT"),
        (f"{IN_SERIES}/instances", "00400275.00400009=SPS-1"),
        ("series", "Manufacturer=ACME"),
        ("series", "BodyPartExamined=CHEST"),
        ("instances", "operatorsname=%22%22&emptyvaluematching=true"),
        ("studies", "IssuerOfPatientID=HOSPITAL"),
        ("studies", "NameOfPhysiciansReadingStudy=cox^p%5CDorian^John&multiplevaluematching=true"),
    ):
        reply = ask(archive, searcher, path, query)
        assert (reply.status, reply.headers["x-amzn-errortype"]) == (403, "AccessDeniedException"), query
        message = json.loads(reply.body)["message"]
        assert f"perform: {READ} on resource: {store_arn(archive.datastore)}" in message
        assert "which a search by" in message
        # What is found does not matter, nor whether anything is.
        assert ask(archive, searcher, path, query.replace("P-1", "P-9")).status == 403
    for path, query in (
        ("studies", "PatientName=T*&PatientBirthTime=08"),
        (f"{IN_STUDY}/instances", "PatientID=P-1"),
        (f"{IN_STUDY}/series", "SeriesNumber=1"),
        ("series", "RequestAttributesSequence.ScheduledProcedureStepID=SPS-1"),
        (f"{IN_SERIES}/instances", "InstanceNumber=1"),
    ):
        found(ask(archive, searcher, path, query))


@pytest.mark.parametrize(
    ("statements", "paths"),
    [
        # Of the study in the path alone; of several at once nobody knows which.
        (
            [allow(SEARCH), allow(READ, StringEquals={STUDY: STUDIES[0]})],
            [f"{IN_STUDY}/series", f"{IN_STUDY}/instances"],
        ),
        ([allow([SEARCH, READ]), deny(READ, StringEquals={STUDY: STUDIES[1]})], [f"{IN_STUDY}/series"]),
        ([allow(SEARCH), allow(READ, store_arn("9" * 32))], []),
        ([allow(SEARCH), allow(READ, StringEquals={"aws:ResourceTag/Project": "x"})], []),
    ],
)
def test_applies_the_policies_about_metadata(
    archive: Archive, statements: list[Statement], paths: list[str]
) -> None:
    who = key(archive.server, *statements)
    for path in ("studies", "instances", f"{IN_STUDY}/series", *paths):
        reply = ask(archive, who, path, "includefield=all")
        found(reply)
        assert (LEFT_OUT in reply.headers.get("warning", "")) is (path not in paths), path
