"""Requests that clients wait for, as a codec worker carries them out: a function for each kind."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from lightwell.codec_pool.failures import DIRECT, Cause, cause_of, reason_of
from lightwell.codec_pool.render_requests import Decode, DecodeNested, Render
from lightwell.codec_pool.render_worker import decoded, nested_decoded, view
from lightwell.codec_pool.requests import DirectRequest, ListInstances, Ping, Pong, PoolReply
from lightwell.codec_pool.uploaded_metadata import list_instances
from lightwell.imaging.dataset.byte_source import FileSource
from lightwell.settings import Settings
from lightwell.stores.data_folder.sealed_files import FileKey
from lightwell.stores.objects.interface import PackObjects

log = logging.getLogger(__name__)

Opener = Callable[[str, FileKey | None], FileSource]
"""Opens a file that was uploaded, by what opens it if it is sealed, for the caller to close.

Raises `StorageError`.
"""

Handler = Callable[[PackObjects, Opener, Any], PoolReply]


def _ping(objects: PackObjects, upload: Opener, request: Ping) -> PoolReply:
    time.sleep(request.seconds)
    return Pong(os.getpid())


def _render(objects: PackObjects, upload: Opener, request: Render) -> PoolReply:
    return view(objects.read, request)


def _decode(objects: PackObjects, upload: Opener, request: Decode) -> PoolReply:
    return decoded(objects.read, request)


def _decode_nested(objects: PackObjects, upload: Opener, request: DecodeNested) -> PoolReply:
    return nested_decoded(objects.read, request)


def _list_instances(objects: PackObjects, upload: Opener, request: ListInstances) -> PoolReply:
    return list_instances(upload(request.path, request.key), request)


HANDLERS: dict[type, Handler] = {
    Ping: _ping,
    Render: _render,
    Decode: _decode,
    DecodeNested: _decode_nested,
    ListInstances: _list_instances,
}
"""By the type of the request. A worker has no database: a request brings all that is needed from there."""


class RequestHandler:
    """Carries requests out, one after the other, and replies whatever happens, short of its own end."""

    def __init__(self, objects: PackObjects, settings: Settings, upload: Opener) -> None:
        self._objects = objects
        self._upload = upload
        self._settings = settings

    def perform(self, request: DirectRequest) -> PoolReply:
        try:
            return HANDLERS[type(request)](self._objects, self._upload, request)
        except Exception as error:
            cause = cause_of(error)
            if cause is Cause.FAULT:
                log.exception("a request failed")
            return DIRECT[cause].error(reason_of(error, self._settings.worker_memory))
