"""The stored bytes of frames, for the event loop: at once, or from threads of the storage or our own."""

from __future__ import annotations

import asyncio

from lightwell.errors import StorageError
from lightwell.operations.get_image_frame import FrameLocation
from lightwell.web.requests.state import AppState


async def read_frame(state: AppState, place: FrameLocation, start: int, length: int) -> bytes | memoryview:
    """Exactly ``length`` bytes of a frame from byte ``start`` on. Raises what `FrameReader.read` raises."""
    if not start and length == place.length:
        data = state.frames.read_warm(place)
        if data is not None:
            return data
    return await read_cold_frame(state, place, start, length)


async def read_cold_frame(state: AppState, place: FrameLocation, start: int, length: int) -> bytes:
    """`read_frame` where `FrameReader.read_warm` has found nothing."""
    reader = state.frames
    fetching = reader.fetch(place, start, length)
    if fetching is not None:
        if reader.is_walked(place):
            asyncio.get_running_loop().run_in_executor(state.threads, reader.follow, place.image_set)
        try:
            data = await fetching
        except StorageError as error:
            raise await state.in_thread(reader.error_for, place, error) from error
        if data is not None:
            return data
    return await state.in_thread(reader.read, place, start, length)
