"""The forwarders that the settings ask for."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from lightwell.clock import Clock
from lightwell.observe.audit.forms.meaning import Place
from lightwell.observe.audit.trail import AuditTrail
from lightwell.observe.metrics import Recorder
from lightwell.settings import Settings
from lightwell.work.audit_forwarding.forwarder import Forwarder, Telling
from lightwell.work.audit_forwarding.target import Target

SYSLOG_PORT = 6514


def begin_forwarding(
    settings: Settings, root: Path, trail: AuditTrail, recorder: Recorder
) -> Sequence[Forwarder]:
    """Send the audit trail below ``root`` on, for as long as the process runs; `Forwarder.end` each."""
    telling = Telling(trail.put, recorder.count, recorder.measure, Clock().now)
    forwarders = [Forwarder(root, target, telling) for target in targets(settings)]
    for forwarder in forwarders:
        forwarder.begin()
    return forwarders


def targets(settings: Settings) -> list[Target]:
    """Where the settings say that the trail is sent."""
    place = Place(settings.account_id, settings.region, "", socket.gethostname())
    found: list[Target] = []
    # Loaded here: few servers need them.
    if settings.audit_syslog is not None:
        from lightwell.work.audit_forwarding.syslog_target import SyslogTarget

        parts = urlsplit(settings.audit_syslog)
        found.append(
            SyslogTarget(
                parts.hostname or "",
                parts.port or SYSLOG_PORT,
                place,
                settings.audit_syslog_ca,
                settings.audit_syslog_certificate,
                believes_cut=settings.audit_syslog_believe_cut,
            )
        )
    if settings.audit_fhir is not None:
        from lightwell.work.audit_forwarding.fhir_target import FhirTarget

        found.append(
            FhirTarget(
                settings.audit_fhir,
                place,
                ca=settings.audit_fhir_ca,
                certificate=settings.audit_fhir_certificate,
                token_file=settings.audit_fhir_token_file,
            )
        )
    return found
