"""A record of the audit trail as FHIR AuditEvent resources (R4), by IHE's profiles where these apply.

Source: https://hl7.org/fhir/R4/auditevent.html; IHE ITI Basic Audit Log Patterns (BALP), whose profiles are
of successful requests by clients: read, query, create, update and delete, with a patient or without one.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final

import msgspec

from lightwell.observe.audit.forms.meaning import (
    AUDIT_LOG_USED,
    Meaning,
    Place,
    details,
    image_sets,
    meaning,
    moment,
    outcome,
    patients,
    studies,
    user_name,
)
from lightwell.observe.audit.forms.printable import printable
from lightwell.observe.audit.record import AuditRecord

_PROFILE: Final = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_ENTITY_TYPE: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ENTITY_ROLE: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_URI: Final = "urn:ietf:rfc:3986"
_DOORS: Final = ("api", "dicomweb", "console")

# By action: the profile, FHIR's own name of the interaction, the parts of client and server, and of the user.
_SOURCE: Final = (_DCM, "110153", "Source Role ID")
_DESTINATION: Final = (_DCM, "110152", "Destination Role ID")
_APPLICATION: Final = (_DCM, "110150", "Application")
_PARTICIPATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_RECIPIENT: Final = (_PARTICIPATION, "IRCP", "information recipient")
_AUTHOR: Final = (_PARTICIPATION, "AUT", "author (originator)")
_CUSTODIAN: Final = (
    "http://terminology.hl7.org/CodeSystem/provenance-participant-type",
    "custodian",
    "Custodian",
)
_REST: Final = {
    "R": ("Read", "read", _DESTINATION, _SOURCE, _RECIPIENT),
    "E": ("Query", "search", _SOURCE, _DESTINATION, _RECIPIENT),
    "C": ("Create", "create", _SOURCE, _DESTINATION, _AUTHOR),
    "U": ("Update", "update", _SOURCE, _DESTINATION, _AUTHOR),
    "D": ("Delete", "delete", _APPLICATION, _CUSTODIAN, _AUTHOR),
}


def audit_events(record: AuditRecord, place: Place) -> list[dict[str, Any]]:
    """The resources for a record: one, or one for each patient if it is about several, as BALP asks.

    Which of several studies is whose is not on record: then one more resource, without a patient, has them.
    """
    several = patients(record)
    if len(several) <= 1:
        return [_event(record, place, several[0] if several else None, studies(record))]
    shared = studies(record)
    events = [_event(record, place, patient, ()) for patient in several]
    return [*events, _event(record, place, None, shared)] if shared else events


def _event(record: AuditRecord, place: Place, patient: str | None, about: tuple[str, ...]) -> dict[str, Any]:
    known, ended = meaning(record), outcome(record)
    is_rest = record.kind in ("read", "search", "change") and record.via in _DOORS and record.claimed is None
    # A transfer that begins is an execution in DICOM's words, and a read in those of FHIR.
    action = "E" if record.kind == "search" else "R" if record.kind == "read" else known.action
    if not is_rest:
        action = known.action
    event: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "type": _coding(_DCM, *known.event),
        "subtype": [] if known.type is None else [_coding(_DCM, *known.type)],
        "action": action,
        "recorded": moment(record.at),
        "outcome": ended,
        "outcomeDesc": printable(record.error) if record.error is not None else None,
        "agent": _agents(record, place, known, action, is_rest),
        "source": {
            "site": printable(place.host),
            "observer": {"display": printable(f"lightwell/{place.writer}@{place.host}")},
            "type": [
                _coding(
                    "http://terminology.hl7.org/CodeSystem/security-source-type", "4", "Application Server"
                )
            ],
        },
        "entity": _entities(record, place, known, patient, about, is_rest),
    }
    if is_rest:
        name, interaction, *_ = _REST[action]
        event["type"] = _coding(
            "http://terminology.hl7.org/CodeSystem/audit-event-type", "rest", "RESTful Operation"
        )
        said = [_coding("http://hl7.org/fhir/restful-interaction", interaction, interaction)]
        # BALP fixes the number of subtypes of a delete.
        event["subtype"] = said if action == "D" else [*said, _coding(_DCM, *known.event)]
        if ended == "0" and record.address is not None:
            event["meta"] = {"profile": [f"{_PROFILE}{'' if patient is None else 'Patient'}{name}"]}
    if record.emergency:
        event["purposeOfEvent"] = [
            _concept("http://terminology.hl7.org/CodeSystem/v3-ActReason", "BTG", "break the glass")
        ]
    return {name: value for name, value in event.items() if value not in (None, [])}


def _agents(
    record: AuditRecord, place: Place, known: Meaning, action: str, is_rest: bool
) -> list[dict[str, Any]]:
    if is_rest:
        _, _, client, server, part = _REST[action]
    else:
        client = _APPLICATION if known.client is None else (_DCM, *known.client)
        server = _APPLICATION if known.server is None else (_DCM, *known.server)
        part = _AUTHOR
    agents: list[dict[str, Any]] = []
    if record.address is not None:
        agents.append(
            {
                "type": _concept(*client),
                "who": _client(record),
                "requestor": False,
                "network": {"address": printable(record.address), "type": "2"},
            }
        )
    agents.append(
        {
            "type": _concept(*server),
            "who": {"display": printable(f"lightwell/{place.writer}@{place.host}")},
            "requestor": False,
            "network": {"address": printable(place.host), "type": "1"},
        }
    )
    is_known = any(each is not None for each in (record.who, record.user, record.subject))
    if is_known or not agents[:-1]:
        user: dict[str, Any] = {"type": _concept(*part), "requestor": True}
        if not is_known:
            user["who"] = {"display": "lightwell"}
        else:
            user["who"] = {"identifier": {"value": printable(user_name(record))}}
        if record.subject is not None:
            user["name"] = printable(record.subject)
        agents.append(user)
    return agents


def _client(record: AuditRecord) -> dict[str, Any]:
    """What can be told of the program that asked: the access key that it used, and what it calls itself."""
    key = record.key or record.claimed
    who: dict[str, Any] = {} if key is None else {"identifier": {"value": printable(key)}}
    who["display"] = printable(record.agent or "unknown")
    return who


def _entities(
    record: AuditRecord,
    place: Place,
    known: Meaning,
    patient: str | None,
    about: tuple[str, ...],
    is_rest: bool,
) -> list[dict[str, Any]]:
    entities: list[dict[str, Any]] = []
    if record.id is not None:
        entities.append(
            {
                "what": {"identifier": {"value": printable(record.id)}},
                "type": {
                    "system": "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType",
                    "code": "XrequestId",
                },
            }
        )
    if patient is not None:
        entities.append(
            {
                "what": {"type": "Patient", "identifier": {"value": printable(patient)}},
                "type": _coding(_ENTITY_TYPE, "1", "Person"),
                "role": _coding(_ENTITY_ROLE, "1", "Patient"),
            }
        )
    objects = [_study(study) for study in about]
    if patient is None or len(patients(record)) <= 1:
        objects += [_uri(place.arn(record, each)) for each in image_sets(record)]
    if record.store is not None:
        objects.append(_uri(place.arn(record)))
    is_query = is_rest and record.kind == "search"
    if is_query or record.query is not None:
        entities.append(_query(record, "2" if is_query else "4"))
    if known.event is AUDIT_LOG_USED:
        objects.append(_uri("urn:lightwell:audit"))
    if is_rest and not is_query and not objects:
        # BALP wants to know of what, also where the request was refused before that was found out.
        objects.append({"display": printable(record.operation)})
    for index, what in enumerate(objects):
        # BALP has one object that the event is about; what belongs to it besides is of another type.
        is_main = index == 0 and not is_query
        entities.append(
            {
                "what": what,
                "type": _coding(_ENTITY_TYPE, "2", "System Object")
                if is_main
                else _coding(_ENTITY_TYPE, "4", "Other"),
                "role": _coding(_ENTITY_ROLE, "4", "Domain Resource"),
            }
        )
    entities.append(_record_entity(record, place))
    return entities


def _query(record: AuditRecord, kind: str) -> dict[str, Any]:
    asked = b64encode(msgspec.json.encode(record.query or {})).decode()
    return {
        "type": _coding(_ENTITY_TYPE, kind, "System Object" if kind == "2" else "Other"),
        "role": _coding(_ENTITY_ROLE, "24", "Query"),
        "query": asked,
    }


def _record_entity(record: AuditRecord, place: Place) -> dict[str, Any]:
    """The record itself: where it stands in the trail, and all that there is no other place for."""
    said = [("series", record.series), ("instance", record.instance), *details(record)]
    return {
        "what": _uri(place.record_urn(record)),
        "type": _coding(_ENTITY_TYPE, "4", "Other"),
        "name": f"lightwell record {place.writer} {record.number}",
        "detail": [
            {"type": name, "valueString": printable(value)} for name, value in said if value is not None
        ],
    }


def _study(uid: str) -> dict[str, Any]:
    return {
        "type": "ImagingStudy",
        "identifier": {"system": "urn:dicom:uid", "value": printable(f"urn:oid:{uid}")},
    }


def _uri(value: str) -> dict[str, Any]:
    return {"identifier": {"system": _URI, "value": printable(value)}}


def _coding(system: str, code: str, display: str) -> dict[str, str]:
    return {"system": system, "code": code, "display": display}


def _concept(system: str, code: str, display: str) -> dict[str, Any]:
    return {"coding": [_coding(system, code, display)]}
