"""Records as DICOM audit messages."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import msgspec
import pytest
from lxml import etree
from msgspec.structs import replace

from lightwell.observe.audit.forms.atna import atna_messages
from lightwell.observe.audit.forms.meaning import meaning
from lightwell.observe.audit.forms.syslog import syslog_frames
from lightwell.observe.audit.record import AuditRecord, Change
from tests.unit.observe.audit.forms.examples import (
    ANCHOR,
    COMMAND,
    PLACE,
    READ,
    SEARCH,
    STARTED,
    UNPROVED,
    examples,
)

SCHEMA = etree.RelaxNG(etree.parse(str(Path(__file__).with_name("audit_message.rng"))))


def parsed(record: AuditRecord) -> list[etree._Element]:
    return [etree.fromstring(text.encode()) for text in atna_messages(record, PLACE)]


def said(message: etree._Element) -> dict[str, str]:
    """The details of the record itself."""
    details = message.findall("ParticipantObjectIdentification")[-1].findall("ParticipantObjectDetail")
    return {str(each.get("type")): b64decode(str(each.get("value"))).decode() for each in details}


def ids(message: etree._Element, code: str) -> list[str | None]:
    """The objects whose IDs are of the kind with this code."""
    return [
        each.get("ParticipantObjectID")
        for each in message.iter("ParticipantObjectIdentification")
        if each.find("ParticipantObjectIDTypeCode").get("csd-code") == code
    ]


def test_every_record_is_a_message_by_the_schema_of_dicom() -> None:
    seen = set()
    for record in examples():
        for message in parsed(record):
            SCHEMA.assertValid(message)
            seen.add(message.find("EventIdentification/EventID").get("csd-code"))
    assert seen == {
        *("110100", "110101", "110102", "110103", "110104", "110105", "110106", "110107"),
        *("110112", "110113", "110114"),
    }


def test_the_schema_refuses_what_is_no_message() -> None:
    [text] = atna_messages(READ, PLACE)
    for old, new in (
        ('EventOutcomeIndicator="0"', 'EventOutcomeIndicator="1"'),
        ("<ActiveParticipant ", "<Participant "),
        ('originalText="Patient Number"', ""),
        ("ParticipantObjectName", "ParticipantObjectTitle"),
    ):
        assert old in text
        with pytest.raises((etree.DocumentInvalid, etree.XMLSyntaxError)):
            SCHEMA.assertValid(etree.fromstring(text.replace(old, new).encode()))


def test_tells_who_saw_which_study_of_whom() -> None:
    [message] = parsed(READ)
    event = message.find("EventIdentification")
    assert dict(event.attrib) == {
        "EventActionCode": "R",
        "EventDateTime": "2026-11-30T00:53:20.123Z",
        "EventOutcomeIndicator": "0",
    }
    assert event.find("EventID").get("originalText") == "DICOM Instances Transferred"
    reader, server = message.findall("ActiveParticipant")
    assert dict(reader.attrib) == {
        "UserID": "arn:aws:sts::123456789012:assumed-role/Readers/kim",
        "UserIsRequestor": "true",
        "AlternativeUserID": "ASLWX",
        "UserName": "kim@example.org",
        "NetworkAccessPointID": "192.0.2.7",
        "NetworkAccessPointTypeCode": "2",
    }
    assert reader.find("RoleIDCode").get("originalText") == "Destination Role ID"
    assert server.get("UserID") == "lightwell/http-0@pacs-7"
    assert server.find("RoleIDCode").get("originalText") == "Source Role ID"
    assert (ids(message, "110180"), ids(message, "2")) == (["1.2.3"], ["P-7"])
    assert message.find(".//Instance").get("UID") == "1.2.3.4.5"
    details = said(message)
    assert details["request"] == READ.id
    assert (details["by"], details["sent"], details["items"]) == (READ.by, "1234", '["1"]')


def test_an_image_set_of_no_known_data_store_has_no_arn() -> None:
    [message] = parsed(replace(COMMAND, operation="sets show", image_set="b" * 32))
    assert ids(message, "12") == [] and said(message)["set"] == "b" * 32
    [message] = parsed(replace(COMMAND, store="a" * 32, image_set="b" * 32))
    arn = f"arn:aws:medical-imaging:eu-central-1:123456789012:datastore/{'a' * 32}/imageset/{'b' * 32}"
    assert ids(message, "12") == [arn] and "set" not in said(message)


def test_a_long_answer_begins_and_ends() -> None:
    assert [meaning(replace(READ, phase=phase)).event.value for phase in ("begun", "ended")] == [
        "110102",
        "110104",
    ]
    [message] = parsed(replace(READ, phase="ended", is_cut=True))
    assert message.find("EventIdentification").get("EventOutcomeIndicator") == "4"


def test_a_search_tells_of_everybody_who_was_shown() -> None:
    [message] = parsed(SEARCH)
    assert ids(message, "2") == ["P-1", "P-2"]
    assert ids(message, "110180") == ["1.2.1", "1.2.2", "1.2.9"]
    assert b64decode(message.findtext(".//ParticipantObjectQuery")) == b'{"PatientName":"#0123456789"}'
    many = replace(SEARCH, patients=tuple(f"P-{number}" for number in range(1_000)))
    messages = atna_messages(many, PLACE)
    assert max(len(text.encode()) for text in messages) < 32_768
    found = [patient for message in parsed(many) for patient in ids(message, "2")]
    assert found == list(many.patients)


@pytest.mark.parametrize(
    "record",
    [
        replace(SEARCH, patients=tuple(f"{'&' * 61}{number:03}" for number in range(100))),
        replace(SEARCH, query={"StudyInstanceUID": ["1." + "2" * 60] * 900}),
        replace(ANCHOR, change=tuple(Change(f"http-{at}", "9" * 20, "ab" * 32) for at in range(400))),
        replace(READ, items=tuple(str(100_000 + at) for at in range(9_000))),
    ],
)
def test_no_message_is_longer_than_every_receiver_takes(record: AuditRecord) -> None:
    texts = atna_messages(record, PLACE)
    assert len(texts) > 1
    assert max(len(text.encode()) for text in texts) <= 30_200
    messages = parsed(record)
    for message in messages:
        SCHEMA.assertValid(message)
    assert [each for message in messages for each in ids(message, "2")] == list(
        record.patients or filter(None, [record.patient])
    )
    found = {name: value for message in messages for name, value in said(message).items()}
    for name, whole in (("query", record.query), ("change", record.change), ("items", record.items)):
        if f"{name} 1/" in " ".join(found):
            parts = {int(key.split()[1].split("/")[0]): found[key] for key in found if f"{name} " in key}
            assert "".join(parts[at] for at in sorted(parts)) == msgspec.json.encode(whole).decode()
    assert any(" 1/" in name for name in found) or len(record.patients) == 100


@pytest.mark.parametrize(
    ("record", "event", "type", "result"),
    [
        (STARTED, "Application Activity", "Application Start", "0"),
        (UNPROVED, "User Authentication", "Login", "4"),
        (ANCHOR, "Audit Log Used", None, "0"),
        (COMMAND, "Export", None, "0"),
        (replace(READ, operation="DeleteImageSet", kind="change"), "DICOM Study Deleted", None, "0"),
        (replace(READ, operation="ConsoleDeleteImageSet", kind="change"), "DICOM Study Deleted", None, "0"),
        (replace(READ, operation="StoreDICOM", kind="change"), "DICOM Instances Transferred", None, "0"),
        (replace(READ, operation="StartDICOMImportJob", kind="change"), "Import", None, "0"),
        (replace(READ, operation="GetImageSet"), "DICOM Instances Accessed", None, "0"),
        (
            replace(READ, operation="ConsolePutRole", kind="access"),
            "Security Alert",
            "Security Roles Changed",
            "0",
        ),
        (
            replace(READ, operation="AssumeRole", kind="access", status=403, error="AccessDenied"),
            "User Authentication",
            "Login",
            "4",
        ),
        (
            AuditRecord(at=1, lost=5, operation="AuditLost", kind="security"),
            "Security Alert",
            "Audit Recording Stopped",
            "8",
        ),
    ],
)
def test_each_event_has_its_codes(record: AuditRecord, event: str, type: str | None, result: str) -> None:
    [message] = parsed(record)
    found = message.find("EventIdentification")
    kind = found.find("EventTypeCode")
    assert found.find("EventID").get("originalText") == event
    assert (None if kind is None else kind.get("originalText")) == type
    assert found.get("EventOutcomeIndicator") == result


def test_what_xml_cannot_hold_is_marked_and_kept_beside_it() -> None:
    [message] = parsed(replace(READ, patient='P"<&>\0\n7'))
    assert ids(message, "2") == ['P"<&>\ufffd\n7']
    patient = [
        b64decode(str(each.get("value"))).decode()
        for each in message.iter("ParticipantObjectDetail")
        if each.get("type") == "PatientID"
    ]
    assert patient == ['P"<&>\0\n7']


def test_a_frame_says_how_long_it_is_and_begins_with_the_header_of_rfc_5424() -> None:
    frames = syslog_frames(replace(READ, patient="Jürgen"), PLACE)
    length, _, message = frames.partition(b" ")
    assert int(length) == len(message)
    header, _, xml = message.partition(b"\xef\xbb\xbf")
    assert header == b"<85>1 2026-11-30T00:53:20.123Z pacs-7 lightwell http-0 DICOM+RFC3881 - "
    assert xml.startswith(b'<?xml version="1.0" encoding="UTF-8"?><AuditMessage>')
    assert "Jürgen" in xml.decode()
    assert syslog_frames(UNPROVED, PLACE).partition(b" ")[2].startswith(b"<84>1 ")
