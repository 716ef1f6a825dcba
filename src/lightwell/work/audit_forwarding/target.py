"""Where the audit trail is sent to: what a target must do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from lightwell.errors import LightwellError
from lightwell.observe.audit.record import AuditRecord


class ForwardingError(LightwellError):
    """Records could not be sent, or it is not certain that they have arrived."""


class RefusedError(ForwardingError):
    """Of one chain what comes next was refused as it is; that of others may be taken."""


class DoubtfulError(ForwardingError):
    """Of a check: it can be reached, and yet records may not arrive."""


class LeftOut(NamedTuple):
    """A record that was refused for good, or a part of it: its number, and with which status and code."""

    number: int
    answer: str


class Target(Protocol):
    """What takes records. All methods but `close` raise `ForwardingError` and `OSError`."""

    name: str
    """``syslog`` or ``fhir``: the label of its metrics, and the name of its files."""

    is_certain: bool
    """Whether what was sent has arrived once `send` returns, so that `confirm` costs nothing."""

    def send(self, records: Sequence[AuditRecord], writer: str) -> Sequence[LeftOut]:
        """Send records of one chain, in their order; returns which the other side will never take.

        Raises `RefusedError` besides, if `is_certain`.
        """

    def confirm(self) -> None:
        """Return once all that was sent has arrived for certain."""

    def check(self) -> str:
        """Whether it can be reached by its settings: a sentence about what was found.

        Sends nothing of the trail, and waits for seconds only. Raises `ForwardingError` alone, with what to
        do, and `DoubtfulError` if it may work.
        """

    def close(self) -> None:
        """Give up what was sent and not confirmed: it will be sent again."""
