"""GetImageFrame without its HTTP part: which frame of a set an id names, and its bytes.

Every request checks that the set exists, is not deleted, and has the pixels in one of its versions; so
nothing of a deleted set is served, whatever is cached. The location of a frame never changes, and is cached
by pixels key.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cachetools import LRUCache, TTLCache

from lightwell.clock import Clock
from lightwell.domain.image_sets.frame_checks import (
    BLOCK,
    Prefix,
    blocks_at,
    checksum_at,
    levels_at,
)
from lightwell.domain.image_sets.frame_table import (
    PAGE,
    entry_lengths,
    frame_id,
    parse_frame_id,
    read_place,
)
from lightwell.domain.keys import ImageSetKey, PixelsKey
from lightwell.errors import (
    ApiError,
    DamagedError,
    InternalError,
    NotFoundError,
    StorageError,
    StorageUnavailableError,
    UnavailableError,
)
from lightwell.imaging.dataset.transfer_syntaxes import content_type
from lightwell.stores.account import datastores
from lightwell.stores.collector import removal
from lightwell.stores.db.errors import misplaced
from lightwell.stores.frames import in_order
from lightwell.stores.image_sets import lookups, native_instances, records
from lightwell.stores.objects import checked_reads, packs
from lightwell.stores.objects.checked_reads import CheckedRange, CheckedSpan
from lightwell.stores.objects.pack_objects import pack_name

if TYPE_CHECKING:
    from lightwell.stores import Stores

PIECE = 1 << 20
"""Bytes read and sent at a time of a frame longer than `LARGE`, such as a video."""
LARGE = 4 << 20

_LARGEST_KEY = (1 << 63) - 1
MOST_PLACES = 8192
"""How many places of frames are remembered. With its page, each takes a kilobyte."""
_FOLLOWED = 256, 60.0  # sets, seconds
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FramePage:
    """At most `domain.image_sets.frame_table.PAGE` frames of some pixels: their object and their entries.

    ``checks`` as `domain.image_sets.frame_checks` has them, None where there are none yet. ``of_samples``:
    the checksums in the entries are not of the stored bytes. ``datastore`` is the key of the data store that
    has the pixels.
    """

    object: str
    content_type: str
    frame_count: int
    entries: bytes
    stored_syntax: str = ""
    checks: bytes | None = None
    of_samples: bool = True
    width: int = 0
    height: int = 0
    datastore: int = 0

    def checksum(self, index: int, own: int) -> int | None:
        """CRC-32 of the stored bytes of a frame, None while there is none; ``own`` is that of its entry."""
        checks = self.checks
        if checks is not None:
            return checksum_at(checks, index)
        return None if self.of_samples else own


class FrameLocation(NamedTuple):
    """Where one frame is stored. ``image_set`` is the key of the set through which it was requested.

    ``offset`` and ``length`` are of what is given to clients; ``head`` bytes before it belong to the stored
    frame, too. ``checksum`` is the CRC-32 of all its stored bytes, None while there is none. ``page`` and
    ``entry`` say where its checks are, ``pixels`` and ``first`` are the key of that page.
    """

    image_set: ImageSetKey
    object: str
    offset: int
    length: int
    content_type: str
    head: int
    checksum: int | None
    page: FramePage
    entry: int
    pixels: int
    first: int

    def levels(self) -> tuple[Prefix, ...]:
        """The resolution levels after which the stored frame can be cut, see `FrameReader.read`.

        Their lengths count from the beginning of the stored frame, ``head`` included.
        """
        checks = self.page.checks
        return levels_at(checks, self.entry) if checks is not None and self.checksum is not None else ()

    def span(self) -> CheckedSpan:
        """For reading parts of the frame."""
        checks = self.page.checks
        blocks: tuple[int, ...] = ()
        whole = self.head + self.length
        if checks is not None and self.checksum is not None and whole > BLOCK:
            blocks = blocks_at(checks, entry_lengths(self.page.entries), self.entry)
        return CheckedSpan(self.object, self.offset - self.head, whole, self.checksum, self.levels(), blocks)


class FramePages:
    """Pages in memory, bounded in bytes; the least recently used goes first. Safe to use from threads."""

    def __init__(self, limit: int = 16 << 20) -> None:
        self._lock = threading.Lock()
        self._pages: LRUCache[tuple[int, int], FramePage] = LRUCache(limit, getsizeof=_cost)

    def get(self, pixels: int, first: int) -> FramePage | None:
        with self._lock:
            return self._pages.get((pixels, first))

    def put(self, pixels: int, first: int, page: FramePage) -> None:
        with self._lock:
            self._pages[pixels, first] = page


def check_store(image_set: ImageSetKey, page: FramePage, datastore: int) -> None:
    """Raise `DamagedError` where an image set of this data store names pixels of another one."""
    if page.datastore != datastore:
        raise misplaced(image_set, "pixels of another data store")


def _cost(page: FramePage) -> int:
    # The page itself, its key and name, and what the dictionary takes.
    return len(page.entries) + len(page.checks or b"") + 500


async def _part(wanted: CheckedRange, fetching: Awaitable[bytes]) -> bytes | None:
    try:
        return wanted.part(await fetching)
    except DamagedError:
        return None


def _place(image_set: ImageSetKey, page: FramePage, pixels: int, number: int) -> FrameLocation | None:
    index = number % PAGE
    # Pixels that could not be split into frames have one entry for all their bytes, but no frame.
    entry = None if number >= page.frame_count else read_place(page.entries, index)
    if entry is None:
        return None
    offset, length, _, own = entry
    checksum = page.checksum(index, own)
    key = pixels, number - index
    return FrameLocation(
        image_set, page.object, offset, length, page.content_type, 0, checksum, page, index, *key
    )


class FrameReader:
    """Reads frames; one per process."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self.stores = stores
        self._clock = clock
        self._pages = FramePages()
        # By the ids of frames, for the set through which each was requested last.
        self._places: dict[str, FrameLocation] = {}
        # How many frames of a set were not cached lately.
        self._cold: TTLCache[ImageSetKey, int] = TTLCache(*_FOLLOWED)
        self.may_wait = stores.db.dialect != "sqlite"
        """Whether look-ups go over a network, so that they must not be made on an event loop."""

    def locate(self, datastore_id: str, image_set_id: str, wanted: str) -> FrameLocation:
        """`find` for those who need not know whom the frame is of."""
        return self.find(datastore_id, image_set_id, wanted)[0]

    def find(
        self, datastore_id: str, image_set_id: str, wanted: str
    ) -> tuple[FrameLocation, lookups.IdentityRow]:
        """Where the frame is stored, and whom the set is about: that is never remembered, since copies of a
        set have the same frames.

        Raises `NotFoundError` where the set does not have the frame, saying what does not exist.
        """
        known = self._places.get(wanted)
        if known is not None:
            pixels = known.pixels
            row = self.stores.db.look_up(
                lookups.FRAME_LOOK_UP, (image_set_id, datastore_id, pixels, pixels, pixels)
            )
            if row is not None:
                check_store(row[0], known.page, row[4])
                return known if known.image_set == row[0] else known._replace(image_set=row[0]), row[:4]
            raise self._missing(datastore_id, image_set_id, wanted)
        parsed = parse_frame_id(wanted)
        if parsed is None or parsed[0] > _LARGEST_KEY:
            raise self._missing(datastore_id, image_set_id, wanted)
        pixels, number = parsed
        look_up = self.stores.db.look_up
        row = look_up(lookups.FRAME_LOOK_UP, (image_set_id, datastore_id, pixels, pixels, pixels))
        page = None if row is None else self.page(pixels, number - number % PAGE)
        place = None if row is None or page is None else _place(row[0], page, pixels, number)
        if place is None or row is None:
            raise self._missing(datastore_id, image_set_id, wanted)
        check_store(row[0], place.page, row[4])
        if place.checksum is not None:  # else one may be filled in, and is read with the page
            if len(self._places) >= MOST_PLACES:
                self._places.clear()
            self._places[wanted] = place
        return place, row[:4]

    async def find_here(
        self, datastore_id: str, image_set_id: str, wanted: str
    ) -> tuple[FrameLocation, lookups.IdentityRow] | None:
        """`find` on an event loop, where look-ups go over a network; None where `find` raises, in a
        thread."""
        parsed = parse_frame_id(wanted)
        if parsed is None or parsed[0] > _LARGEST_KEY:
            return None
        pixels, number = parsed
        look_up = self.stores.db.look_up_here
        row = await look_up(lookups.FRAME_LOOK_UP, (image_set_id, datastore_id, pixels, pixels, pixels))
        page = None if row is None else await self.page_here(pixels, number - number % PAGE)
        place = None if row is None or page is None else _place(row[0], page, pixels, number)
        if row is None or place is None or place.page.datastore != row[4]:
            return None
        return place, row[:4]

    def read_warm(self, place: FrameLocation) -> bytes | memoryview | None:
        """The whole frame if it can be read without waiting for a disk or a network, else None.

        None, too, where its bytes are not the stored ones, of which `read` then tells.
        """
        _, key, offset, length, _, head, checksum, *_ = place
        try:
            data = checked_reads.read_warm(self.stores.objects, key, offset - head, length + head, checksum)
        except StorageError as error:
            raise self.error_for(place, error) from error
        return memoryview(data)[head:] if head and data is not None else data

    def read_warm_cut(self, place: FrameLocation, level: Prefix) -> memoryview | None:
        """`read_warm` of what of the frame stands before the end of one of its `FrameLocation.levels`."""
        start = place.offset - place.head
        try:
            data = checked_reads.read_warm(
                self.stores.objects, place.object, start, level.length, level.checksum
            )
        except StorageError as error:
            raise self.error_for(place, error) from error
        return None if data is None else memoryview(data)[place.head :]

    def read(self, place: FrameLocation, start: int, length: int) -> bytes:
        """Exactly ``length`` bytes of the frame, from byte ``start`` on; a truncated frame is never returned.

        They are compared with the checksum of the whole frame, of the resolution level that ends there, or of
        the blocks in which they lie (`stores.objects.checked_reads`). Raises `InternalError` where the bytes
        are missing or not the stored ones, `NotFoundError` where the set was deleted after `locate`.
        """
        try:
            data = checked_reads.read_part(self.stores.objects, place.span(), place.head + start, length)
        except StorageError as error:
            raise self.error_for(place, error) from error
        if len(data) != length:
            raise self.error_for(
                place,
                DamagedError(f"{place.object} is shorter than its frames; run `lightwell data verify`."),
            )
        return data

    def fetch(self, place: FrameLocation, start: int, length: int) -> Awaitable[bytes | None] | None:
        """As `read`, for an event loop; None where the caller has to `read` in a thread.

        What is awaited is None, too, where the bytes are not the stored ones: `read` then says so, or finds
        better ones. Raises `StorageError`, of which `error_for` makes what `read` raises.
        """
        wanted = checked_reads.range_of(place.span(), place.head + start, length)
        if wanted is None:
            return None
        fetching = self.stores.objects.fetch(place.object, wanted.offset, wanted.length)
        return None if fetching is None else _part(wanted, fetching)

    def is_walked(self, place: FrameLocation) -> bool:
        """Whether the second frame of a set was just fetched, after which `follow` is to be called once."""
        count = self._cold.get(place.image_set, 0) + 1
        if count <= 2:
            self._cold[place.image_set] = count
        return count == 2

    def follow(self, image_set: ImageSetKey) -> None:
        """Tell the storage in which order the frames of a set are likely to be read. Never raises for a
        storage or database that is away."""
        with suppress(StorageError):
            with self.stores.db.read() as conn:
                objects = packs.in_order(conn, image_set)
            self.stores.objects.follow(objects)

    def expect_cuts(self, cuts: Sequence[tuple[FrameLocation, Prefix]]) -> None:
        """Tell the storage which frames are read next, up to the end of which resolution level."""
        self.stores.objects.expect(
            [(place.object, place.offset - place.head, level.length) for place, level in cuts]
        )

    def note_access(self, place: FrameLocation) -> None:
        """Note that the set's content was read."""
        self.note_access_to(place.image_set)

    def note_access_to(self, image_set: ImageSetKey) -> None:
        """Note that the content of the set with this key was read."""
        self.stores.accesses.note(image_set, self._clock.now())

    def page(self, pixels: int, first: int) -> FramePage | None:
        """The page of some pixels that begins with frame ``first``, from 0; None where it does not exist."""
        page = self._pages.get(pixels, first)
        if page is not None:
            return page
        row = self.stores.db.look_up(native_instances.FRAME_LOCATION_LOOK_UP, (pixels, first))
        return None if row is None else self._keep(pixels, first, row)

    async def page_here(self, pixels: int, first: int) -> FramePage | None:
        """The same on an event loop."""
        page = self._pages.get(pixels, first)
        if page is not None:
            return page
        row = await self.stores.db.look_up_here(native_instances.FRAME_LOCATION_LOOK_UP, (pixels, first))
        return None if row is None else self._keep(pixels, first, row)

    def keep_pages(self, pixels: Sequence[PixelsKey]) -> None:
        """Read the first pages of these pixels at once, for those who ask for them next."""
        wanted = [key for key in pixels if self._pages.get(key, 0) is None]
        if wanted:
            with self.stores.db.read() as conn:
                for key, *row in in_order.first_pages(conn, wanted):
                    self._keep(key, 0, tuple(row))

    def _keep(self, pixels: int, first: int, row: tuple[Any, ...]) -> FramePage:
        pack, stored_syntax, frame_count, entries, checks, checksum_type, width, height, datastore = row
        page = FramePage(
            pack_name(pack),
            content_type(stored_syntax),
            frame_count,
            bytes(entries),
            stored_syntax,
            None if checks is None else bytes(checks),
            checksum_type != "COMPRESSED",
            width,
            height,
            datastore,
        )
        self._pages.put(pixels, first, page)
        return page

    def _missing(self, datastore_id: str, image_set_id: str, frame_id: str) -> NotFoundError:
        """Raises `DamagedError` where the set names the pixels, and they are not those of its instance."""
        parsed = parse_frame_id(frame_id)
        with self.stores.db.read() as conn:
            found = lookups.get(conn, datastore_id, image_set_id)
            store = datastores.get(conn, datastore_id)
            if found is not None and not found.deleted and parsed is not None and parsed[0] <= _LARGEST_KEY:
                lookups.check_pixels(conn, found.key, parsed[0])
        if store is None:
            return NotFoundError(f"Datastore {datastore_id} does not exist.")
        if found is None:
            return NotFoundError(f"Image set {image_set_id} does not exist in datastore {datastore_id}.")
        if found.deleted:
            return NotFoundError(f"Image set {image_set_id} is deleted.")
        return NotFoundError(
            f"Image set {image_set_id} has no frame {frame_id}; its metadata lists its frames."
        )

    def check_active(self, image_set: ImageSetKey) -> None:
        """Raise `NotFoundError` where a set was deleted."""
        with self.stores.db.read() as conn:
            if not removal.is_active(conn, image_set):
                raise NotFoundError("The image set is deleted.")

    def error_for(self, place: FrameLocation, error: StorageError) -> ApiError:
        """The error for bytes that cannot be read: their set was deleted, or they are unreachable or lost."""
        with self.stores.db.read() as conn:
            if not removal.is_active(conn, place.image_set):
                return NotFoundError("The image set is deleted.")
            uid = records.sop_instance_uid(conn, place.pixels)
        frame = frame_id(place.pixels, place.first + place.entry)
        _log.error("the frame %s of the instance %s cannot be read: %s", frame, uid, error)
        if isinstance(error, DamagedError):
            return InternalError(str(error))
        if isinstance(error, StorageUnavailableError):
            return UnavailableError("The storage of the frame is not available; try again later.")
        return InternalError("The frame cannot be read: its storage failed. The server's log says why.")
