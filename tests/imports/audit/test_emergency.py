"""Roles for emergencies: taken with a reason, told to whoever watches, and each use of them flagged."""

from __future__ import annotations

import json
import logging
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.credentials import Credentials
from sqlalchemy import select

from lightwell.auth.principals import Principal
from lightwell.auth.roles import RoleError, Roles, ServicePrincipal
from lightwell.domain.imports.manifests import OutcomeCounts
from lightwell.domain.states import JobStatus
from lightwell.ingest import on_record
from lightwell.observe.audit.record import AuditRecord, FrameRecord, decode_line, encode_lines
from lightwell.observe.audit.search import Wanted
from lightwell.stores.db.tables import outbox
from lightwell.stores.jobs import import_jobs
from tests.imports.audit.world import JSON, SERIES, World, members, of

ROLE = "arn:aws:iam::000000000000:role/BreakGlass"
FORM = {"content_type": "application/x-www-form-urlencoded"}
TRUSTED = {"Principal": {"AWS": "*", "Service": "medical-imaging.amazonaws.com"}, "Action": "sts:AssumeRole"}
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def document(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="module", autouse=True)
def _role(world: World) -> None:
    role = {
        "trustPolicy": document({"Effect": "Allow", **TRUSTED}),
        "policies": [document(EVERYTHING)],
        "emergency": True,
    }
    answer, (record,) = world.ask("PUT", "/console/api/roles/BreakGlass", role, **JSON)
    assert answer.status == 200, answer.body
    # That a role is for emergencies is a right of its own: the digest says so.
    _, (other,) = world.ask("PUT", "/console/api/roles/BreakGlass", role | {"emergency": False}, **JSON)
    assert other.change[0].before == record.change[0].after != other.change[0].after
    # Without a word about it, it stays.
    for more in ({"emergency": True}, {"emergency": None}):
        world.ask("PUT", "/console/api/roles/BreakGlass", role | more, **JSON)
    answer, _ = world.ask("GET", "/console/api/roles")
    (shown,) = (each for each in json.loads(answer.body)["roles"] if each["name"] == "BreakGlass")
    assert shown["emergency"] is True


def assume(world: World, key: Credentials | None = None, **parameters: str) -> tuple[int, str, AuditRecord]:
    given = {"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": ROLE, **parameters}
    answer, (record,) = world.ask("POST", "/", urlencode(given).encode(), key, service="sts", **FORM)
    return answer.status, answer.body.decode(), record


def credentials(body: str) -> Credentials:
    found = [
        re.search(f"<{name}>(.*?)</{name}>", body)
        for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
    ]
    return Credentials(*(each[1] for each in found if each is not None))


def told(world: World, session: Credentials) -> dict[str, Any]:
    """The event that was made of a session."""
    with world.trail.gateway.state.stores.db.read() as conn:
        events = [json.loads(each) for each in conn.execute(select(outbox.c.event)).scalars()]
    (event,) = (
        each
        for each in events
        if each["detail-type"] == "Emergency Role Assumed"
        and each["detail"]["accessKeyId"] == session.access_key
    )
    return dict(event)


def test_nobody_takes_one_without_a_reason(world: World) -> None:
    for name in ("me", "reason="):
        status, body, record = assume(world, RoleSessionName=name)
        assert status == 400 and "Key=reason" in body and "<Code>ValidationError</Code>" in body
        assert (record.status, record.emergency, record.reason) == (400, False, None)
    blank = {"Tags.member.1.Key": "reason", "Tags.member.1.Value": " "}
    assert assume(world, RoleSessionName="me", **blank)[0] == 400
    # No other tag is taken, and none besides.
    for tags in (
        {"Tags.member.1.Key": "team", "Tags.member.1.Value": "x"},
        {**blank, "Tags.member.1.Value": "why", "Tags.member.2.Key": "a", "Tags.member.2.Value": "b"},
    ):
        status, body, _ = assume(world, RoleSessionName="me", **tags)
        assert status == 400 and "Tags.member." in body
    state = world.trail.gateway.state
    roles = Roles(state.stores.db, "000000000000", "us-east-1")
    with pytest.raises(RoleError, match="emergencies") as refused:
        service = ServicePrincipal("medical-imaging.amazonaws.com")
        roles.assume(ROLE, service, session="ImportJob", now=state.clock.now())
    assert refused.value.kind == "reason"


def test_taking_one_is_told_and_each_use_is_flagged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    state, why = world.trail.gateway.state, "stroke alarm, ward 7"
    with caplog.at_level(logging.WARNING, "lightwell.web.sts"):
        status, body, record = assume(
            world,
            RoleSessionName="ada",
            **{"Tags.member.1.Key": "reason", "Tags.member.1.Value": why},
        )
    assert (status, record.emergency, record.reason) == (200, True, why)
    (line,) = caplog.records
    assert "a role was taken for an emergency" in line.getMessage() and why not in str(vars(line))
    session = credentials(body)
    frame = f"/datastore/{world.store}/imageSet/{world.sets[SERIES]}/getImageFrame"
    answer, (used,) = world.ask("POST", frame, {"imageFrameId": world.frame}, key=session, **JSON)
    assert answer.status == 200 and used.emergency
    assert members(used, of(world)) == of(world)
    answer, (listed,) = world.ask("GET", "/console/api/keys", key=session)
    assert answer.status == 200 and listed.emergency and listed.reason is None
    answer, (usual,) = world.ask("POST", frame, {"imageFrameId": world.frame}, **JSON)
    assert not usual.emergency
    event = told(world, session)
    assert (event["source"], event["resources"]) == ("lightwell", [ROLE])
    assert event["detail"].keys() == {"accessKeyId", "expiresAt", "takenBy"} and why not in str(event)
    lines = state.recorder.meter.render([]).decode().splitlines()
    for what in ("session", "request"):
        start = f'lightwell_emergency_total{{what="{what}"'
        (counted,) = (each for each in lines if each.startswith(start))
        assert float(counted.rpartition(" ")[2]) > 0


def test_a_name_of_a_session_may_be_the_reason(world: World) -> None:
    """For clients that assume a role by a profile, and those with a token: they send nothing else."""
    status, _, record = assume(world, RoleSessionName="reason=ticket-4711")
    assert (status, record.emergency, record.reason) == (200, True, "ticket-4711")


def put_role(world: World, name: str, key: Credentials | None = None, *, emergency: bool) -> None:
    role = {"trustPolicy": document({"Effect": "Allow", **TRUSTED}), "policies": [document(EVERYTHING)]}
    answer, _ = world.ask("PUT", f"/console/api/roles/{name}", role | {"emergency": emergency}, key, **JSON)
    assert answer.status == 200, answer.body


def test_nobody_sheds_the_flag_of_a_session(world: World) -> None:
    """Neither by a usual role, taken with the session, nor by making its role a usual one."""
    put_role(world, "Everyday", emergency=False)
    put_role(world, "Glass", emergency=True)
    state, arn = world.trail.gateway.state, ROLE.replace("BreakGlass", "{}").format
    _, body, record = assume(world, RoleSessionName="reason=x", RoleArn=arn("Glass"))
    first = credentials(body)
    assert (record.emergency, record.reason) == (True, "x")
    status, body, record = assume(world, first, RoleSessionName="ada", RoleArn=arn("Everyday"))
    assert (status, record.emergency, record.reason) == (200, True, None)
    chained = credentials(body)
    assert told(world, chained)["resources"] == [arn("Everyday")]
    put_role(world, "Glass", chained, emergency=False)
    # As after a moment, when what was looked up is forgotten.
    for key in (first, chained):
        state.authenticator.forget(key.access_key)
        answer, (used,) = world.ask("GET", "/console/api/keys", key=key)
        assert answer.status == 200 and used.emergency


def test_a_key_that_a_session_makes_has_its_flag(world: World) -> None:
    """So have its successor, and a session of it."""
    state = world.trail.gateway.state
    put_role(world, "Panic", emergency=True)
    _, body, _ = assume(world, RoleSessionName="reason=x", RoleArn=ROLE.replace("BreakGlass", "Panic"))
    session = credentials(body)

    def made(key: Credentials | None, path: str, asked: dict[str, Any]) -> Credentials:
        answer, (record,) = world.ask("POST", f"/console/api/keys{path}", asked, key, **JSON)
        assert answer.status in (200, 201), answer.body
        assert record.emergency is (key is not None)
        said = json.loads(answer.body)
        return Credentials(said["accessKeyId"], said["secretAccessKey"])

    asked = {"name": "quick", "policies": [document(EVERYTHING)]}
    first, usual = made(session, "", asked), made(None, "", asked)
    second = made(None, f"/{first.access_key}/rotation", {"overlapSeconds": 60})
    rotated = made(session, f"/{usual.access_key}/rotation", {"overlapSeconds": 60})
    taken = state.key_sessions.of_key(Principal(second.access_key, "", "", None, None), state.clock.now())
    of_second = Credentials(
        taken.credentials.access_key_id, taken.credentials.secret_access_key, taken.session_token
    )
    flags = {}
    for key in (first, second, of_second, rotated, usual):
        answer, (used,) = world.ask("GET", "/console/api/keys", key=key)
        assert answer.status == 200, answer.body
        flags[key.access_key] = used.emergency
    assert list(flags.values()) == [True, True, True, True, False]


@pytest.mark.parametrize("emergency", [True, False])
def test_what_the_engine_does_for_a_session_is_flagged(world: World, *, emergency: bool) -> None:
    """As it was when it was begun."""
    put_role(world, "Loader", emergency=False)
    # Roles are looked up anew after a moment only, so each case has its own.
    name = f"Glass{emergency}"
    put_role(world, name, emergency=emergency)
    _, body, _ = assume(world, RoleSessionName="reason=x", RoleArn=ROLE.replace("BreakGlass", name))
    asked = {
        "dataAccessRoleArn": ROLE.replace("BreakGlass", "Loader"),
        "clientToken": f"emergency-{emergency}",
        "inputS3Uri": "s3://in-bucket/in/",
        "outputS3Uri": "s3://out-bucket/out/",
    }
    url, key = f"/startDICOMImportJob/datastore/{world.store}", credentials(body)
    answer, _ = world.ask("POST", url, asked, key, **JSON)
    assert answer.status == 200, answer.body
    put_role(world, name, emergency=not emergency)
    with world.trail.gateway.state.stores.db.read() as conn:
        job = import_jobs.find_anywhere(conn, json.loads(answer.body)["jobId"])
    assert job is not None
    record = on_record.end_of_job(job, world.store, JobStatus.FAILED, OutcomeCounts(1, 2, 0))
    assert record.emergency is emergency and record.error == "ImportJobFailed"


def test_flagged_records_are_found_in_their_lines() -> None:
    wanted = Wanted(is_emergency=True)
    needle = wanted.needle()
    assert needle is not None
    for record in (AuditRecord(emergency=True), FrameRecord(emergency=True)):
        line = encode_lines([record]).rstrip()
        assert needle in line and wanted.matches(decode_line(line))
    assert not wanted.matches(AuditRecord())
