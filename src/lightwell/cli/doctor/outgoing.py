"""The doctor's check of what the server connects to: endpoints of S3, and authorizers."""

from __future__ import annotations

from collections.abc import Iterator

from lightwell.cli.doctor.data import has_database, migrated
from lightwell.cli.doctor.warning import DoctorWarning
from lightwell.cli.server.authorizer_targets import forbidden_targets
from lightwell.setting_urls import is_loopback, masked_url
from lightwell.settings import Settings


def outgoing(settings: Settings) -> str:
    """Whether it is where it may be, and called so that nobody in between reads along."""
    found = [
        f"{name} is {masked_url(url)}: whoever is in between reads and changes what is sent"
        for name in ("s3_endpoint_url", "storage_endpoint_url")
        if (url := getattr(settings, name)) and url.startswith("http://") and not is_loopback(url)
    ]
    found += _forbidden_targets(settings)
    if found:
        raise DoctorWarning("; ".join(found))
    return "endpoints are called by TLS or on this machine, and authorizers are where they may be"


def _forbidden_targets(settings: Settings) -> Iterator[str]:
    from lightwell.stores.account import authorizers

    if not has_database(settings):
        return
    with migrated(settings) as conn:
        rows = [] if conn is None else authorizers.page(conn)
    for row, reason in forbidden_targets(settings, rows):
        yield f"{row.arn}: {reason}"
