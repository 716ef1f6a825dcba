"""Audit messages as syslog messages in frames of syslog over TLS.

Source: RFC 5424 (message), RFC 5425 §4.3 (frame), DICOM PS3.15 A.6 (how audit messages are sent).
"""

from __future__ import annotations

import re
from typing import Final

from lightwell.observe.audit.forms.atna import atna_messages
from lightwell.observe.audit.forms.meaning import Place, moment, outcome
from lightwell.observe.audit.record import AuditRecord

# Facility 10, security and authorization; severity 5, notice, or 4, warning.
_NOTICE, _WARNING = 10 * 8 + 5, 10 * 8 + 4
MSGID: Final = "DICOM+RFC3881"
_BOM: Final = "\ufeff"
_UNSAID: Final = re.compile(r"[^\x21-\x7e]")
_LONGEST_HOST: Final = 255


def syslog_frames(record: AuditRecord, place: Place) -> bytes:
    """The frames of all messages for a record: each is its length in bytes, a space, and the message.

    The time of a message is that of the record, and its PROCID the chain, so they tell of order and gaps.
    """
    priority = _NOTICE if outcome(record) == "0" else _WARNING
    host = _UNSAID.sub("-", place.host)[:_LONGEST_HOST] or "-"
    header = f"<{priority}>1 {moment(record.at)} {host} lightwell {place.writer} {MSGID} - {_BOM}"
    frames = []
    for xml in atna_messages(record, place):
        message = (header + xml).encode()
        frames.append(b"%d %s" % (len(message), message))
    return b"".join(frames)
