"""Where backups are: a folder, or an S3 prefix, as it is named on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lightwell.errors import ConfigurationError
from lightwell.setting_urls import endpoint_fault, storage_fault

if TYPE_CHECKING:
    from lightwell.settings import Settings
    from lightwell.stores.objects.interface import Objects


def from_future(ids: list[str]) -> str:
    """A sentence about runs that say that they were made later than now."""
    return (
        f"{', '.join(ids[:3])}{', …' if len(ids) > 3 else ''} say that they were made later than now: a "
        "clock was ahead then, or is behind now; set it right. Runs with a number behind the time count by "
        "that; where all are of an older version, name the one to restore with --run"
    )


def open_place(name: str, endpoint: str | None, settings: Settings) -> Objects:
    """Raises `ConfigurationError` if it cannot be the name of one, or is the storage of these settings."""
    from lightwell.stores.objects.open import open_objects

    url = name if "://" in name else Path(name).absolute().as_uri()
    if fault := storage_fault(url):
        raise ConfigurationError(f"{name} {fault}, or a folder")
    if endpoint is not None and (fault := endpoint_fault(endpoint)):
        raise ConfigurationError(f"--endpoint-url {fault}")
    objects = open_objects(url, endpoint_url=endpoint, region=settings.region)
    if (url, endpoint) == (settings.storage, settings.storage_endpoint_url):
        raise ConfigurationError(f"{name} is the storage itself: give another place")
    return objects
