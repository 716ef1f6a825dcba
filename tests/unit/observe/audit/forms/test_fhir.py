"""Records as AuditEvent resources of FHIR R4, compared with its definitions and with IHE's profiles.

The definitions are those of fhir.resources (R4B, whose AuditEvent is that of R4). No package has IHE's
profiles: `check_profile` asks for what their sources (https://github.com/IHE/ITI.BasicAudit, input/fsh) do.
"""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from msgspec.structs import replace

from lightwell.observe.audit.forms.atna import atna_messages
from lightwell.observe.audit.forms.fhir import audit_events
from lightwell.observe.audit.record import AuditRecord
from tests.unit.observe.audit.forms.examples import (
    ANCHOR,
    COMMAND,
    PLACE,
    READ,
    REFUSED_TOKEN,
    SEARCH,
    UNPROVED,
    examples,
)

BALP = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
ROLES = {
    "Read": ("110152", "110153", "IRCP"),
    "Query": ("110153", "110152", "IRCP"),
    "Create": ("110153", "110152", "AUT"),
    "Update": ("110153", "110152", "AUT"),
    "Delete": ("110150", "custodian", "AUT"),
}


def profile(event: dict[str, Any]) -> str | None:
    urls = event.get("meta", {}).get("profile", [])
    return urls[0].removeprefix(BALP) if urls else None


def of_type(event: dict[str, Any], code: str) -> list[dict[str, Any]]:
    return [each for each in event["entity"] if each["type"]["code"] == code]


def check_profile(event: dict[str, Any], name: str) -> None:
    """What BALP asks for beyond FHIR: codes, agents with their parts, and entities with theirs."""
    kind = name.removeprefix("Patient")
    client, server, user = ROLES[kind]
    assert (event["type"]["code"], event["outcome"]) == ("rest", "0")
    assert event["action"] == {"Read": "R", "Query": "E", "Create": "C", "Update": "U", "Delete": "D"}[kind]
    interactions = [
        each["code"] for each in event["subtype"] if each["system"].endswith("restful-interaction")
    ]
    assert interactions == ["search" if kind == "Query" else kind.lower()]
    assert kind != "Delete" or len(event["subtype"]) == 1
    agents = {agent["type"]["coding"][0]["code"]: agent for agent in event["agent"]}
    assert len(agents) == len(event["agent"])
    for role in (client, server):
        assert agents[role]["who"] and agents[role]["network"]["address"]
        assert not agents[role].keys() & {"role", "altId", "name", "location", "policy", "media"}
    assert agents[user]["requestor"] and agents[user]["who"] and "network" not in agents[user]
    [main] = of_type(event, "2")
    assert not main.keys() & {"lifecycle", "name", "detail"}
    if kind == "Query":
        assert main["role"]["code"] == "24" and "query" in main and "what" not in main
    else:
        assert main["role"]["code"] == "4" and main["what"] and "query" not in main
    if name.startswith("Patient"):
        [patient] = of_type(event, "1")
        assert patient["role"]["code"] == "1" and patient["what"]["type"] == "Patient"
    assert len(of_type(event, "XrequestId")) <= 1


def test_every_record_is_an_auditevent_by_fhir_and_by_the_profile_that_it_claims() -> None:
    seen = set()
    for record in examples():
        for event in audit_events(record, PLACE):
            AuditEvent.model_validate_json(json.dumps(event))
            assert event["agent"] and event["entity"]
            if (name := profile(event)) is not None:
                check_profile(event, name)
                seen.add(name)
    assert seen >= {"Query", "PatientQuery", "PatientRead", "PatientCreate", "PatientUpdate", "PatientDelete"}


def test_fhir_refuses_what_is_no_auditevent() -> None:
    [event] = audit_events(READ, PLACE)
    for name, value in (("recorded", "yesterday"), ("agent", None), ("outcomes", "0")):
        with pytest.raises(ValueError, match=name):
            AuditEvent.model_validate_json(json.dumps(event | {name: value}))


def test_tells_who_saw_which_study_of_whom() -> None:
    [event] = audit_events(READ, PLACE)
    assert profile(event) == "PatientRead"
    assert (event["recorded"], event["action"], event["outcome"]) == ("2026-11-30T00:53:20.123Z", "R", "0")
    client, server, user = event["agent"]
    assert client["network"] == {"address": "192.0.2.7", "type": "2"}
    assert client["who"] == {"identifier": {"value": "ASLWX"}, "display": "viewer/1"}
    assert server["who"] == {"display": "lightwell/http-0@pacs-7"}
    assert user["who"] == {"identifier": {"value": READ.who}}
    assert (user["name"], user["requestor"]) == ("kim@example.org", True)
    assert of_type(event, "1")[0]["what"]["identifier"] == {"value": "P-7"}
    assert of_type(event, "2")[0]["what"] == {
        "type": "ImagingStudy",
        "identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"},
    }
    assert of_type(event, "XrequestId")[0]["what"]["identifier"]["value"] == READ.id
    details = {each["type"]: each["valueString"] for each in of_type(event, "4")[-1]["detail"]}
    assert (details["series"], details["instance"], details["by"]) == ("1.2.3.4", "1.2.3.4.5", READ.by)


def test_a_search_that_shows_several_patients_is_an_event_for_each() -> None:
    events = audit_events(SEARCH, PLACE)
    assert [profile(event) for event in events] == ["PatientQuery", "PatientQuery", "Query"]
    assert [of_type(event, "1")[0]["what"]["identifier"]["value"] for event in events[:2]] == ["P-1", "P-2"]
    # Nothing is said of whose which study is, since that is not on record.
    assert "urn:oid:" not in json.dumps(events[:2])
    assert json.dumps(events[2]).count("urn:oid:") == 3
    assert b64decode(of_type(events[0], "2")[0]["query"]) == b'{"PatientName":"#0123456789"}'


@pytest.mark.parametrize("record", [UNPROVED, replace(READ, status=403, error="AccessDeniedException")])
def test_what_was_refused_claims_no_profile_of_success(record: AuditRecord) -> None:
    [event] = audit_events(record, PLACE)
    assert profile(event) is None
    assert (event["outcome"], event["outcomeDesc"]) == ("4", record.error)


def test_an_image_set_of_no_known_data_store_has_no_arn() -> None:
    [event] = audit_events(replace(COMMAND, operation="sets show", image_set="b" * 32), PLACE)
    assert "datastore/" not in json.dumps(event) and "b" * 32 in json.dumps(event)


def test_names_who_had_a_genuine_token_and_got_no_role() -> None:
    [event] = audit_events(REFUSED_TOKEN, PLACE)
    user = event["agent"][-1]
    assert (user["who"], user["requestor"]) == ({"identifier": {"value": "kim@example.org"}}, True)
    [message] = atna_messages(REFUSED_TOKEN, PLACE)
    assert 'UserID="kim@example.org" UserIsRequestor="true" UserName="kim@example.org"' in message


def test_what_no_client_asked_for_names_who_did_it() -> None:
    [event] = audit_events(COMMAND, PLACE)
    assert [agent["requestor"] for agent in event["agent"]] == [False, True]
    assert event["agent"][1]["who"] == {"identifier": {"value": "ada"}}
    [event] = audit_events(ANCHOR, PLACE)
    assert event["type"]["code"] == "110101"
    assert event["agent"][1]["who"] == {"display": "lightwell"}


def test_breaking_the_glass_is_a_purpose() -> None:
    [event] = audit_events(replace(READ, emergency=True), PLACE)
    assert event["purposeOfEvent"][0]["coding"][0]["code"] == "BTG"
