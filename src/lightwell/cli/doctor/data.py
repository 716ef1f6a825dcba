"""The doctor's checks of the stored data: owner, database, jobs, storage, buckets, file modes, secrets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lightwell.cli.doctor.warning import DoctorWarning
from lightwell.cli.store_session import check_owner, chown_command, describe_exposed_file
from lightwell.cli.wording import counted, nobody_works
from lightwell.errors import LightwellError, StorageError
from lightwell.setting_urls import masked_url
from lightwell.settings import Settings
from lightwell.stores.data_folder.file_owner import foreign_files, other_owner, untrusted_path

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.stores.background.servers import AwaitedNode
    from lightwell.stores.data_folder.file_modes import ExposedPath
    from lightwell.stores.keys.data_keys import StoredKey

_MOST_NAMES = 20
_MOST_EXPOSED = 3  # files and folders
_MOST_FOREIGN = 20
_NOT_CREATED = "not created yet; the first start creates it"
_NOT_MIGRATED = "not checked until the database is migrated"
_NOT_ENCRYPTED = "no data store is encrypted"
_UNTIL_STORED = " yet; the next import into one makes its key"


def belongs_to_others(settings: Settings) -> bool:
    """Whether another user owns the data, and the settings do not allow that."""
    if settings.allow_other_user:
        return False
    return other_owner(settings) is not None or untrusted_path(settings) is not None


def owner(settings: Settings) -> str:
    if settings.allow_other_user:
        return "any user may work on the data (allow_other_user)"
    foreign = [] if other_owner(settings) is not None else foreign_files(settings)
    if foreign:
        shown = ", ".join(map(str, foreign[:_MOST_NAMES])) + (" …" if len(foreign) > _MOST_NAMES else "")
        raise LightwellError(
            f"{len(foreign)} files and folders belong to another user, and a server run by you may be unable "
            f"to write to them: {shown}; run `{chown_command(settings.data.absolute())}` as root"
        )
    check_owner(settings)
    return "the data belongs to you" if settings.data.exists() else "there is no data yet"


def database(settings: Settings) -> str:
    from lightwell.stores.db.open import check_direct_url, open_database
    from lightwell.stores.db.schema import schema_state
    from lightwell.stores.page_checksums.state import missing

    if not has_database(settings):
        return _NOT_CREATED
    db = open_database(settings)
    try:
        check_direct_url(settings, db)
        state = schema_state(db)
        if state == "ahead":
            raise LightwellError(
                "the database was migrated by a newer lightwell: install that version or a later one"
            )
        schema = "is current" if state == "current" else "will be migrated at the next start"
        with db.read() as conn:
            reason = missing(conn)
        if reason is not None:
            raise (LightwellError if settings.require_page_checksums else DoctorWarning)(reason)
        return f"{db.address}; its schema {schema}, its pages have checksums"
    finally:
        db.close()


def jobs(settings: Settings) -> str:
    from lightwell.stores.background import servers

    if settings.database.startswith("sqlite:"):
        return "no other servers use this database"
    with migrated(settings) as conn:
        if conn is None:
            return _NOT_MIGRATED
        awaited, workforce = servers.awaited_nodes(conn), servers.workforce(conn)
    if awaited:
        raise LightwellError("; ".join(map(_describe_awaited, awaited)))
    if not workforce.working and workforce.jobs:
        raise LightwellError(nobody_works(workforce.jobs))
    if not workforce.working and workforce.serving_only:
        raise DoctorWarning(
            "servers run, but nobody works on import jobs: start `lightwell worker` somewhere"
        )
    return "no import job is waiting for a server that is down"


def storage(settings: Settings) -> str:
    from lightwell.stores.objects.open import open_objects

    if settings.storage_url is None and not (settings.data / "objects").exists():
        return _NOT_CREATED
    objects = open_objects(
        settings.storage, endpoint_url=settings.storage_endpoint_url, region=settings.region
    )
    try:
        objects.check()
    finally:
        objects.close()
    return f"{settings.storage} is writable"


def encryption(settings: Settings) -> str:
    """Whether what is encrypted can be read, and what is not encrypted although somebody may think so."""
    from lightwell.stores.account import datastores
    from lightwell.stores.db.open import open_database
    from lightwell.stores.db.schema import schema_state
    from lightwell.stores.keys import data_keys
    from lightwell.stores.keys.opening import open_ring

    nothing = _NOT_ENCRYPTED + (_UNTIL_STORED if settings.encryption == "always" else "")
    if not has_database(settings):
        return nothing
    db = open_database(settings)
    try:
        if schema_state(db) != "current":
            return _NOT_MIGRATED
        with db.read() as conn:
            found = datastores.in_vain_with_kms_key(conn)
            count, samples = data_keys.sealed_stores(conn), data_keys.samples(conn)
        missing = list(open_ring(settings, db).not_to_be_had())
    finally:
        db.close()
    _check_keys(missing, counted(count, "data store"))
    if found:
        shown = ", ".join(f"{store.name} ({store.id})" for store in found[:_MOST_NAMES])
        if len(found) > _MOST_NAMES:
            shown += f" and {len(found) - _MOST_NAMES} more"
        raise DoctorWarning(
            "a kmsKeyArn is recorded but does not encrypt anything: keep the data on an encrypted disk or "
            f"bucket; this concerns {shown}"
        )
    if not count:
        return nothing
    keepers = ", ".join(sorted({f"{sample.provider} {sample.keeper}" for sample in samples}))
    return f"{counted(count, 'data store')} encrypted; the keys are there, wrapped under {keepers}"


def _check_keys(missing: Sequence[tuple[StoredKey, StorageError]], stores: str) -> None:
    """Raise what is to be said of keys that are not to be had now; ``stores`` counts those with a key."""
    from lightwell.sealing.providers.interface import KeyProviderAwayError

    refused = {
        key.purpose.datastore: str(error)
        for key, error in missing
        if not isinstance(error, KeyProviderAwayError)
    }
    if refused:
        shown = ", ".join(list(refused)[:_MOST_NAMES])
        if len(refused) > _MOST_NAMES:
            shown += f" and {len(refused) - _MOST_NAMES} more"
        reason = next(iter(refused.values())).removesuffix(".")
        raise LightwellError(f"what is encrypted cannot be read: {reason}; this concerns {shown}")
    if missing:
        raise DoctorWarning(
            f"{stores} encrypted, but whether all keys are there nobody can tell now: "
            f"{str(missing[0][1]).removesuffix('.')}; run this again once it can be asked"
        )


def buckets(settings: Settings) -> str:
    root = settings.buckets
    remote = masked_url(settings.s3_endpoint_url or "AWS")
    try:
        if not root.exists():
            return f"{root.absolute()} does not exist yet; all buckets are looked up on {remote}"
        names = sorted(path.name for path in root.iterdir() if path.is_dir())
    except OSError as error:
        raise LightwellError(f"{root.absolute()}: {error.strerror}; check its owner and mode") from None
    shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return (
        f"{len(names)} in {root.absolute()}{f' ({shown})' if names else ''}; others are looked up on {remote}"
    )


def files(settings: Settings) -> str:
    """Takes away other users' access to lightwell's files, and reports what was accessible."""
    from lightwell.stores.data_folder.file_modes import restrict_all

    if not settings.data.exists():
        return "not created yet"
    found = restrict_all(settings, _report_folders(settings))
    if found:
        raise DoctorWarning(
            "; ".join(
                [
                    *_describe_exposed(found, is_restricted=False),
                    *_describe_exposed(found, is_restricted=True),
                ]
            )
        )
    return "only you can read the data"


def secrets(settings: Settings) -> str:
    """Whether the access keys in the database can be decrypted."""
    from lightwell.auth.administration.reencryption import count
    from lightwell.auth.secret_box import FILE, open_secret_box
    from lightwell.stores.account import principals

    given = settings.read_secret_key()
    has_key = given is not None or (settings.data / FILE).exists()
    secret_box = open_secret_box(given, settings.data) if has_key else None
    with migrated(settings) as conn:
        sample = None if conn is None else principals.holding(conn)
        if conn is None or sample is None:
            return "there are no access keys yet" if has_key else "not created yet"
        secret_box = secret_box or open_secret_box(None, settings.data)
        secret_box.decrypt(sample.secret)
        # With one secret key nobody asks how many sessions lie under which.
        counts = count(conn, secret_box, with_sessions=len(secret_box.names) > 1)
    if foreign := counts.unreadable:
        raise LightwellError(
            f"{len(foreign)} access keys were encrypted under another secret key and are unusable: "
            f"{'; '.join(f'lightwell key revoke {id}' for id in foreign[:_MOST_FOREIGN])}"
        )
    names = secret_box.names
    if len(names) == 1:
        return f"the secret key {names[0]} decrypts the access keys in the database"
    shown = ", ".join(f"{counts.by_key[place]:,} under {name}" for place, name in enumerate(names))
    if counts.old:
        raise DoctorWarning(
            f"there are {len(names)} secret keys, the newest first; of keys and sessions are {shown}: once "
            "all servers have these secret keys in this order, run `lightwell key reencrypt`"
        )
    return (
        f"there are {len(names)} secret keys, the newest first; of keys and sessions are {shown}: all but "
        f"{names[0]} can be left out"
    )


def has_database(settings: Settings) -> bool:
    """Whether there is one that may be opened without making it."""
    return settings.database_url is not None or (settings.data / "lightwell.db").exists()


@contextmanager
def migrated(settings: Settings) -> Iterator[Connection | None]:
    """A connection for reading; None unless the database has the schema of this version."""
    from lightwell.stores.db.open import open_database
    from lightwell.stores.db.schema import schema_state

    db = open_database(settings)
    try:
        if schema_state(db) != "current":
            yield None
        else:
            with db.read() as conn:
                yield conn
    finally:
        db.close()


def _describe_awaited(awaited: AwaitedNode) -> str:
    if awaited.place is None:
        where = f"an unknown server with the node.id {awaited.node}"
    elif awaited.unheard_ms is None:
        return (
            f"{awaited.jobs} import jobs on local buckets wait for somebody who works on the data folder of "
            f"{awaited.place}: run `lightwell worker` there"
        )
    else:
        where = f"the server on {awaited.place}, last heard from {awaited.unheard_ms // 1000} s ago"
    waiting = (
        "1 import job on local buckets is"
        if awaited.jobs == 1
        else f"{awaited.jobs} import jobs on local buckets are"
    )
    return f"{waiting} waiting for {where}: start it to continue"


def _describe_exposed(found: list[ExposedPath], *, is_restricted: bool) -> Iterator[str]:
    """A sentence about each; if there are many, one about the first and a count of the others."""
    sentences = [describe_exposed_file(one) for one in found if one.is_restricted is is_restricted]
    if len(sentences) <= _MOST_EXPOSED:
        yield from sentences
    else:
        yield (f"{sentences[0]}; the same goes for {len(sentences) - 1} others below {found[0].path.parent}")


def _report_folders(settings: Settings) -> list[Path]:
    """The folders of local buckets that lightwell has written job reports to."""
    from lightwell.domain.imports.jobs import split_uri
    from lightwell.stores.jobs import import_jobs

    try:
        with migrated(settings) as conn:
            places = [] if conn is None else [split_uri(uri) for uri in import_jobs.output_uris(conn)]
    except LightwellError:
        return []  # the database check reports it
    return [settings.buckets.absolute() / bucket / folder for bucket, folder in places if folder]
