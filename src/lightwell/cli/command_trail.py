"""The records that commands leave in the audit trail: they need no server, and so no server knows of them.

All commands of a data folder share one chain, ``cli``, each for as long as it writes a block.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from lightwell.clock import Clock
from lightwell.errors import LightwellError
from lightwell.observe.audit.chain import Chain
from lightwell.observe.audit.record import AuditRecord, SystemUser
from lightwell.settings import Settings
from lightwell.stores.data_folder.audit_folder import AuditFolder

WRITER: Final = "cli"
# Each command walks the last segment from its start.
_ROTATE_BYTES = 1 << 20
# Other commands write one block and go.
_PATIENCE = 30.0
_NO_LOGIN: Final = 0xFFFFFFFF


def keep(settings: Settings, records: Sequence[AuditRecord]) -> None:
    """Write the records to the disk, as done by the user who runs this process.

    Raises `LightwellError` where that fails, unless ``audit_full`` is ``serve``.
    """
    user = system_user()
    for record in records:
        record.via, record.user = "cli", user
    try:
        folder = AuditFolder(settings.data, settings.audit_key_file)
        chain = Chain(folder.chain(WRITER, Clock().now, _ROTATE_BYTES), patience=_PATIENCE)
        try:
            chain.append(records)
            chain.sync()
        finally:
            chain.close()
    except OSError as error:
        if settings.audit_full == "refuse":
            raise LightwellError(
                f"The audit trail in {settings.data / 'audit'} cannot be written: {error.strerror or error}. "
                "Nothing is done that it cannot record; docs/howto/audit.md says what to do"
            ) from error


def system_user() -> SystemUser:
    """Who runs this process, and who had logged in before they became that user."""
    uid, name, login = os.getuid(), None, None
    with suppress(KeyError):
        name = pwd.getpwuid(uid).pw_name
    with suppress(OSError, ValueError):
        login = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    return SystemUser(uid, name, None if login == _NO_LOGIN else login)
