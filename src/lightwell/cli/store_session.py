"""Opening the stores for a verb that works with the server up or down."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from lightwell.clock import Clock, Ids
from lightwell.errors import ConfigurationError, LightwellError, StorageError
from lightwell.operations.context import Caller, Context
from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.stores.data_folder import file_modes
from lightwell.stores.data_folder.file_modes import ExposedPath
from lightwell.stores.data_folder.file_owner import other_owner, untrusted_path
from lightwell.stores.db.database import Database
from lightwell.stores.db.schema import migrate, schema_state


def check_owner(settings: Settings) -> None:
    """Raises `ConfigurationError` if data are another user's, or laid by one, unless settings allow that."""
    if settings.allow_other_user:
        return
    me = user_name(os.geteuid())
    found = other_owner(settings)
    if found is None:
        if laid := untrusted_path(settings):
            path, owner = laid[0], user_name(laid[1])
            raise ConfigurationError(
                f"{path} belongs to {owner}, and this is {me}: it may have been laid there to read or change "
                f"what {me} keeps. If you do not know it, name another folder with --data; if it is yours, "
                f"`{give_to_me(settings.data.absolute())}` as root while nothing runs on it. "
                "--allow-other-user works on it all the same"
            )
        return
    path, owner = found[0], user_name(found[1])
    asked = owner if not owner.isdigit() else f"'#{owner}'"
    # Who may not even read it gains nothing from being allowed to.
    is_able = os.access(found[0], os.R_OK | os.W_OK) and os.access(settings.data, os.R_OK | os.W_OK | os.X_OK)
    raise ConfigurationError(
        f"{path} belongs to {owner}, and this is {me}: {owner} could not read what {me} writes there. "
        f"Run it as {owner} (`sudo -u {asked} lightwell …`), or give all of it to {me} while nothing runs "
        f"on it (`{give_to_me(settings.data.absolute())}` as root)"
        + (". --allow-other-user works on it all the same" if is_able else "")
    )


def close_to_others(settings: Settings, *, warn: bool = False) -> None:
    """Take from other users what they may read of the data, and say so; with ``warn`` also what is left."""
    for found in file_modes.restrict(settings):
        if found.is_restricted or warn:
            print(f"lightwell: {openness(found)}", file=sys.stderr)


def openness(found: ExposedPath) -> str:
    """What was or is too open, for a person."""
    if found.is_restricted:
        return f"others could read {found.path} (mode {found.mode:04o}); now only this user can"
    owner, place = user_name(found.owner), shlex.quote(str(found.path))
    return (
        f"others may read {found.path} (mode {found.mode:04o}), which {owner} owns and "
        f"lightwell may not change: let {owner} or root run `chmod go= {place}`"
    )


def give_to_me(folder: Path) -> str:
    """The command by which root gives a folder with all that is below to the user who runs this."""
    return f"chown -R {user_name(os.geteuid())} {shlex.quote(str(folder))}"


def user_name(user: int) -> str:
    """The name of a user id; the id where it has none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def make_data_folder(settings: Settings) -> None:
    """Make the data folder if it is missing.

    Raises `StorageError` if that cannot be done, or nothing be made in it.
    """
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryFile(dir=settings.data):
            pass
    except OSError as error:
        raise StorageError(
            f"The data folder {settings.data} cannot be made or written to: {error.strerror}; check --data "
            "and who owns the folder"
        ) from error


@contextmanager
def opened(settings: Settings, *, make: bool = False) -> Iterator[Stores]:
    """The stores, closed at the end. With ``make`` a missing or older database is brought up to date."""
    check_owner(settings)
    if not make and not settings.data.exists():
        raise LightwellError(
            f"There is no data folder {settings.data}: check --data, or import something first"
        )
    close_to_others(settings)
    stores = open_stores(settings)
    try:
        state = schema_state(stores.db)
        if state != "current":
            if not make:
                raise LightwellError(
                    f"The database of {settings.data} is {state}: start `lightwell serve` on it once"
                )
            migrate(stores.db)
        yield stores
    finally:
        stores.close()


@contextmanager
def opened_database(settings: Settings) -> Iterator[Database]:
    """The database alone, closed at the end; it must have the current schema."""
    check_owner(settings)
    close_to_others(settings)
    db = Database(settings.database)
    try:
        if schema_state(db) != "current":
            raise LightwellError(
                f"The database {db.address} is not ready: start `lightwell serve` on it once, or check --data"
            )
        yield db
    finally:
        db.close()


def local_context(settings: Settings, stores: Stores) -> Context:
    """A context whose caller is the account's root: who can open the stores may do everything."""
    caller = Caller(settings.account_id, f"arn:aws:iam::{settings.account_id}:root", "")
    return Context(stores=stores, settings=settings, clock=Clock(), ids=Ids(), caller=caller)
