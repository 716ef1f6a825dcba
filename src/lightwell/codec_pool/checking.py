"""Checks what is stored against what it was made from: packs, originals, fragments, level blocks and frames.

Runs in codec workers: bytes that a disk has damaged can be trusted no more than bytes from outside.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping

import zstandard

from lightwell.domain.image_sets.frame_checks import FrameChecks, pack_checks, unpack_checks
from lightwell.domain.image_sets.frame_table import Frame, unpack_entries
from lightwell.domain.integrity import (
    FaultKind,
    IntegrityFault,
    MadeChecks,
    PackToVerify,
    PixelsToVerify,
    RecordToVerify,
    SharedValues,
)
from lightwell.errors import LightwellError, StorageError, StorageUnavailableError
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.original_container import Original
from lightwell.imaging.dataset.part10 import stored_part10
from lightwell.imaging.instances.nested_pixels import NestedDecoder
from lightwell.imaging.instances.parse import ParsedInstance, parse_instance
from lightwell.imaging.pixels.checksum import bytes_checksum, checks_of, frame_checks
from lightwell.imaging.pixels.stored_frames import frame_damage
from lightwell.stores.db.compression import decompress
from lightwell.stores.objects.interface import PackObjects
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.stores.objects.sealed import SealedPacks

_PIECE = 1 << 20
_LEVELS = ("patient", "study", "series")


class Checker:
    """Each check yields everything that is wrong. ``frames`` counts the frames that were read.

    ``made`` are the checks of rows of the frame table that had none, of those in which nothing is wrong.
    ``sample`` is as that of `CheckRecords`; frames without checks are decoded in any case.
    """

    def __init__(
        self, objects: SealedPacks[PackObjects], cache: SeriesCache, sample: int | None = None
    ) -> None:
        self._sample = sample
        self._objects = objects
        self._cache = cache
        self.frames = 0
        self.made: list[MadeChecks] = []

    def pack(self, held: PackToVerify) -> Iterator[IntegrityFault]:
        """Every byte of a pack against its CRC-32."""
        name = pack_name(held.key)
        try:
            whole = self._objects.inner
            size = whole.size(name)
            if size != held.size:
                yield IntegrityFault(
                    "it does not exist" if size is None else f"it has {size} bytes, not {held.size}"
                )
            elif bytes_checksum(_pieces(whole, held.key, 0, held.size)) != held.checksum:
                yield IntegrityFault("its bytes have changed: its checksum differs")
        except StorageError as error:
            yield IntegrityFault(str(error), _kind(error))

    def record(self, held: RecordToVerify, bodies: SharedValues) -> Iterator[IntegrityFault]:
        """A record against its original, and its frames against their checksums."""
        for lost in held.lost:
            yield IntegrityFault(f"the database has lost {lost}")
        yield from self._attributes(held, bodies)
        if held.pixels is not None:
            count = sum(len(unpack_entries(page)) for page in held.pixels.pages)
            # Pixel data that could not be split into frames has one entry, for all of its bytes.
            if count != (held.pixels.frame_count or 1):
                yield IntegrityFault(f"the database has {count} of its {held.pixels.frame_count} frames")
            yield from self.pixels(held.pixels)

    def _attributes(self, held: RecordToVerify, bodies: SharedValues) -> Iterator[IntegrityFault]:
        try:
            fragment, levels = _stored(held, bodies)
            dicom = None
            if held.dicom_z is not None:
                dicom = decompress(held.dicom_z, _dictionary(held.dicom_dictionary, bodies))
            # Empty where it is damaged, which is not the same as none.
            override = None if held.override_z is None else json.loads(decompress(held.override_z))
        except (StorageError, zstandard.ZstdError, ValueError) as error:
            yield IntegrityFault(f"its attributes cannot be read from the database ({error})")
            return
        try:
            original = Original(
                lambda offset, length: self._objects.read(pack_name(held.pack), offset, length),
                held.original_offset,
                held.original_length,
            )
            derived = self._derived(original, override, (fragment, *levels))
        except (LightwellError, zstandard.ZstdError, ValueError) as error:
            yield IntegrityFault(f"its original cannot be read: {error}", _kind(error))
            return
        if derived.sop_instance_uid != held.sop_instance_uid:
            yield IntegrityFault(f"its original is that of another instance, {derived.sop_instance_uid}")
        if (derived.sop_class_uid, derived.instance_number) != (held.sop_class_uid, held.instance_number):
            yield IntegrityFault("its SOP class or number in the database differs from that of its original")
        if derived.fragment != fragment:
            yield IntegrityFault("its attributes in the database differ from those of its original")
        if dicom is not None and derived.dicom != dicom:
            yield IntegrityFault("its DICOMweb attributes in the database differ from those of its original")
        blocks = (derived.patient, derived.study, derived.series)
        for name, body, own in zip(_LEVELS, levels, blocks, strict=True):
            if body != own:
                yield IntegrityFault(
                    f"its {name} attributes in the database differ from those of its original"
                )

    def _derived(
        self, original: Original, override: Mapping[str, object] | None, stored: tuple[bytes, ...]
    ) -> ParsedInstance:
        """What an import of the original yields, or yielded under earlier releases if that is ``stored``."""
        part10 = stored_part10(original, original.meta_length)
        decode = NestedDecoder(part10.transfer_syntax)
        derived = parse_instance(part10, self._cache, override=override, decode_nested=decode)
        if _texts(derived) != stored:
            # They kept encapsulated pixel data within sequences as it came, with its item headers.
            before = parse_instance(part10, self._cache, override=override, decode_nested=lambda *_: None)
            if _texts(before) == stored:
                return before
        return derived

    def pixels(self, held: PixelsToVerify) -> Iterator[IntegrityFault]:
        """Frames against their checksums. Those that were made when they were stored are never changed."""
        try:
            fields = json.loads(held.image)
            fields.pop("original_syntax", None)
            image = ImageDescription(**fields) if held.frame_count else None
        except (ValueError, TypeError) as error:
            yield IntegrityFault(f"the description of its pixels cannot be read ({error})")
            return
        if (
            image is not None
            and held.width is not None
            and (held.width, held.height)
            != (
                image.columns,
                image.rows,
            )
        ):
            yield IntegrityFault("the size of its frames in the database differs from their description")
        first = held.first
        for page, checks in zip(held.pages, held.checks, strict=True):
            frames = unpack_entries(page)
            try:
                known = [] if checks is None else unpack_checks(checks, [frame.length for frame in frames])
            except struct.error:
                yield IntegrityFault(f"the checksums of the frames from {first + 1} on cannot be read")
                checks, known = b"", []
            made: list[FrameChecks] = []
            for index, frame in enumerate(frames):
                number = first + index + 1
                if self._sample is not None and known and (held.key + number) % 100 != self._sample:
                    continue
                self.frames += 1
                try:
                    found = self._frame(held, frame, image, known[index] if known else None)
                except StorageError as error:
                    yield IntegrityFault(f"frame {number} cannot be read: {error}", _kind(error))
                    continue
                if isinstance(found, str):
                    yield IntegrityFault(f"frame {number} {found}")
                else:
                    made.append(found)
            if checks is None and frames and len(made) == len(frames):
                self.made.append(MadeChecks(held.key, first, pack_checks(made)))
            first += len(frames)

    def _frame(
        self,
        held: PixelsToVerify,
        frame: Frame,
        image: ImageDescription | None,
        known: FrameChecks | None,
    ) -> FrameChecks | str:
        """The checks of a frame, or what is wrong with it. ``known``: those that it has already."""
        ends = [level.length for level in known.levels] if known is not None else ()
        if image is None or held.checksum_type == "COMPRESSED":
            checks = checks_of(_pieces(self._objects, held.pack, frame.offset, frame.length), ends)
            if checks.checksum != frame.checksum:
                return "is not the one that was stored: its checksum differs"
        else:
            data = self._objects.read(pack_name(held.pack), frame.offset, frame.length)
            values = (frame.low, frame.high)
            fault = frame_damage(data, frame.head, held.stored_syntax, image, frame.checksum, values)
            if fault is not None:
                return fault
            if known is None:
                return frame_checks((data,), held.stored_syntax, frame.head)
            checks = checks_of((data,), ends)
        if known is not None and checks != known:
            return "has other bytes than were stored: the checksum of these differs"
        return checks


def _pieces(objects: PackObjects, pack: int, offset: int, length: int) -> Iterator[bytes]:
    for start in range(0, length, _PIECE):
        yield objects.read(pack_name(pack), offset + start, min(_PIECE, length - start))


def _texts(instance: ParsedInstance) -> tuple[bytes, ...]:
    return instance.fragment, instance.patient, instance.study, instance.series


def _kind(error: Exception) -> FaultKind:
    return FaultKind.UNREADABLE if isinstance(error, StorageUnavailableError) else FaultKind.DAMAGED


def _stored(held: RecordToVerify, bodies: SharedValues) -> tuple[bytes, list[bytes]]:
    levels = []
    for name, key in zip(_LEVELS, held.levels, strict=True):
        if key not in bodies.levels:
            raise StorageError(f"their {name} block is lost")
        levels.append(decompress(bodies.levels[key]))
    return decompress(held.fragment_z, _dictionary(held.dictionary, bodies)), levels


def _dictionary(key: int | None, bodies: SharedValues) -> bytes | None:
    if key is None:
        return None
    if key not in bodies.dictionaries:
        raise StorageError("their dictionary is lost")
    return bodies.dictionaries[key]
