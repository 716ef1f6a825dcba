"""Open the stores for a verb that works with the server up or down."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from lightwell.cli import command_trail
from lightwell.cli.running_server import check_database, check_folder
from lightwell.cli.starting_server import wait_while_starting
from lightwell.clock import Clock, Ids
from lightwell.errors import ConfigurationError, LightwellError, StorageError
from lightwell.observe.audit.note import AuditNote
from lightwell.operations.context import Caller, Context
from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.stores.background.installation import check_storage
from lightwell.stores.data_folder import check_folders, file_modes
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.data_folder.file_modes import ExposedPath
from lightwell.stores.data_folder.file_owner import other_owner, untrusted_path
from lightwell.stores.db.database import Database
from lightwell.stores.db.open import migrate_database, open_database
from lightwell.stores.db.schema import schema_revision, schema_state
from lightwell.stores.objects.local import storage_error


def check_owner(settings: Settings) -> None:
    """Raises `ConfigurationError` if another user owns data or planted files, unless settings allow it.

    So it does if the data folder is none.
    """
    check_folder(settings)
    if settings.allow_other_user:
        return
    me = user_name(os.geteuid())
    found = other_owner(settings)
    if found is None:
        if laid := untrusted_path(settings):
            path, owner = laid[0], user_name(laid[1])
            sudo = f"`sudo -u {_sudo_user(owner)} lightwell …`"
            raise ConfigurationError(
                f"{path} belongs to {owner}, but you are {me}: someone may have planted it to read or change "
                f"your data. If it is the folder of a service, run this as {owner} ({sudo}). If you do not "
                "recognize it, use another folder with --data. If it is yours, stop everything that uses it "
                f"and run `{chown_command(settings.data.absolute())}` as root. "
                "To work on it anyway, use --allow-other-user"
            )
        return
    path, owner = found[0], user_name(found[1])
    # The flag is no use to someone who lacks the permissions to read and write.
    is_able = os.access(found[0], os.R_OK | os.W_OK) and os.access(settings.data, os.R_OK | os.W_OK | os.X_OK)
    raise ConfigurationError(
        f"{path} belongs to {owner}, but you are {me}, and {owner} could not read what {me} writes there. "
        f"Run this as {owner} (`sudo -u {_sudo_user(owner)} lightwell …`), or stop everything that uses the "
        f"data and give it to {me} (`{chown_command(settings.data.absolute())}` as root)"
        + (". To work on it anyway, use --allow-other-user" if is_able else "")
    )


def _sudo_user(owner: str) -> str:
    return owner if not owner.isdigit() else f"'#{owner}'"


def restrict_access(settings: Settings, *, warn: bool = False) -> None:
    """Take away other users' access to the data and print what was accessible; with ``warn`` also what is.

    What dry runs that were killed have left there is removed.
    """
    check_folders.sweep(settings.data)
    for found in file_modes.restrict(settings):
        if found.is_restricted or warn:
            print(f"lightwell: {describe_exposed_file(found)}", file=sys.stderr)


def ensure_audit_keys(settings: Settings) -> None:
    """Make the key of the audit trail if there is none. Raises `ConfigurationError` and `StorageError`."""
    try:
        AuditFolder(settings.data, settings.audit_key_file).ensure_keys()
    except OSError as error:
        raise storage_error(error, "The key of the audit trail cannot be read or made") from error


def describe_exposed_file(found: ExposedPath) -> str:
    """A sentence about a file that other users could or can still read."""
    if found.is_restricted:
        return f"other users could read {found.path} (mode {found.mode:04o}); now only you can"
    owner, place = user_name(found.owner), shlex.quote(str(found.path))
    return (
        f"other users can read {found.path} (mode {found.mode:04o}), which belongs to {owner} and "
        f"which lightwell may not change: run `chmod go= {place}` as {owner} or root"
    )


def chown_command(folder: Path) -> str:
    """The command with which root gives a folder and everything below it to the current user."""
    return f"chown -R {user_name(os.geteuid())} {shlex.quote(str(folder))}"


def user_name(user: int) -> str:
    """The name of a user ID; the ID itself if it has none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def make_data_folder(settings: Settings) -> None:
    """Create the data folder if it is missing.

    Raises `StorageError` if that fails, or if no file can be created in it.
    """
    check_folder(settings)
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryFile(dir=settings.data):
            pass
    except OSError as error:
        raise StorageError(
            f"The data folder {settings.data} cannot be created or written to: {error.strerror}; check "
            "--data and the owner of the folder"
        ) from error


@contextmanager
def store_session(
    settings: Settings, *, create: bool = False, needs_objects: bool = False
) -> Iterator[Stores]:
    """The stores, closed at the end. With ``create``, a missing or older database is migrated first.

    With ``needs_objects``, raises `ConfigurationError` where the storage is not that of the database.
    """
    check_owner(settings)
    check_database(settings)
    if not create:
        wait_while_starting(settings, settings.data.exists)
    if not create and not settings.data.exists():
        raise LightwellError(
            f"There is no data folder {settings.data}: check --data, or import something first"
        )
    restrict_access(settings)
    stores = open_stores(settings)
    try:
        with ExitStack() as stack:
            is_migrated = create and schema_state(stores.db) != "current"
            if is_migrated:
                stack.enter_context(on_record(settings))
                migrate_on_record(settings, stores.db)
            _check_schema(settings, stores.db)
            if needs_objects:
                check_storage(stores.db, stores.objects)
            if not is_migrated:
                stack.enter_context(on_record(settings))
            yield stores
    finally:
        stores.close()


@contextmanager
def database_session(settings: Settings) -> Iterator[Database]:
    """The database alone, closed at the end; it must have the current schema."""
    check_owner(settings)
    check_database(settings)
    restrict_access(settings)
    db = open_database(settings)
    try:
        _check_schema(settings, db)
        with on_record(settings):
            yield db
    finally:
        db.close()


@contextmanager
def on_record(settings: Settings) -> Iterator[None]:
    """While a command works on a data folder by other means than a session, which does this itself.

    Raises `LightwellError` if that cannot be recorded.
    """
    command = command_trail.current()
    if command is None:
        yield
        return
    if not settings.data.exists():
        make_data_folder(settings)
    with command.recorded(settings):
        yield


def migrate_on_record(settings: Settings, db: Database) -> bool:
    """`migrate_database`; what the command that is on record says of it: the schema before and after."""
    before = schema_revision(db)
    changed = migrate_database(settings, db)
    if changed:
        command_trail.changed("database schema", before, schema_revision(db))
    return changed


def _check_schema(settings: Settings, db: Database) -> None:
    wait_while_starting(settings, lambda: schema_state(db) != "behind")
    state = schema_state(db)
    if state == "behind":
        raise LightwellError(
            f"The database {db.address} is not ready: it is empty, or of an older lightwell. Run `lightwell "
            "data migrate`, which keeps all that is stored, or start `lightwell serve` on it once; if it "
            "should not be empty, check --data"
        )
    if state == "ahead":
        raise LightwellError(
            f"The database {db.address} was migrated by a newer lightwell: install that version or a later "
            "one"
        )


def local_context(settings: Settings, stores: Stores) -> Context:
    """A context whose caller is the account's root: anyone who can open the stores may do everything."""
    caller = Caller(settings.account_id, f"arn:aws:iam::{settings.account_id}:root", "")
    command = command_trail.current()
    note = AuditNote() if command is None else command.note
    return Context(stores=stores, settings=settings, clock=Clock(), ids=Ids(), caller=caller, note=note)
