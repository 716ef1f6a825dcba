"""All frames of a version of an image set, in order, and which of them a client wants first."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from lightwell.documents.identity import identity_of_version
from lightwell.domain.image_sets import frame_order
from lightwell.domain.image_sets.frame_order import BadSelectionError, NoSuchPositionError
from lightwell.domain.image_sets.frame_table import frame_id, parse_frame_id
from lightwell.domain.keys import ImageSetKey, PixelsKey
from lightwell.errors import NotFoundError, StorageError, ValidationError
from lightwell.operations.context import Context
from lightwell.operations.dicomweb import lookup
from lightwell.operations.dicomweb.frames import InstancePixels
from lightwell.operations.get_image_frame import FrameReader
from lightwell.operations.image_sets import find_marked, find_readable
from lightwell.operations.version_ids import readable_version, version_number
from lightwell.stores.frames import in_order
from lightwell.stores.image_sets import records

MIDDLE = "middle"
MOST_IDS = 20_000
MOST_OTHER_IDS = 300
"""Of frames that the version does not have: each is looked up by itself."""
Uncut = Literal["whole", "omit"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a list of frames is sent, and in which order.

    ``level``: None for whole frames. ``frames`` are positions as `frame_order.positions` reads them, ``ids``
    frame ids; at most one of both, else all frames. ``first`` is the position, frame id or SOPInstanceUID of
    the frame that comes first, or `MIDDLE`; its neighbours follow. ``uncut``: what is sent for a frame that
    cannot be cut, if there is a level.
    """

    level: int | None = None
    frames: str | None = None
    ids: Sequence[str] | None = None
    first: int | str | None = None
    uncut: Uncut = "whole"


@dataclass(frozen=True, slots=True)
class ListedFrame:
    """One frame: its number in its instance, from 1, and its position in the list, from 1.

    ``position`` is None for a frame of another version, which only its id can name.
    """

    position: int | None
    pixels: InstancePixels
    sop_instance_uid: str
    number: int

    @property
    def id(self) -> str:
        return frame_id(self.pixels.key, self.number - 1)


@dataclass(frozen=True, slots=True)
class FrameList:
    """The frames of one version. ``instances`` have at least one frame each; ``unsplit`` instances have pixel
    data that could not be split into frames. ``ends`` are the positions of the last frame of each instance.
    """

    image_set: ImageSetKey
    datastore_id: str
    image_set_id: str
    version: int
    mark: int
    instances: tuple[in_order.InstanceFrames, ...]
    ends: tuple[int, ...]
    unsplit: int

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def at(self, position: int) -> ListedFrame:
        """The frame at a position, from 1."""
        index = bisect_right(self.ends, position - 1)
        before = self.ends[index - 1] if index else 0
        return self._listed(position, self.instances[index], position - before)

    def _listed(self, position: int | None, instance: in_order.InstanceFrames, number: int) -> ListedFrame:
        pixels = InstancePixels(self.image_set, instance.pixels, instance.stored_syntax, instance.frame_count)
        return ListedFrame(position, pixels, instance.sop_instance_uid, number)

    def choose(
        self, reader: FrameReader, selection: Selection, *, any_version: bool = False
    ) -> tuple[int, Iterator[ListedFrame]]:
        """How many frames are sent, and these in their order.

        ``any_version``: ids may name frames of other versions of the set, as in GetImageFrame. Raises
        `ValidationError` for a malformed selection, `NotFoundError` for frames that do not exist.
        """
        if selection.ids is not None:
            return self._by_id(reader, selection, any_version)
        try:
            chosen = frame_order.positions(selection.frames, len(self))
        except NoSuchPositionError as error:
            raise NotFoundError(str(error)) from None
        except BadSelectionError as error:
            raise ValidationError(str(error)) from None
        # Documents and waveforms have no frames, and none in the middle.
        if selection.first is None or (selection.first == MIDDLE and len(chosen) == 0):
            return len(chosen), map(self.at, chosen)
        first = chosen.index(self._position(selection.first, len(chosen), chosen))
        if first is None:
            raise ValidationError(
                f"The frame that should come first, {selection.first}, is not among those that are listed."
            )
        return len(chosen), map(self.at, chosen.outwards(first))

    def _position(self, first: int | str, count: int, chosen: frame_order.Positions) -> int:
        if first == MIDDLE:
            return chosen[count // 2]
        if isinstance(first, str) and first.isascii() and first.isdigit() and len(first) < 10:
            first = int(first)
        if isinstance(first, int):
            if not 0 < first <= len(self):
                raise NotFoundError(f"There are {len(self)} frames; there is no frame {first} to come first.")
            return first
        parsed = parse_frame_id(first)
        for each, end in zip(self.instances, self.ends, strict=True):
            if each.sop_instance_uid == first:
                return end - each.frame_count + 1
            if parsed is not None and parsed[0] == each.pixels and parsed[1] < each.frame_count:
                return end - each.frame_count + 1 + parsed[1]
        raise NotFoundError(
            f"There is no frame {first[:80]!r} to come first: name a position from 1, {MIDDLE!r}, a frame id "
            "or a SOPInstanceUID."
        )

    def _by_id(
        self, reader: FrameReader, selection: Selection, any_version: bool
    ) -> tuple[int, Iterator[ListedFrame]]:
        ids = selection.ids or ()
        if selection.frames is not None or selection.first is not None:
            raise ValidationError("With imageFrameIds, neither frames nor first may be given.")
        if len(ids) > MOST_IDS:
            raise ValidationError(f"There are {len(ids)} imageFrameIds; at most {MOST_IDS} may be given.")
        if len(set(ids)) < len(ids):
            raise ValidationError("A frame id is given more than once: give each once.")
        places = {each.pixels: index for index, each in enumerate(self.instances)}
        listed, others = [], 0
        for id in ids:
            listed.append(self._named(reader, id, places, any_version))
            others += listed[-1].position is None
            if others > MOST_OTHER_IDS:
                raise ValidationError(
                    f"More than {MOST_OTHER_IDS} imageFrameIds are of frames that version {self.version} "
                    "does not have: ask for those of each version together, by versionId."
                )
        return len(listed), iter(listed)

    def _named(
        self, reader: FrameReader, id: str, places: dict[PixelsKey, int], any_version: bool
    ) -> ListedFrame:
        parsed = parse_frame_id(id)
        if parsed is not None:
            index = places.get(PixelsKey(parsed[0]))
            if index is not None and parsed[1] < self.instances[index].frame_count:
                instance = self.instances[index]
                number = parsed[1] + 1
                return self._listed(self.ends[index] - instance.frame_count + number, instance, number)
        if not any_version or parsed is None:
            raise NotFoundError(
                f"Version {self.version} of image set {self.image_set_id} has no frame {id[:64]}; its "
                "metadata lists its frames."
            )
        page = reader.locate(self.datastore_id, self.image_set_id, id).page
        with reader.stores.db.read() as conn:
            uid = records.sop_instance_uid(conn, parsed[0]) or ""
        pixels = InstancePixels(self.image_set, PixelsKey(parsed[0]), page.stored_syntax, page.frame_count)
        return ListedFrame(None, pixels, uid, parsed[1] + 1)


def of_image_set(
    ctx: Context, datastore_id: str, image_set_id: str, version_id: str | None = None
) -> FrameList:
    """The frames of a version of an image set, by default of the latest one with content.

    Raises `ValidationError` for malformed ids, `NotFoundError` where the set does not exist, is deleted, or
    has no such version.
    """
    lookup.check_ids(datastore_id, image_set_id)
    wanted = None if version_id is None else version_number(version_id)
    found, mark = find_marked(ctx, datastore_id, image_set_id, wanted)
    version = readable_version(version_id, found)
    return _read(ctx, found.key, datastore_id, image_set_id, (version, mark))


def of_series(
    ctx: Context, datastore_id: str, study: str, series: str, image_set_id: str | None = None
) -> FrameList:
    """The frames of the primary image set of a series, or of the one with this id.

    Raises `ValidationError` for malformed ids, `NotFoundError` where it does not exist.
    """
    with ctx.stores.db.read() as conn:
        found = lookup.series_set(conn, datastore_id, study, series, image_set_id)
    return _read(ctx, found.key, datastore_id, found.id, (found.version, found.mark))


def _read(
    ctx: Context, key: ImageSetKey, datastore_id: str, image_set_id: str, version: tuple[int, int]
) -> FrameList:
    try:
        with ctx.stores.db.read() as conn:
            found = in_order.instances(conn, key, version[0])
            ctx.note.saw(*identity_of_version(conn, key, version[0]))
    except StorageError:
        find_readable(ctx, datastore_id, image_set_id)  # deleted meanwhile: some rows may be gone
        raise
    ctx.note.version = version[0]
    with_frames = tuple(each for each in found if each.frame_count)
    ends = tuple(accumulate(each.frame_count for each in with_frames))
    ctx.stores.accesses.note(key, ctx.clock.now())
    return FrameList(
        key, datastore_id, image_set_id, *version, with_frames, ends, len(found) - len(with_frames)
    )
