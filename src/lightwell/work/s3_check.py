"""Says soon after the start of a server what of S3 does not work; jobs would only wait for it."""

from __future__ import annotations

import logging
import threading

from lightwell.settings import Settings
from lightwell.stores.objects import s3_access

log = logging.getLogger(__name__)

# Whether it exists does not matter: S3 answers who asks for it, and whether it knows him.
_ANY_BUCKET = "lightwell-imports"


def begin(settings: Settings) -> None:
    """Look in a thread of its own, which does not keep the process; only if settings name S3."""
    threading.Thread(target=report, args=(settings,), name="s3-check", daemon=True).start()


def report(settings: Settings) -> None:
    """Log what does not work."""
    storage = s3_access.look_at_storage(
        settings.storage, endpoint_url=settings.storage_endpoint_url, region=settings.region
    )
    if storage is not None:
        log.error("%s: frames cannot be stored or read until that is mended", storage.text)
    if settings.s3_endpoint_url is None:
        return
    buckets = s3_access.look(_ANY_BUCKET, "", endpoint_url=settings.s3_endpoint_url, region=settings.region)
    if buckets is not None and buckets.kind != "bucket":
        log.error("%s: import jobs cannot use its buckets until that is mended", buckets.text)
