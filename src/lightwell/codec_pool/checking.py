"""Checks what is stored against what it was made from: packs, originals, fragments, level blocks and frames.

Runs in codec workers: bytes that a disk has damaged can be trusted no more than bytes from outside.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial

import zstandard

from lightwell.domain.image_sets.dicom_json_lines import as_object
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
from lightwell.imaging.dataset.dictionary import attribute_of
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.original_container import Original
from lightwell.imaging.dataset.part10 import Part10, stored_part10
from lightwell.imaging.dataset.transfer_syntaxes import EXPLICIT_LITTLE, STORED
from lightwell.imaging.instances.nested_pixels import NestedDecoder
from lightwell.imaging.instances.parse import ParsedInstance, parse_instance
from lightwell.imaging.pixels.checksum import bytes_checksum, checks_of, frame_checks
from lightwell.imaging.pixels.stored_frames import frame_damage
from lightwell.stores.db.compression import decompress
from lightwell.stores.objects.interface import PackObjects
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.stores.objects.sealed import SealedPacks

_PIECE = 1 << 20
_INT32 = 1 << 31
_LEVELS = ("patient", "study", "series")
# So many attributes are named of those that differ.
_NAMED = 8
_TRANSCODED = {("DECOMPRESSED", syntax) for syntax in STORED.values()} | {("COMPRESSED", EXPLICIT_LITTLE)}


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
                dicom = decompress(_whole(held.dicom_z), _dictionary(held.dicom_dictionary, bodies))
            override = None if held.override_z is None else json.loads(decompress(_whole(held.override_z)))
        except (StorageError, zstandard.ZstdError, ValueError) as error:
            yield IntegrityFault(f"its attributes cannot be read from the database ({error})")
            return
        try:
            original = Original(
                lambda offset, length: self._objects.read(pack_name(held.pack), offset, length),
                held.original_offset,
                held.original_length,
            )
            keyword = None if held.pixels is None else _pixel_keyword(held.pixels)
            part10 = stored_part10(original, original.meta_length)
            derived = self._derived(part10, override, (fragment, *levels), keyword)
        except (LightwellError, zstandard.ZstdError, ValueError) as error:
            yield IntegrityFault(f"its original cannot be read: {error}", _kind(error))
            return
        if derived.sop_instance_uid != held.sop_instance_uid:
            yield IntegrityFault(f"its original is that of another instance, {derived.sop_instance_uid}")
        number = derived.instance_number
        if number is not None and not -_INT32 <= number < _INT32:
            number = None  # as the import leaves it out
        if (derived.sop_class_uid, number) != (held.sop_class_uid, held.instance_number):
            yield IntegrityFault("its SOP class or number in the database differs from that of its original")
        if derived.fragment != fragment:
            named = _named(_of_fragment(fragment), _of_fragment(derived.fragment))
            yield _differs("attributes", named)
        if dicom is not None and derived.dicom != dicom:
            yield _differs("DICOMweb attributes", _named(_of_lines(dicom), _of_lines(derived.dicom)))
        blocks = (derived.patient, derived.study, derived.series)
        for name, body, own in zip(_LEVELS, levels, blocks, strict=True):
            if body != own:
                yield _differs(f"{name} attributes", _named(_object(body), _object(own)))
        if held.pixels is not None:
            yield from _description(held.pixels, derived, part10.transfer_syntax)

    def _derived(
        self,
        part10: Part10,
        override: Mapping[str, object] | None,
        stored: tuple[bytes, ...],
        pixel_keyword: str | None = None,
    ) -> ParsedInstance:
        """What an import of the original yields, or yielded under earlier releases if that is ``stored``."""
        parse = partial(parse_instance, override=override, pixel_keyword=pixel_keyword)
        derived = parse(part10, self._cache, decode_nested=NestedDecoder(part10.transfer_syntax))
        if _texts(derived) != stored:
            # They kept encapsulated pixel data within sequences as it came, with its item headers.
            before = parse(part10, self._cache, decode_nested=lambda *_: None)
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


def _differs(what: str, named: str) -> IntegrityFault:
    return IntegrityFault(f"its {what} in the database differ from those of its original{named}")


def _named(stored: Mapping[str, object], derived: Mapping[str, object]) -> str:
    """The keys of attributes that differ, without their values, to end a sentence with."""
    keys = sorted(
        key for key in stored.keys() | derived.keys() if stored.get(key, _named) != derived.get(key, _named)
    )
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f": {', '.join(keys[:_NAMED])}{more}" if keys else ""


def _of_fragment(text: bytes) -> Mapping[str, object]:
    found = _object(b"{" + text + b"}").get("DICOM")
    return found if isinstance(found, dict) else {}


def _of_lines(text: bytes) -> Mapping[str, object]:
    return {attribute_of(int(tag, 16)).keyword: value for tag, value in _object(as_object(text)).items()}


def _object(text: bytes) -> Mapping[str, object]:
    """Nothing of what is no object of JSON: then no attribute is named."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _pixel_keyword(held: PixelsToVerify) -> str | None:
    keyword = _object(held.image).get("pixel_keyword")
    return keyword if isinstance(keyword, str) else None


def _description(held: PixelsToVerify, derived: ParsedInstance, syntax: str) -> Iterator[IntegrityFault]:
    """The description of frames by which they are decoded and shown, against the original.

    Descriptions of earlier releases may lack what later ones have.
    """
    kept = _object(held.image)
    expected = {"original_syntax": syntax} | (asdict(derived.image) if derived.image is not None else {})
    wrong = sorted(name for name, value in expected.items() if name in kept and kept[name] != value)
    if wrong:
        yield IntegrityFault(
            f"the description of its pixels in the database differs from its original: {', '.join(wrong)}"
        )
    image = derived.image
    if not held.frame_count or image is None:
        return
    stored = held.checksum_type, held.stored_syntax
    if stored not in _TRANSCODED and stored != ("COMPRESSED", syntax):
        yield IntegrityFault(
            "the transfer syntax of its frames in the database is not one of those it can be"
        )


def _kind(error: Exception) -> FaultKind:
    return FaultKind.UNREADABLE if isinstance(error, StorageUnavailableError) else FaultKind.DAMAGED


def _stored(held: RecordToVerify, bodies: SharedValues) -> tuple[bytes, list[bytes]]:
    levels = []
    for name, key in zip(_LEVELS, held.levels, strict=True):
        if key not in bodies.levels:
            raise StorageError(f"their {name} block is lost")
        levels.append(decompress(_whole(bodies.levels[key])))
    return decompress(_whole(held.fragment_z), _dictionary(held.dictionary, bodies)), levels


def _whole(value: bytes) -> bytes:
    """A value of the database, which `stores.collector.integrity` leaves empty where it cannot be opened."""
    if not value:
        raise StorageError("they are damaged, or those of another record")
    return value


def _dictionary(key: int | None, bodies: SharedValues) -> bytes | None:
    if key is None:
        return None
    if key not in bodies.dictionaries:
        raise StorageError("their dictionary is lost")
    return _whole(bodies.dictionaries[key])
