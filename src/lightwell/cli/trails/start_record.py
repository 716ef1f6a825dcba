"""With what a server or worker starts, or an import without them, on record: the settings that differ from
those of its last start.

What is compared with lies beside the trail, in ``DATA/audit/started.json``: values as `lightwell config show`
shows them, secrets as digests under the key of the trail, and a seal under that key. A file without a good
seal counts for nothing: the start is told as a first one. Whoever puts back an older file hides a change, but
not that there was one: each start has a record with a digest of all values, before and now.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from lightwell import __version__
from lightwell.auth.credentials import read_credentials
from lightwell.auth.secret_box import FILE as SECRET_FILE
from lightwell.clock import Clock
from lightwell.errors import LightwellError, UnavailableError
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.record import AuditRecord, Change
from lightwell.observe.audit.trail import AuditTrail
from lightwell.settings import FIELDS, Settings, masked
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.db.schema import REVISIONS

log = logging.getLogger(__name__)

OPERATION: Final = "ServerStarted"
FILE: Final = "started.json"
_LONGEST: Final = 200
_KEY: Final = "(audit key)"


def record_start(settings: Settings, trail: AuditTrail) -> None:
    """Put on record with what this server starts, and what of it differs from its last start.

    What cannot be written now is told again at the next start; it keeps no server from starting.
    """
    try:
        folder = AuditFolder(settings.data, settings.audit_key_file)
        keys = folder.keys()
        path, now = folder.root / FILE, _values(settings, keys)
        before = _read(path, keys)
        digests = (None if before is None else _digest(before), _digest(now))
        trail.put(
            AuditRecord(
                at=Clock().now(),
                via="start",
                operation=OPERATION,
                kind="access",
                change=(Change("all settings", *digests), *_changes(before, now)),
            )
        )
        trail.flush()
        _write(path, {"values": now, "seal": _seal(now, keys)})
    except (OSError, LightwellError) as error:
        reason = "the audit trail cannot be written" if isinstance(error, UnavailableError) else str(error)
        log.warning("the settings of this server go on record at its next start: %s", reason)


def _values(settings: Settings, keys: AuditKeys) -> dict[str, str]:
    """Each setting by its name, and what else a start may change: version, schema and keys."""
    key = keys.seal_key(keys.newest, "", "settings")
    assert key is not None, "the newest key is there"

    def digest(secret: object) -> str:
        return f"#{hmac.digest(key, str(secret).strip().encode(), sha256).hex()[:16]}" if secret else ""

    found = {}
    for name, field in FIELDS.items():
        value = getattr(settings, name)
        found[name] = digest(value) if field.metadata["secret"] else masked(name, value)
    root = None if settings.root_access_key_id else read_credentials(settings.data)
    found["(lightwell)"] = __version__
    found["(database schema)"] = REVISIONS[-1]
    found[_KEY] = keys.newest
    found["(secret key)"] = digest(settings.read_secret_key() or _text(settings.data / SECRET_FILE))
    found["(root access key)"] = settings.root_access_key_id or (root.access_key_id if root else "")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return ""


def _changes(before: Mapping[str, str] | None, now: Mapping[str, str]) -> list[Change]:
    """What differs, at a first start from the defaults."""
    if before is None:
        before = {name: masked(name, field.default) for name, field in FIELDS.items()}
    names = sorted(before.keys() | now.keys())
    return [
        Change(name, _shown(before.get(name)), _shown(now.get(name)))
        for name in names
        if before.get(name) != now.get(name)
    ]


def _shown(value: str | None) -> str | None:
    """A value as the record has it: the beginning of a long one, and a digest that tells it from others."""
    if value is None or len(value) <= _LONGEST:
        return value
    return f"{value[:_LONGEST]}… sha256:{sha256(value.encode()).hexdigest()[:16]}"


def _digest(values: Mapping[str, str]) -> str:
    return f"sha256:{sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()}"


def _seal(values: Mapping[str, str], keys: AuditKeys) -> str | None:
    """The seal of these values, under the key that they name; None if that is not here."""
    key = keys.seal_key(values.get(_KEY, ""), "", "settings")
    if key is None:
        return None
    return hmac.digest(key, b"started\0" + json.dumps(values, sort_keys=True).encode(), sha256).hex()


def _read(path: Path, keys: AuditKeys) -> dict[str, str] | None:
    """What was written at the last start; None if there was none, or if this was not written by a start."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    values, seal = (found.get("values"), found.get("seal")) if isinstance(found, dict) else (None, None)
    if isinstance(values, dict) and all(isinstance(each, str) for each in values.values()):
        good = _seal(values, keys)
        if good is not None and hmac.compare_digest(good.encode(), str(seal).encode()):
            return values
    log.warning("%s is not what the last start has written: all settings go on record", path)
    return None


def _write(path: Path, written: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{FILE}.tmp")
    with suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(written, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
