"""Drops what this machine has cached of packs that are no more, while the process serves requests."""

from __future__ import annotations

import asyncio
import logging
import time

from lightwell.errors import LightwellError
from lightwell.web.requests.state import AppState

log = logging.getLogger(__name__)

_SHARE = 0.02  # of the time


async def sweep_cache(state: AppState) -> None:
    """Look every ``collect_interval`` seconds, or more rarely where looking takes long. Ends when cancelled.

    The collector of another server, or `lightwell erase` there, knows nothing of this machine's cache.
    """
    if not state.settings.storage.startswith("s3:"):
        return
    taken = 0.0
    while True:
        await asyncio.sleep(max(state.settings.collect_interval, taken / _SHARE))
        begun = time.monotonic()
        try:
            await state.in_thread(state.stores.sweep_cache)
        except LightwellError as error:
            log.warning("the cache of what was read from S3 is swept later: %s", error)
        taken = time.monotonic() - begun
