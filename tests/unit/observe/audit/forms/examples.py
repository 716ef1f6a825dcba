"""Records of all that may be on record, as the forms meet them."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from lightwell.cli.command_trail import KINDS
from lightwell.ingest.on_record import IMPORTED, JOB_ENDED, STORED
from lightwell.observe.audit import heads
from lightwell.observe.audit.forms.meaning import Place
from lightwell.observe.audit.record import AuditRecord, Change, SystemUser
from lightwell.web.audit.operations import NOT_RECORDED, RECORDED
from lightwell.work import removal_records

ACCOUNT = "123456789012"
PLACE = Place(ACCOUNT, "eu-central-1", "http-0", "pacs-7")
READ = AuditRecord(
    number=7, at=1_796_000_000_123, id="5b147047-2f60-4f11-a35e-d6888c0477f7", via="dicomweb",
    operation="GetDICOMInstanceFrames", kind="read",
    who=f"arn:aws:sts::{ACCOUNT}:assumed-role/Readers/kim", key="ASLWX", subject="kim@example.org",
    provider="https://id.example.org", address="192.0.2.7", agent="viewer/1", store="a" * 32,
    image_set="b" * 32, patient="P-7", study="1.2.3", series="1.2.3.4", instance="1.2.3.4.5",
    items=("1",), status=200, by="statement 1 (Look) of policy", policy="sha256:0123", sent=1234,
)  # fmt: skip
SEARCH = replace(
    READ, operation="SearchDICOMStudies", kind="search", patient=None, study=None, series=None, instance=None,
    image_set=None, items=(), patients=("P-1", "P-2"), studies=("1.2.1", "1.2.2", "1.2.9"),
    query={"PatientName": "#0123456789"}, found=3,
)  # fmt: skip
UNPROVED = AuditRecord(
    number=8, at=READ.at, via="api", operation="GetImageFrame", kind="security", claimed="AKFORGED",
    address="192.0.2.66", status=403, error="SignatureDoesNotMatch", count=12, until=READ.at + 5_000,
)  # fmt: skip
REFUSED_TOKEN = AuditRecord(
    number=9, at=READ.at, id="r", via="sts", operation="AssumeRoleWithWebIdentity", kind="access",
    subject="kim@example.org", provider="https://id.example.org", address="192.0.2.7", status=403,
    error="AccessDenied", by="no statement of the trust policy",
)  # fmt: skip
STARTED = AuditRecord(number=1, at=READ.at, via="start", operation="ProcessStarted", kind="system")
ANCHOR = AuditRecord(
    number=9, at=READ.at, via="engine", operation="AuditAnchor", kind="system",
    change=(Change("http-0", "7", "ab" * 32),),
)  # fmt: skip
COMMAND = AuditRecord(
    number=3, at=READ.at, id="r", via="cli", operation="export", kind="read", phase="begun",
    user=SystemUser(1000, "ada", 1001), query={"patient": "P-7"}, patient="P-7",
)  # fmt: skip


def examples() -> Iterator[AuditRecord]:
    """One of each operation of clients, succeeded, refused and failed, and of what else there is."""
    yield from (READ, SEARCH, UNPROVED, STARTED, ANCHOR, COMMAND, AuditRecord(at=1, operation="Unheard"))
    yield replace(STARTED, operation="ProcessEnded")
    yield replace(READ, emergency=True)
    yield REFUSED_TOKEN
    yield replace(READ, patient="P\0-\u001b7 ", agent="", subject=" ", by="\ud800", address="")
    yield replace(SEARCH, patients=tuple(f"P-{number}" for number in range(130)))
    yield AuditRecord(at=1, until=9, lost=5, operation="AuditLost", kind="security")
    yield AuditRecord(at=1, until=9, operation="AuditInterrupted", kind="security")
    yield AuditRecord(at=1, operation="RefusedRequests", kind="security", status=403, count=1)
    for operation, recorded in RECORDED.items():
        base = SEARCH if recorded.kind == "search" else READ
        for status, error, cut in (
            (200, None, False), (200, None, True), (403, "AccessDeniedException", False), (503, "X", False)
        ):  # fmt: skip
            for phase in (None, "begun", "ended"):
                yield replace(
                    base, operation=operation, kind=recorded.kind, via=recorded.via, status=status,
                    error=error, is_cut=cut, phase=phase,
                )  # fmt: skip
    yield from _without_clients()
    for operation in NOT_RECORDED:
        yield replace(READ, operation=operation, kind="system", via="api", status=403, patient=None)
    for words in {*KINDS, "key create", "role put", "audit verify", "serve", "doctor"}:
        for phase in ("begun", None, "ended"):
            yield replace(COMMAND, operation=words, kind=KINDS.get(words, "system"), phase=phase)
    yield replace(COMMAND, operation="AuditQuery", kind="access", patient=None)
    yield replace(COMMAND, operation="console", kind="access", patient=None, query={"by": "serve"})


def _without_clients() -> Iterator[AuditRecord]:
    """What engines, upkeep, forwarders and starts put on record."""
    done = replace(
        READ, id=None, via="engine", kind="change", key=None, address=None, agent=None, status=None, by=None,
        policy=None, sent=None, items=(), subject=None, provider=None,
    )  # fmt: skip
    for operation in (IMPORTED, STORED):
        for error in (None, "ImportFailed"):
            yield replace(done, operation=operation, version=1, instances=5, job="j", error=error)
        yield replace(done, operation=operation, id="d" * 32, recovered=READ.at + 9, emergency=True)
    ended = replace(done, image_set=None, patient=None, study=None, series=None, instance=None)
    for status, error in (("COMPLETED", None), ("FAILED", "ImportJobFailed")):
        query = {"status": status, "imported": 1, "failed": 2}
        yield replace(ended, operation=JOB_ENDED, job="j", query=query, error=error)
    store = "d" * 32
    for record in (
        *removal_records.of_sets([(store, "s1"), (store, "s2")]),
        removal_records.of_packs(["packs/1", "packs/2"]),
        removal_records.of_rows({"events": 7}),
        replace(removal_records.of_packs(["u"]), operation="RemoveUploadedFiles", who=READ.who, found=3),
    ):
        yield replace(record, at=READ.at, via="engine")
    places = [heads.Place("http-0", 7, b"m" * 32), heads.Place("cli", 2, b"n" * 32)]
    yield heads.removals(places, READ.at, 30, 17)
    yield heads.ended(READ.at)
    yield heads.parts_missing(places, READ.at)
    yield heads.ends_missing(places, READ.at)
    change = (Change("audit_keep", "0", "30"), Change("all settings", None, "sha256:0"))
    yield AuditRecord(at=READ.at, via="start", operation="ServerStarted", kind="access", change=change)
    yield AuditRecord(at=READ.at, operation="AuditForwardMissed", kind="security", count=8)
