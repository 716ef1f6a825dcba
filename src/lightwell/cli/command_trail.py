"""The records that commands leave in the audit trail: they need no server, and so no server knows of them.

All commands of a data folder share one chain, ``cli``, each for as long as it writes a block.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from lightwell.cli import called
from lightwell.cli.called import Called
from lightwell.clock import Clock, Ids
from lightwell.errors import LightwellError
from lightwell.observe.audit.chain import Chain
from lightwell.observe.audit.masking import QueryMask
from lightwell.observe.audit.note import MOST, AuditNote
from lightwell.observe.audit.record import AuditRecord, Kind, Phase, SystemUser
from lightwell.setting_urls import masked_url
from lightwell.settings import Settings
from lightwell.stores.data_folder.audit_folder import AuditFolder

WRITER: Final = "cli"
# Each command walks the last segment from its start.
_ROTATE_BYTES = 1 << 20
# Other commands write one block and go.
_PATIENCE = 30.0
_NO_LOGIN: Final = 0xFFFFFFFF
_LONGEST = 256

# What a command is on record as, by its verb and action, or its verb; `system` if it is not here.
KINDS: Final[dict[str, Kind]] = {
    "export": "read",
    "sets": "read",
    "sets list": "search",
    "sets delete": "change",
    "import": "change",
    "erase": "change",
    "jobs cancel": "change",
    "queue forget": "change",
    "queue priority": "change",
    "queue retry": "change",
    "data move": "change",
    "data restore": "change",
    "data backup": "read",
    "data verify": "read",
    "data migrate": "change",
    "data keys": "access",
    "datastore": "access",
    "key": "access",
    "role": "access",
    "policy": "access",
    "authorizer": "access",
    "token": "access",
    "iam": "access",
    "env": "access",
    "console": "access",
    "demo": "change",
}
# Arguments that are on record: what it is about. Others may be secrets, or paths with names of patients.
SHOWN: Final = (
    *("id", "ids", "patient", "study", "series", "modality", "datastore", "set", "first", "second", "name"),
    *("key", "role", "arn", "job", "now", "yes", "admin", "all", "disable", "enable", "repair", "emergency"),
    *("step", "store", "authorizer", "expires", "overlap", "max_session", "if_revision", "priority", "ttl"),
    *("page_checksums", "image_set", "asked", "resource", "sessions", "limit"),
)
# Free text among them, by command.
_TEXTS: Final = {"import": {"name"}}
# Where data comes from and goes to, and what answers for an authorizer: paths and URLs, without passwords.
PLACES: Final = ("source", "destination", "to_database_url", "to_storage_url", "target")


def keep(settings: Settings, records: Sequence[AuditRecord]) -> None:
    """Write the records to the disk, as done by the user who runs this process.

    Raises `LightwellError` where that fails, unless ``audit_full`` is ``serve``.
    """
    user = system_user()
    for record in records:
        record.via, record.user = "cli", user
    try:
        folder = AuditFolder(settings.data, settings.audit_key_file)
        for record in records:
            _mask(settings, folder, record)
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


def _mask(settings: Settings, folder: AuditFolder, record: AuditRecord) -> None:
    """Replace what ``audit_mask`` does not let stand, by digests under a key of the trail.

    With ``texts`` that is the name of an import job: all else are ids, UIDs, and places and names that tell
    what a command has done, and where.
    """
    query = record.query or {}
    names = (
        query.keys() if settings.audit_mask == "all" else query.keys() & _TEXTS.get(record.operation, set())
    )
    found = {
        name: [str(each) for each in value] if isinstance(value, list) else str(value)
        for name, value in query.items()
        if name in names and not isinstance(value, bool)
    }
    if found:
        keys = folder.ensure_keys()
        key = keys.seal_key(keys.newest, "", "queries")
        assert key is not None, "the newest key is there"
        record.query = query | QueryMask(settings.audit_mask, key).of(found)


def system_user() -> SystemUser:
    """Who runs this process, and who had logged in before they became that user."""
    uid, name, login = os.getuid(), None, None
    with suppress(KeyError):
        name = pwd.getpwuid(uid).pw_name
    with suppress(OSError, ValueError):
        login = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    return SystemUser(uid, name, None if login == _NO_LOGIN else login)


class Command:
    """One run of a command: on record before it is done, and at its end with whom it was about."""

    def __init__(self, called: Called) -> None:
        self.called = called
        self.note = AuditNote()
        self._kind = KINDS.get(called.words) or KINDS.get(called.verb) or "system"
        self._id = Ids().id()
        self._depth = 0
        self._is_begun = False

    @contextmanager
    def recorded(self, settings: Settings) -> Iterator[None]:
        """While it works on a data folder. Raises `LightwellError` if that cannot be recorded."""
        if not self._is_begun:
            self._keep(settings, "begun")
            self._is_begun = True
        self._depth += 1
        error = None
        try:
            yield
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            self._depth -= 1
            if not self._depth:
                self._keep(settings, "ended", error)

    def becomes(self, kind: Kind) -> None:
        """It turns out to be of another kind than its name says."""
        self._kind = kind

    def did(self, settings: Settings) -> None:
        """What was noted goes on record now, as a step of its own."""
        self._keep(settings, None)
        self.note.clear()

    def got_on(self, settings: Settings, coming: int = 1) -> None:
        """What was noted goes on record, if a record has no room for the image sets that are ``coming``."""
        if len(self.note.image_sets) + coming > MOST:
            self.did(settings)

    def goes_to(self, settings: Settings, store: str) -> None:
        """What is noted from now on is of this data store; what was noted of another goes on record first."""
        if self.note.store not in (None, store) and (self.note.image_sets or self.note.job):
            self.did(settings)
        self.note.store = store

    def _keep(self, settings: Settings, phase: Phase | None, error: str | None = None) -> None:
        record = AuditRecord(
            at=Clock().now(),
            id=self._id,
            operation=self.called.words,
            kind=self._kind,
            phase=phase,
            error=error,
        )
        given = vars(self.called.arguments)
        if self.called.verb in ("key", "policy"):
            record.key, _ = _one_or_many(given.get("id") or given.get("key"))
        if phase == "begun":
            record.query = _shown(given)
            _name(record, self.called.verb, given)
        else:
            self.note.fill(record)
        keep(settings, [record])


_running: list[Command] = []


def current() -> Command | None:
    """The command that runs; None where code of commands is used without one."""
    if not called.commands:
        return None
    if not _running or _running[0].called is not called.commands[0]:
        _running[:] = [Command(called.commands[0])]
    return _running[0]


def goes_to(settings: Settings, store: str, *, job: str | None = None) -> None:
    """The command that runs, if one does, is about this data store from now on, and about this job of it."""
    command = current()
    if command is not None:
        if job is not None and command.note.job not in (None, job):
            command.did(settings)
        command.goes_to(settings, store)
        command.note.job = job or command.note.job


def changed(what: str, before: str | None = None, after: str | None = None) -> None:
    """The command that runs, if one does, has changed this, as in `AuditNote.changed`."""
    command = current()
    if command is not None:
        command.note.changed(what, before, after)


def _name(record: AuditRecord, verb: str, given: Mapping[str, object]) -> None:
    """Whom and what a command is about, as far as its arguments say that."""
    record.patient, record.patients = _one_or_many(given.get("patient"))
    record.study, record.studies = _one_or_many(given.get("study"))
    ids = given.get("id") or given.get("ids")
    if verb == "export":
        ids = given.get("image_set")
    if verb in ("sets", "export"):
        record.image_set, record.image_sets = _one_or_many(ids)
    elif verb in ("jobs", "queue"):
        record.job, _ = _one_or_many(ids or given.get("job"))


def _one_or_many(given: object) -> tuple[str | None, tuple[str, ...]]:
    values = given[:MOST] if isinstance(given, list) else [given]
    named = tuple(text for each in values if (text := _text(each)) is not None)
    return (named[0], ()) if len(named) == 1 else (None, named)


def _shown(given: Mapping[str, object]) -> dict[str, Any] | None:
    """The arguments that say what it is about."""
    shown: dict[str, Any] = {}
    for name in SHOWN:
        value = given.get(name)
        if value is True:
            shown[name] = True
        elif isinstance(value, list) and value:
            shown[name] = [_text(each) for each in value[:MOST]]
        elif (text := _text(value)) is not None:
            shown[name] = text
    for name in PLACES:
        if (text := _text(given.get(name))) is not None:
            shown[name] = masked_url(text)[:_LONGEST]
    return shown or None


def _text(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value[:_LONGEST] if isinstance(value, str) and value else None
