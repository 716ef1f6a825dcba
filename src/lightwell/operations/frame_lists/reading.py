"""The bytes of many frames, one after the other, in bounded memory. What reads here waits for the storage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from lightwell.errors import ApiError, InternalError
from lightwell.operations.dicomweb.frames import InstanceFrames
from lightwell.operations.frame_lists.cuts import EOC, Cut, cut
from lightwell.operations.frame_lists.frame_list import ListedFrame, Uncut
from lightwell.operations.get_image_frame import LARGE, PIECE, FrameLocation

_BATCH = 256


@dataclass(frozen=True, slots=True)
class SentFrame:
    """One frame and its bytes, ``cut.length`` of them in all.

    ``cut`` is None where the frame is left out, since it cannot be cut or, with an ``error``, be read.
    """

    frame: ListedFrame
    cut: Cut | None
    pieces: Iterator[bytes]
    error: ApiError | None = None


def sent_frames(
    frames: InstanceFrames, listed: Iterator[ListedFrame], level: int | None, uncut: Uncut = "whole"
) -> Iterator[SentFrame]:
    """The frames in their order, each cut after a resolution level, or whole without one.

    All pieces of a frame have to be taken before the next frame. Bytes that are lost or not the stored ones
    concern one frame, which says so. Raises `NotFoundError` where the set was deleted meanwhile,
    `UnavailableError` where the storage is away, `InternalError` where the later pieces of a long frame are
    lost.
    """
    while batch := list(islice(listed, _BATCH)):
        frames.reader.keep_pages(sorted({each.pixels.key for each in batch if each.number <= _BATCH}))
        for each in batch:
            yield _sent(frames, each, level, uncut)


def _sent(frames: InstanceFrames, listed: ListedFrame, level: int | None, uncut: Uncut) -> SentFrame:
    try:
        place = frames.frame(listed.pixels, listed.number).place
        wanted = cut(place, level)
        if level is not None and uncut == "omit" and not wanted.can_be_cut:
            return SentFrame(listed, None, iter(()))
        whole = wanted.stored <= LARGE
        first = frames.reader.read(place, 0, wanted.stored if whole else PIECE)
    except InternalError as error:
        return SentFrame(listed, None, iter(()), error)
    pieces = iter((first, EOC) if wanted.level is not None else (first,))
    return SentFrame(listed, wanted, pieces if whole else _long(frames, place, wanted, first))


def _long(frames: InstanceFrames, place: FrameLocation, wanted: Cut, piece: bytes) -> Iterator[bytes]:
    sent = 0
    while True:
        yield piece
        sent += len(piece)
        if sent == wanted.stored:
            break
        piece = frames.reader.read(place, sent, min(PIECE, wanted.stored - sent))
    if wanted.level is not None:
        yield EOC
