"""Direct orders, as a codec worker carries them out: a function a kind, in `PERFORMED`."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from lightwell.codec_pool.render_requests import Decode, Render
from lightwell.codec_pool.render_worker import decoded, view
from lightwell.codec_pool.requests import Ping, Pong, PoolReply, RequestError
from lightwell.errors import InputError, StorageError, StorageUnavailableError
from lightwell.settings import Settings
from lightwell.stores import Files

log = logging.getLogger(__name__)

Perform = Callable[[Files, Settings, Any], PoolReply]


def _ping(files: Files, settings: Settings, order: Ping) -> PoolReply:
    time.sleep(order.seconds)
    return Pong(os.getpid())


def _render(files: Files, settings: Settings, order: Render) -> PoolReply:
    return view(files.objects.read, order)


def _decode(files: Files, settings: Settings, order: Decode) -> PoolReply:
    return decoded(files.objects.read, order)


PERFORMED: dict[type, Perform] = {Ping: _ping, Render: _render, Decode: _decode}
"""By the type of the order. A worker has no database: an order says all that it needs from there."""


class RequestHandler:
    """Carries orders out, one after the other, and answers whatever happens short of its own end."""

    def __init__(self, files: Files, settings: Settings) -> None:
        self._files = files
        self._settings = settings

    def perform(self, order: Any) -> PoolReply:
        try:
            return PERFORMED[type(order)](self._files, self._settings, order)
        except InputError as error:
            return RequestError("input", str(error))
        except StorageUnavailableError as error:
            return RequestError("storage", str(error))
        except StorageError as error:
            # Lost, or not what was stored: asking again does not help.
            return RequestError("damaged", str(error))
        except MemoryError:
            return RequestError(
                "memory",
                "This takes more memory than a codec worker may use, "
                f"{self._settings.worker_memory} bytes: raise LIGHTWELL_WORKER_MEMORY.",
            )
        except Exception as error:
            log.exception("a direct order failed")
            return RequestError("fault", f"A fault in lightwell ({type(error).__name__}): please report it.")
