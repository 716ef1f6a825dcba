"""Places that are backed up, what is in them, and places that a backup is restored to."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightwell
from lightwell.clock import Ids
from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.stores.background.installation import agree_on_storage
from lightwell.stores.backup.runs import Backups
from lightwell.stores.backup.targets import target
from lightwell.stores.db.database import Database
from lightwell.stores.keys import opening
from lightwell.stores.keys.providers import FILE
from lightwell.stores.moving import rows
from lightwell.stores.objects.interface import Objects
from lightwell.stores.objects.open import open_objects
from lightwell.stores.objects.sealed import SealedObjects
from lightwell.work.backup.backup import Backup, BackupOptions, BackupReport
from lightwell.work.backup.restore import Restore, RestoreOptions, RestoreReport
from tests.encryption import everywhere
from tests.support import services
from tests.support.imports import Importing, importing


def nothing_shown(name: str, done: int, total: int | None) -> None:
    """For who looks at no bars."""


@dataclass(frozen=True)
class Kind:
    """Where storages and backups are: folders of ``folder``, or prefixes of a bucket of their own."""

    folder: Path
    s3: services.S3 | None
    bucket: str = ""

    def url(self, name: str) -> str:
        return f"s3://{self.bucket}/{name}" if self.s3 else (self.folder / name).as_uri()

    @property
    def endpoint(self) -> str | None:
        return self.s3.url if self.s3 else None

    def objects(self, name: str) -> Objects:
        return open_objects(self.url(name), endpoint_url=self.endpoint)

    def settings(self, name: str, database_url: str) -> Settings:
        return Settings(
            data=self.folder / name,
            database_url=database_url,
            storage_url=self.url(f"{name}-objects"),
            storage_endpoint_url=self.endpoint,
            **self.encryption,
        )

    @property
    def encryption(self) -> dict[str, Any]:
        """What is in S3 is encrypted, what is in folders is not."""
        return {"encryption": "always", "encryption_key_file": everywhere.KEY_FILE} if self.s3 else {}

    def importing(self, database_url: str, **more: Any) -> Importing:
        """A place with an engine, which is one of its storage."""
        made = importing(
            self.folder / "data",
            database_url,
            storage_url=self.url("data-objects"),
            storage_endpoint_url=self.endpoint,
            **self.encryption,
            **more,
        )
        agree_on_storage(made.stores.db, made.stores.objects, Ids().id())
        return made


def back_up(stores: Stores, destination: Objects, **options: Any) -> BackupReport:
    made = BackupOptions(version=lightwell.__version__, **options)
    return Backup(stores, Backups(destination), made, Ids(), nothing_shown).run()


def restore(source: Objects, settings: Settings, **options: Any) -> RestoreReport:
    stores = open_stores(settings)
    try:
        database = target(settings.database, None, stores.spool)
        told = RestoreOptions(opened=lambda db, objects: _opened(settings, db, objects), **options)
        return Restore(Backups(source), database, stores.objects.inner, told, Ids(), nothing_shown).run()
    finally:
        stores.close()


def _opened(settings: Settings, db: Database, objects: Objects) -> Objects:
    return SealedObjects(objects, opening.open_ring(settings, db))


def new_place(settings: Settings, old: Path) -> Settings:
    """The empty data folder of these settings, with the key of that at ``old``: no backup holds it here."""
    settings.data.mkdir(parents=True)
    if (old / FILE).exists():
        shutil.copy(old / FILE, settings.data / FILE)
    return settings


@contextmanager
def opened(settings: Settings) -> Iterator[Stores]:
    stores = open_stores(replace(settings, codec_workers=1))
    try:
        yield stores
    finally:
        stores.close()


def contents(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables that say anything of what is stored."""
    found = {}
    for table in rows.tables():
        with db.read() as conn:
            found[table.name] = rows.between(conn, table, None, None)
    return found


def packs(objects: Objects) -> dict[str, str]:
    """The SHA-256 of each pack."""
    return {name: hashlib.sha256(objects.get(name) or b"").hexdigest() for name, _ in objects.list("packs")}
