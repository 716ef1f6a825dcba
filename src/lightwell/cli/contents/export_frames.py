"""Decodes frames for an export in a codec worker of its own, so that it works with the server up or down."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from lightwell.codec_pool.failures import EXCEPTIONS, Cause
from lightwell.codec_pool.messages import Perform, Performed
from lightwell.codec_pool.render_requests import Decode, Decoded, DecodeNested, FrameSpan, Pixels
from lightwell.codec_pool.requests import PoolReply, RequestError
from lightwell.codec_pool.slot import WorkerEnded, WorkerSlot
from lightwell.errors import InputError, StorageError
from lightwell.operations.dicomweb.retrieve import decode_nested
from lightwell.stores.objects.pack_objects import pack_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightwell.domain.image_sets.frame_table import Frame
    from lightwell.imaging.dataset.nested_pixels import NativePixels
    from lightwell.settings import Settings
    from lightwell.stores import Stores
    from lightwell.stores.image_sets.part10_instances import StoredImage, StoredInstance


class FrameDecoder:
    """A worker, started with the first frame or icon that needs one. For one thread, which outlives it."""

    def __init__(self, stores: Stores, settings: Settings) -> None:
        limit = float(settings.file_timeout)
        self._slot = WorkerSlot(settings, stores, lambda task, file: limit, quiet=True)
        self._tasks = itertools.count(1)

    def close(self) -> None:
        self._slot.close()

    def decode(self, stored: StoredImage, place: Frame, crc: int | None) -> tuple[str, bytes]:
        """PhotometricInterpretation and native bytes of one frame; a `documents.part10_files.Decoder`.

        Raises `InputError` where it cannot be decoded, `DamagedError` where it is not the stored one, and
        `StorageError` where no worker can be started.
        """
        span = FrameSpan(pack_name(stored.pack), place.offset, place.length, place.head, place.checksum, crc)
        reply = self._perform(Decode(Pixels(stored.stored_syntax, bytes(stored.image)), [span]))
        assert isinstance(reply, Decoded), "the reply to Decode"
        return reply.photometric, reply.frames[0]

    def decode_nested(self, instance: StoredInstance) -> Mapping[int, NativePixels]:
        """Pixel data within sequences, such as icons; a `documents.part10_files.NestedDecoder`.

        Raises `InputError` and `StorageError` as `decode` does.
        """
        return decode_nested(self._perform, instance)

    def _perform(self, request: Decode | DecodeNested) -> PoolReply:
        task = next(self._tasks)
        try:
            self._slot.start()
            self._slot.watch(task, 0)
            self._slot.send(Perform(task, request))
            while True:
                message = self._slot.receive()
                if isinstance(message, Performed) and message.task == task:
                    break
        except WorkerEnded as end:
            if end.cause is Cause.NOT_STARTED:
                raise StorageError(f"A codec worker cannot be started: {end}") from None
            raise InputError(f"Decoding its pixels ended its codec worker: {end}") from None
        reply = message.reply
        if isinstance(reply, RequestError):
            error = EXCEPTIONS[reply.kind](reply.message)
            raise error if isinstance(error, InputError | StorageError) else InputError(reply.message)
        return reply
