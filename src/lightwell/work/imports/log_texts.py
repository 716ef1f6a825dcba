"""What the log says of an error of a unit of work: no names of files, which are often those of patients."""

from __future__ import annotations

from lightwell.domain.imports import names_in_logs
from lightwell.domain.imports.units import Token
from lightwell.errors import StorageError
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.db.drivers import sqlite_path
from lightwell.stores.jobs import import_jobs
from lightwell.stores.objects.open import local_root


def for_log(stores: Stores, settings: Settings, token: Token, error: Exception) -> str:
    """The error's text, without paths but those of lightwell's own files. Raises nothing."""
    text = str(error)
    if "s3://" in text:  # else the database is not asked: it may be what is away
        try:
            with stores.db.read() as conn:
                job = import_jobs.get(conn, token.unit.job)
        except StorageError:
            job = None
        text = type(error).__name__ if job is None else names_in_logs.of_job(text, job)
    return names_in_logs.without_paths(text, _own_places(stores, settings))


def _own_places(stores: Stores, settings: Settings) -> list[str]:
    root = local_root(settings.storage)
    places = [stores.spool, stores.documents.root, settings.storage_cache.absolute()]
    places += [] if root is None else [root.absolute()]
    places += [sqlite_path(stores.db.url).absolute()] if stores.db.dialect == "sqlite" else []
    return list(map(str, places))
