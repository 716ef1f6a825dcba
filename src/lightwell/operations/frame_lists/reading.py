"""The bytes of many frames, one after the other, in bounded memory. What reads here waits for the storage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from lightwell.domain.image_sets.frame_table import PAGE
from lightwell.errors import ApiError, InternalError, NotFoundError
from lightwell.operations.dicomweb.frames import InstanceFrames
from lightwell.operations.frame_lists.cuts import EOC, Cut, cut
from lightwell.operations.frame_lists.frame_list import ListedFrame, Uncut
from lightwell.operations.get_image_frame import LARGE, PIECE, FrameLocation

_AHEAD = 32


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
    is_followed = False
    while batch := list(islice(listed, PAGE)):
        if not is_followed and len(batch) > 1:
            frames.reader.follow(batch[0].pixels.image_set)
            is_followed = True
        frames.reader.keep_pages(sorted({each.pixels.key for each in batch if each.number <= PAGE}))
        for start in range(0, len(batch), _AHEAD):
            planned = [_planned(frames, each, level) for each in batch[start : start + _AHEAD]]
            frames.reader.expect_cuts(
                [
                    (each.place, each.cut.check)
                    for each in planned
                    if isinstance(each, _Planned) and each.cut.check is not None
                ]
            )
            for each, plan in zip(batch[start : start + _AHEAD], planned, strict=True):
                if isinstance(plan, InternalError):
                    yield SentFrame(each, None, iter(()), plan)
                elif level is not None and uncut == "omit" and not plan.cut.can_be_cut:
                    yield SentFrame(each, None, iter(()))
                else:
                    yield _sent(frames, each, plan)


@dataclass(frozen=True, slots=True)
class _Planned:
    place: FrameLocation
    cut: Cut


def _planned(frames: InstanceFrames, listed: ListedFrame, level: int | None) -> _Planned | InternalError:
    try:
        place = frames.frame(listed.pixels, listed.number).place
        return _Planned(place, cut(place, level))
    except NotFoundError as error:
        frames.reader.check_active(listed.pixels.image_set)
        # It is in the list, so what is lost is its row of the frame table.
        return InternalError(f"{error.message} Run `lightwell data verify`.")


def _sent(frames: InstanceFrames, listed: ListedFrame, plan: _Planned) -> SentFrame:
    place, wanted = plan.place, plan.cut
    is_whole = wanted.stored <= LARGE
    try:
        first = frames.reader.read(place, 0, wanted.stored if is_whole else PIECE)
    except InternalError as error:
        return SentFrame(listed, None, iter(()), error)
    if not is_whole:
        return SentFrame(listed, wanted, _long(frames, place, wanted, first))
    return SentFrame(listed, wanted, iter((first, EOC) if wanted.level is not None else (first,)))


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
