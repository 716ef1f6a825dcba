"""Where the audit trail is sent to: what a target must do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lightwell.errors import LightwellError
from lightwell.observe.audit.record import AuditRecord


class ForwardingError(LightwellError):
    """Records could not be sent, or it is not certain that they have arrived."""


class Target(Protocol):
    """What takes records. All methods but `close` raise `ForwardingError` and `OSError`."""

    name: str
    """``syslog`` or ``fhir``: the label of its metrics, and the name of its files."""

    is_certain: bool
    """Whether what was sent has arrived once `send` returns, so that `confirm` costs nothing."""

    def send(self, records: Sequence[AuditRecord], writer: str) -> None:
        """Send records of one chain, in their order."""

    def confirm(self) -> None:
        """Return once all that was sent has arrived for certain."""

    def close(self) -> None:
        """Give up what was sent and not confirmed: it will be sent again."""
