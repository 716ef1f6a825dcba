"""The doctor's check of where the audit trail is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lightwell.cli.doctor.warning import DoctorWarning
from lightwell.clock import Clock
from lightwell.errors import LightwellError
from lightwell.settings import Settings

_EXPIRES_SOON_MS = 14 * 86_400_000


def forwarding(settings: Settings) -> str:
    """Whether each target can be reached with its authorities and certificates. Nothing is sent."""
    if settings.audit_syslog is None and settings.audit_fhir is None:
        return "the audit trail is sent nowhere"
    from lightwell.work.audit_forwarding import reachable
    from lightwell.work.audit_forwarding.start import targets
    from lightwell.work.audit_forwarding.target import DoubtfulError, ForwardingError

    wrong: list[str] = []
    doubtful: list[str] = []
    fine: list[str] = []
    for target in targets(settings):
        try:
            fine.append(reachable.check_within(reachable.WHOLE_SECONDS, target))
        except DoubtfulError as error:
            doubtful.append(str(error))
        except ForwardingError as error:
            wrong.append(str(error))
    doubtful += _expiring(settings)
    if wrong:
        raise LightwellError("; ".join([*wrong, *doubtful]))
    if doubtful:
        raise DoctorWarning("; ".join([*doubtful, *fine]))
    return "; ".join(fine)


def _expiring(settings: Settings) -> Iterator[str]:
    """Certificates of this side that receivers will soon refuse, if they do not yet."""
    from lightwell.auth import certificate

    soon = Clock().now() + _EXPIRES_SOON_MS
    for name in ("audit_syslog_certificate", "audit_fhir_certificate"):
        path: Path | None = getattr(settings, name)
        if path is None:
            continue
        try:
            fault = certificate.validity(path).fault(soon)
        except LightwellError as error:
            yield f"{name}: {error}"
            continue
        if fault:
            yield f"the certificate in {name}, {path}, expires soon or is not valid: renew it"
