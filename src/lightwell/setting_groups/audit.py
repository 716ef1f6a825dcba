"""The audit trail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightwell.setting_groups.declaration import setting
from lightwell.setting_groups.work import WorkSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings(WorkSettings):
    """The audit trail, which is always kept."""

    audit_sync: bool = setting(
        False,
        "true: send no answer before its record in the audit trail is on the disk; otherwise that takes "
        "up to a second",
    )
    audit_full: str = setting(
        "refuse",
        "what happens while the audit trail cannot be written, such as on a full disk: refuse, nothing is "
        "done that could not be recorded, or serve, records are lost, and the trail says how many",
        choices=("refuse", "serve"),
    )
    audit_mask: str = setting(
        "texts",
        "what the audit trail keeps of searches, tags and what commands were asked for: texts, what was "
        "typed for names, descriptions "
        "and other texts is replaced by digests; all, every value is; none, nothing is",
        choices=("texts", "all", "none"),
    )
    audit_keep: int = setting(
        0,
        "days to keep records of the audit trail, at least 30: files whose newest record is older are "
        "removed, which is on record. 0 means forever",
    )
    audit_key_file: Path | None = setting(
        None, "file with the keys that seal the audit trail, the newest first; DATA/audit.key if unset"
    )

    audit_syslog: str | None = setting(
        None,
        "tls://HOST[:6514], a syslog receiver that is sent the audit trail as DICOM audit messages (IHE "
        "ATNA); not sent if unset",
    )
    audit_syslog_ca: Path | None = setting(
        None, "PEM file with the authorities of that receiver's certificate; those of the system if unset"
    )
    audit_syslog_certificate: Path | None = setting(
        None, "PEM file with a client certificate for that receiver and its key; none if unset"
    )
    audit_syslog_believe_cut: bool = setting(
        False,
        "true: the end of a connection without TLS close_notify is taken for proof that the receiver has "
        "read everything, for receivers that never send one; whoever can cut connections on the way can "
        "then have records vanish",
    )
    audit_fhir: str | None = setting(
        None,
        "https://HOST[:PORT][/PATH], the base URL of a FHIR R4 server that is sent the audit trail as "
        "AuditEvent resources; not sent if unset",
    )
    audit_fhir_ca: Path | None = setting(
        None, "PEM file with the authorities of that server's certificate; those of the system if unset"
    )
    audit_fhir_certificate: Path | None = setting(
        None, "PEM file with a client certificate for that server and its key; none if unset"
    )
    audit_fhir_token_file: Path | None = setting(
        None, "file with a bearer token for that server; it is read for each request"
    )
