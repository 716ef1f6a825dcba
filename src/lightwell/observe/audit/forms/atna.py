"""A record of the audit trail as DICOM audit messages, which IHE's profile ATNA takes over.

Source: DICOM PS3.15 A.5.1 (schema), A.5.2 (conventions) and A.5.3 (which participants and objects an event
has). What these have no place for is in one more object, ``lightwell record``.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final
from xml.sax.saxutils import escape, quoteattr

import msgspec

from lightwell.observe.audit.forms.meaning import (
    APPLICATION,
    APPLICATION_ACTIVITY,
    AUDIT_LOG_USED,
    EMERGENCY,
    LAUNCHER,
    Code,
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
from lightwell.observe.audit.forms.printable import is_printable, printable
from lightwell.observe.audit.record import AuditRecord

# Bytes of one message, which with the header of syslog stays below the 32 KiB that every receiver takes
# (PS3.15 A.6); and of a detail's value, above which it is given in parts.
LONGEST: Final = 30_000
_LONGEST_DETAIL: Final = 4_000
_XML: Final = '<?xml version="1.0" encoding="UTF-8"?>'
_RFC3881: Final = "RFC-3881"
_OURS: Final = "lightwell"
_MACHINE, _ADDRESS = "1", "2"
_APPLICATION_SERVER: Final = "4"
# Most values, which need no second look.
_PLAIN: Final = re.compile(r"[\w.:/@+=-]+", re.ASCII)


def atna_messages(record: AuditRecord, place: Place) -> list[str]:
    """The messages for a record, as XML: one, or several if it is about more than one message holds."""
    known = meaning(record)
    start = f"<AuditMessage>{_event(record, known)}{''.join(_participants(record, known, place))}"
    start += _element(
        "AuditSourceIdentification",
        {"AuditSourceID": f"lightwell@{place.host}"},
        _element("AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER}),
    )
    every, parts = _record_details(record)
    room = LONGEST - len((start + _record_object(record, place, every)).encode())
    messages = []
    for objects, more in _shared_out(list(_objects(record, known, place)), parts, room):
        own = _record_object(record, place, every + more)
        messages.append(f"{_XML}{start}{objects}{own}</AuditMessage>")
    return messages


def _shared_out(objects: list[str], parts: list[str], room: int) -> list[tuple[str, str]]:
    """Objects, and parts of the record's details, for each message: at least one, with so many bytes."""
    messages, taken = [("", "")], 0
    for text, is_part in (*((each, False) for each in objects), *((each, True) for each in parts)):
        size = len(text.encode())
        if taken and taken + size > room:
            messages.append(("", ""))
            taken = 0
        known, more = messages[-1]
        messages[-1] = (known, more + text) if is_part else (known + text, more)
        taken += size
    return messages


def _event(record: AuditRecord, known: Meaning) -> str:
    types = [known.type] if known.type is not None else []
    if record.emergency:
        types.append(EMERGENCY)
    content = _dcm("EventID", known.event) + "".join(_dcm("EventTypeCode", each) for each in types)
    if record.error is not None:
        content += _element("EventOutcomeDescription", {}, _text(record.error))
    attributes = {
        "EventActionCode": known.action,
        "EventDateTime": moment(record.at),
        "EventOutcomeIndicator": outcome(record),
    }
    return _element("EventIdentification", attributes, content)


def _participants(record: AuditRecord, known: Meaning, place: Place) -> Iterator[str]:
    is_activity = known.event is APPLICATION_ACTIVITY
    has_user = any(each is not None for each in (record.who, record.user, record.subject, record.claimed))
    if has_user or record.address is not None:
        attributes = {"UserID": user_name(record), "UserIsRequestor": "true"}
        if (other := record.key or record.claimed) is not None:
            attributes["AlternativeUserID"] = other
        if record.subject is not None:
            attributes["UserName"] = record.subject
        if record.address is not None:
            attributes |= {
                "NetworkAccessPointID": record.address,
                "NetworkAccessPointTypeCode": _ADDRESS,
            }
        role = LAUNCHER if is_activity else known.client
        yield _element("ActiveParticipant", attributes, "" if role is None else _dcm("RoleIDCode", role))
    attributes = {
        "UserID": f"lightwell/{place.writer}@{place.host}",
        # What works in the background does so of its own accord.
        "UserIsRequestor": "true" if record.via == "engine" and not has_user else "false",
        "NetworkAccessPointID": place.host,
        "NetworkAccessPointTypeCode": _MACHINE,
    }
    role = APPLICATION if is_activity or known.server is None else known.server
    yield _element("ActiveParticipant", attributes, _dcm("RoleIDCode", role))


def _objects(record: AuditRecord, known: Meaning, place: Place) -> Iterator[str]:
    if known.event is AUDIT_LOG_USED:
        yield _object(
            {"ID": "urn:lightwell:audit", "TypeCode": "2", "TypeCodeRole": "13"},
            _rfc3881("12", "URI") + _name("Security Audit Log"),
        )
    # What they have in common is told of a study only where there is one.
    is_one = len(studies(record)) == 1
    for study in studies(record):
        content = _dcm("ParticipantObjectIDTypeCode", Code("110180", "Study Instance UID")) + _name(study)
        if is_one and record.series is not None:
            content += _detail("SeriesInstanceUID", record.series.encode(errors="replace"))
        if is_one and record.instance is not None:
            instance = _element("Instance", {"UID": record.instance})
            content += _element(
                "ParticipantObjectDescription", {}, _element("SOPClass", {"NumberOfInstances": "1"}, instance)
            )
        yield _object({"ID": study, "TypeCode": "2", "TypeCodeRole": "3"}, content)
    for patient in patients(record):
        content = _rfc3881("2", "Patient Number") + _name(patient)
        if not is_printable(patient):
            content += _detail("PatientID", patient.encode(errors="replace"))
        yield _object({"ID": patient, "TypeCode": "1", "TypeCodeRole": "1"}, content)
    for image_set in image_sets(record):
        content = _rfc3881("12", "URI") + _name(image_set)
        yield _object({"ID": place.arn(record, image_set), "TypeCode": "2", "TypeCodeRole": "3"}, content)
    if record.query is not None:
        query = msgspec.json.encode(record.query)
        # A long one is among the details of the record; the schema wants a name then.
        is_short = len(query) <= _LONGEST_DETAIL
        asked = (
            _element("ParticipantObjectQuery", {}, _base64(query)) if is_short else _name(record.operation)
        )
        yield _object(
            {"ID": record.operation, "TypeCode": "2", "TypeCodeRole": "24"},
            _rfc3881("10", "Search Criteria") + asked,
        )


def _record_details(record: AuditRecord) -> tuple[str, list[str]]:
    """The details of the record itself: those that each message has, and the parts of long ones.

    A part's type is ``NAME 2/5``; their values, put together in that order, are that of ``NAME``.
    """
    said = [("request", record.id), *details(record)]
    if record.query is not None:
        query = msgspec.json.encode(record.query)
        if len(query) > _LONGEST_DETAIL:
            said.append(("query", query.decode()))
    short, parts = "", []
    for name, value in said:
        if value is None:
            continue
        data = value.encode(errors="replace")
        if len(data) <= _LONGEST_DETAIL:
            short += _detail(name, data)
            continue
        pieces = [data[at : at + _LONGEST_DETAIL] for at in range(0, len(data), _LONGEST_DETAIL)]
        parts += [_detail(f"{name} {at}/{len(pieces)}", piece) for at, piece in enumerate(pieces, 1)]
    return short, parts


def _record_object(record: AuditRecord, place: Place, said: str) -> str:
    """The record itself: where it stands in the trail, which request it belongs to, and all the rest."""
    content = _code("ParticipantObjectIDTypeCode", "record", _OURS, "lightwell record")
    content += _name(f"{place.writer} {record.number}") + said
    return _object({"ID": place.record_urn(record), "TypeCode": "2"}, content)


def _object(attributes: Mapping[str, str], content: str) -> str:
    named = {f"ParticipantObject{name}": value for name, value in attributes.items()}
    return _element("ParticipantObjectIdentification", named, content)


def _name(text: str) -> str:
    return _element("ParticipantObjectName", {}, _text(text))


def _detail(name: str, value: bytes) -> str:
    given = {"type": name, "value": _base64(value)}
    return _element("ParticipantObjectDetail", given)


def _dcm(tag: str, code: Code) -> str:
    return _code(tag, code.value, "DCM", code.meaning)


def _rfc3881(value: str, meaning: str) -> str:
    return _code("ParticipantObjectIDTypeCode", value, _RFC3881, meaning)


@lru_cache(maxsize=256)
def _code(tag: str, value: str, system: str, meaning: str) -> str:
    return _element(tag, {"csd-code": value, "codeSystemName": system, "originalText": meaning})


def _element(tag: str, attributes: Mapping[str, str], content: str = "") -> str:
    said = "".join(f" {name}={_quoted(value)}" for name, value in attributes.items())
    return f"<{tag}{said}>{content}</{tag}>" if content else f"<{tag}{said}/>"


def _quoted(value: str) -> str:
    return f'"{value}"' if _PLAIN.fullmatch(value) else quoteattr(printable(value))


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return escape(printable(text), {"\n": "&#10;", "\r": "&#13;"})


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
