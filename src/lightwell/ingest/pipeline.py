"""What every instance goes through on its way in: open, read, pixels, pack, original.

Codec workers run it, on one chunk of files at a time. Nothing that it yields counts until the packs are
finished and the rows are committed; see docs/design/versions.md, "Order of a commit".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from lightwell.clock import Ids
from lightwell.domain.image_sets.frame_checks import FrameChecks, pack_checks
from lightwell.domain.image_sets.frame_table import PAGE, Frame, pack_entries
from lightwell.domain.image_sets.grouping import Grouping
from lightwell.domain.image_sets.search_columns import clean_grouping, day
from lightwell.domain.imports.existing_instances import ExistingInstance
from lightwell.domain.imports.records import Dependencies, NewRecord, StoredPixels
from lightwell.domain.imports.warnings import Warning
from lightwell.domain.limits import DICTIONARY, METADATA
from lightwell.errors import InputError, NotDicomError
from lightwell.imaging.dataset.byte_source import Scratch
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.original_container import write_original
from lightwell.imaging.dataset.part10 import Part10, Source, open_part10
from lightwell.imaging.errors import PixelFailure, cannot_transcode
from lightwell.imaging.instances.dicom_signs import has_sign_of_dicom
from lightwell.imaging.instances.nested_pixels import NestedDecoder
from lightwell.imaging.instances.parse import ParsedInstance, PixelElement, parse_instance
from lightwell.imaging.pixels.checksum import checks_of, frame_checks
from lightwell.imaging.pixels.frame_stream import blob_ranges, open_frame_stream
from lightwell.ingest.duplicates import ExistingFinder, same_original, same_pixels
from lightwell.stores.db.compression import FragmentCompressor, compress
from lightwell.stores.objects.interface import PackObjects
from lightwell.stores.objects.pack_objects import OpenPack, PackWriter

# A first fragment longer than this does not become a dictionary: it would take memory and gain little.
_DICTIONARY_LIMIT, _DICOM_LIMIT = 128 << 10, DICTIONARY
_PIECE = 1 << 20
_INT32 = 1 << 31

OverrideFinder = Callable[[str, str, str], Mapping[str, object] | None]


class _DictionaryCompressor:
    """Compresses texts of one kind of a series; the first is the dictionary of all the others."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._first: bytes | None = None
        self._dictionary: int | None = None
        self._compressor: FragmentCompressor | None = None

    def compress(self, text: bytes, ids: Ids, dictionaries: dict[int, bytes]) -> tuple[bytes, int | None]:
        """The compressed text, and the key of its dictionary, which is put into ``dictionaries``."""
        if self._compressor is None:
            if self._first is None:
                if len(text) <= self._limit:
                    self._first = text
                return compress(text), None
            self._dictionary = ids.key()
            self._compressor = FragmentCompressor(self._first)
            dictionaries[self._dictionary] = self._first
        return self._compressor.compress(text), self._dictionary


class _SeriesState:
    """The pack of one series of a chunk, and what compresses the attributes of its instances.

    There is no pack until something has to be put into it.
    """

    def __init__(self, make_pack: Callable[[], PackWriter]) -> None:
        self._make_pack = make_pack
        self.begun: PackWriter | None = None
        self.fragments = _DictionaryCompressor(_DICTIONARY_LIMIT)
        self.dicom = _DictionaryCompressor(_DICOM_LIMIT)

    @property
    def pack(self) -> PackWriter:
        if self.begun is None:
            self.begun = self._make_pack()
        return self.begun


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineInputs:
    """What the files of a chunk need to be read.

    ``inflate_limit`` is the most bytes that a deflated data set may have, ``metadata_limit`` those of an
    instance's attributes as JSON of either kind. ``take_pack`` returns a
    pack whose row is *open*. ``override`` returns the DICOM JSON that overrides attributes of an instance,
    given its StudyInstanceUID, SeriesInstanceUID and SOPInstanceUID, or None. ``find_existing``, given the
    same, returns what image sets have of it already. ``seal`` as that of `open_part10`.
    """

    storage_format: str
    inflate_limit: int
    metadata_limit: int = METADATA
    ids: Ids
    cache: SeriesCache
    take_pack: Callable[[], OpenPack]
    override: OverrideFinder | None = None
    find_existing: ExistingFinder | None = None
    seal: Callable[[int], Scratch] | None = None


class Pipeline:
    """Reads the files of one chunk; to be closed by `finish` or `abort`."""

    def __init__(self, objects: PackObjects, spool: Path, inputs: PipelineInputs) -> None:
        self._objects = objects
        self._spool = spool
        self._inputs = inputs
        self._ids = inputs.ids
        self._series: dict[tuple[str, str], _SeriesState] = {}
        self._level_values: dict[bytes, bytes] = {}
        self._dictionaries: dict[int, bytes] = {}

    def read(self, number: int, name: str, source: Source) -> NewRecord:
        """The record of one file. Raises `InputError` if it cannot be imported."""
        try:
            part10 = open_part10(
                source,
                spool_dir=self._spool,
                inflate_limit=self._inputs.inflate_limit,
                seal=self._inputs.seal,
            )
        except InputError as error:
            if has_sign_of_dicom(source, name):
                raise
            raise NotDicomError(str(error)) from None
        try:
            return self._read(number, name, part10)
        finally:
            if part10.source is not source:
                part10.source.close()  # type: ignore[attr-defined]

    def _read(self, number: int, name: str, part10: Part10) -> NewRecord:
        instance = parse_instance(
            part10, self._inputs.cache, decode_nested=NestedDecoder(part10.transfer_syntax)
        )
        override_json = None
        if self._inputs.override is not None:
            override = self._inputs.override(
                instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid
            )
            if override is not None:
                instance = parse_instance(
                    part10,
                    self._inputs.cache,
                    override=override,
                    decode_nested=NestedDecoder(part10.transfer_syntax),
                )
                override_json = _json(override)
        _check(instance)
        _check_size(instance, self._inputs.metadata_limit)
        series = self._series_of(instance)
        key = self._ids.key()
        blocks = (instance.patient, instance.study, instance.series)
        patient, study, series_level = levels = [self._level(n, body) for n, body in enumerate(blocks)]
        uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
        existing = self._inputs.find_existing(*uids) if self._inputs.find_existing is not None else ()
        original = None
        if existing:
            original = same_original(self._objects, part10, instance, levels, override_json, existing)
        shared_pixels, pixels, pixel_warnings = self._pixels(
            part10, instance, series, key, [original] if original is not None else existing
        )
        if original is not None:
            pack, offset, length = original.pack, original.original_offset, original.original_length
        else:
            pack = series.pack.key
            series.pack.begin_item()
            offset, length = write_original(
                part10.file_meta, part10.source, instance.original, series.pack.append
            )
        shared = self._ids, self._dictionaries
        fragment_z, dictionary = series.fragments.compress(instance.fragment, *shared)
        dicom_z, dicom_dictionary = series.dicom.compress(instance.dicom, *shared)
        number_in_series = instance.instance_number
        return NewRecord(
            file=number,
            input_file=name,
            key=key,
            study_instance_uid=instance.study_instance_uid,
            series_instance_uid=instance.series_instance_uid,
            sop_instance_uid=instance.sop_instance_uid,
            sop_class_uid=instance.sop_class_uid,
            instance_number=(
                number_in_series
                if number_in_series is not None and -_INT32 <= number_in_series < _INT32
                else None
            ),
            grouping=_grouping(instance.grouping),
            patient=patient,
            study=study,
            series=series_level,
            fragment_z=fragment_z,
            dictionary=dictionary,
            dicom_z=dicom_z,
            dicom_dictionary=dicom_dictionary,
            pack=pack,
            original_offset=offset,
            original_length=length,
            override_z=compress(override_json) if override_json is not None else None,
            warnings=_warnings(
                [*instance.warnings, *_date_warnings(instance.grouping.study_date), *pixel_warnings]
            ),
            pixels=pixels,
            shared_pixels=shared_pixels,
        )

    @property
    def stored(self) -> int:
        """How many bytes the packs have that are neither finished nor discarded."""
        return sum(series.begun.tell() for series in self._series.values() if series.begun is not None)

    def finish(self) -> Dependencies:
        """Make what was read durable. Raises `StorageError`: the chunk has to be read again then."""
        packs: dict[int, tuple[int, int]] = {}
        seals: dict[int, bytes] = {}
        for series in self._series.values():
            if (pack := series.begun) is not None:
                packs[pack.key] = pack.finish()
                if pack.seal is not None:
                    seals[pack.key] = pack.seal
        self._series.clear()
        return Dependencies(self._level_values, self._dictionaries, packs, seals)

    def abort(self) -> None:
        """Discard what was read; does nothing after `finish`."""
        for series in self._series.values():
            if series.begun is not None:
                series.begun.abort()
        self._series.clear()

    def _series_of(self, instance: ParsedInstance) -> _SeriesState:
        key = (instance.study_instance_uid, instance.series_instance_uid)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _SeriesState(lambda: self._begin_pack(self._inputs.take_pack()))
        return series

    def _begin_pack(self, opened: OpenPack) -> PackWriter:
        return PackWriter(self._objects, self._spool, opened.key, opened.grant)

    def _level(self, number: int, body: bytes) -> bytes:
        digest = hashlib.sha256(bytes((number,)) + body).digest()
        if digest not in self._level_values:
            self._level_values[digest] = compress(body)
        return digest

    def _pixels(
        self,
        part10: Part10,
        instance: ParsedInstance,
        series: _SeriesState,
        key: int,
        existing: Sequence[ExistingInstance],
    ) -> tuple[int | None, StoredPixels | None, list[Warning]]:
        """The key of existing pixels, or else new ones, and the warnings of either."""
        if instance.pixel is None:
            return None, None, []
        if existing:
            image = _image(instance.image, part10.transfer_syntax, instance.pixel.keyword)
            same = same_pixels(self._objects, part10, instance, image, self._inputs.storage_format, existing)
            if same is not None:
                return same[0], None, same[1]
        return None, *self._new_pixels(part10, instance, instance.pixel, series.pack, key)

    def _new_pixels(
        self, part10: Part10, instance: ParsedInstance, pixel: PixelElement, pack: PackWriter, key: int
    ) -> tuple[StoredPixels, list[Warning]]:
        """Stored under the key of the record, so that its members are found without another index."""
        try:
            if instance.image is None:
                raise cannot_transcode("The attributes that describe the pixels are missing or not valid")
            stream = open_frame_stream(part10, instance.image, pixel, self._inputs.storage_format)
            pages: list[bytes] = []
            page: list[Frame] = []
            checks: list[bytes | None] = []
            of_page: list[FrameChecks] = []
            count = 0
            syntax = stream.stored.stored_syntax
            for frame in stream:
                pack.begin_item()
                offset = pack.tell()
                pieces = map(partial(_appended, pack), frame.pieces())
                of_page.append(frame_checks(pieces, syntax, frame.head))
                length = pack.tell() - offset
                page.append(Frame(offset, length, frame.head, frame.checksum, frame.low, frame.high))
                count += 1
                if len(page) == PAGE:
                    pages.append(pack_entries(page))
                    checks.append(pack_checks(of_page))
                    page, of_page = [], []
            if page:
                pages.append(pack_entries(page))
                checks.append(pack_checks(of_page))
            if not count:
                raise cannot_transcode("The pixel data holds no frame")
            stored = stream.stored
            return (
                StoredPixels(
                    key=key,
                    pack=pack.key,
                    stored_syntax=stored.stored_syntax,
                    frame_count=count,
                    checksum_type=stored.checksum_type,
                    width=stored.width,
                    height=stored.height,
                    image=_image(instance.image, part10.transfer_syntax, pixel.keyword),
                    decoder=stored.decoder,
                    pages=pages,
                    checks=checks,
                ),
                list(stream.warnings),
            )
        except PixelFailure as failure:
            return self._blob(part10, instance.image, pixel, pack, key), [failure.warning]

    def _blob(
        self,
        part10: Part10,
        image: ImageDescription | None,
        pixel: PixelElement,
        pack: PackWriter,
        key: int,
    ) -> StoredPixels:
        """The bytes of the pixel element as they are, in one piece and without frames."""
        pack.begin_item()
        offset = pack.tell()
        checks = checks_of(map(partial(_appended, pack), _pieces(part10, pixel)))
        span = Frame(offset, pack.tell() - offset, 0, checks.checksum, None, None)
        return StoredPixels(
            key=key,
            pack=pack.key,
            stored_syntax=part10.transfer_syntax,
            frame_count=0,
            checksum_type="COMPRESSED",
            width=image.columns if image else 0,
            height=image.rows if image else 0,
            image=_image(image, part10.transfer_syntax, pixel.keyword),
            decoder="",
            pages=[pack_entries([span])],
            checks=[pack_checks([checks])],
        )


def _pieces(part10: Part10, pixel: PixelElement) -> Iterator[bytes]:
    for start, length in blob_ranges(part10, pixel):
        done = 0
        while done < length:
            piece = part10.source.read(start + done, min(_PIECE, length - done))
            if not piece:
                break
            yield piece
            done += len(piece)


def _appended(pack: PackWriter, piece: bytes) -> bytes:
    pack.append(piece)
    return piece


def _check(instance: ParsedInstance) -> None:
    for keyword, uid in (
        ("StudyInstanceUID", instance.study_instance_uid),
        ("SeriesInstanceUID", instance.series_instance_uid),
        ("SOPInstanceUID", instance.sop_instance_uid),
        ("SOPClassUID", instance.sop_class_uid),
    ):
        if "\0" in (uid or ""):
            raise InputError(f"DICOM attribute {keyword} contains a NUL character")


def _check_size(instance: ParsedInstance, limit: int) -> None:
    """Whoever reads the metadata has all of them in memory, several times over."""
    shown = sum(map(len, (instance.fragment, instance.patient, instance.study, instance.series)))
    if max(shown, len(instance.dicom)) > limit:
        raise InputError(
            f"The metadata of the instance have more than {limit} bytes, without its pixels: raise "
            "LIGHTWELL_METADATA_MAX_BYTES if the file is what it should be, and import it again"
        )


@lru_cache(64)
def _date_warnings(study_date: str) -> tuple[Warning, ...]:
    """A warning of a StudyDate that no search by date finds."""
    if not study_date or day(study_date) is not None:
        return ()
    return (
        Warning(
            "SopClassDataMismatch",
            f"StudyDate: {study_date[:40]!r} is not a date, so searches by date do not find the study",
        ),
    )


@lru_cache(64)
def _grouping(grouping: Grouping) -> str:
    return clean_grouping(grouping).to_json()


@lru_cache(64)
def _image(image: ImageDescription | None, original_syntax: str, keyword: str) -> bytes:
    fields: dict[str, object] = asdict(image) if image else {"pixel_keyword": keyword}
    return _json({**fields, "original_syntax": original_syntax})


def _warnings(warnings: list[Warning]) -> str | None:
    if not warnings:
        return None
    text = json.dumps([w.to_json() for w in warnings], ensure_ascii=False, separators=(",", ":"))
    return text.replace("\\u0000", "")


def with_warning(record: NewRecord, warning: Warning) -> NewRecord:
    """The record with one more warning."""
    warnings = [*json.loads(record.warnings or "[]"), warning.to_json()]
    return replace(record, warnings=json.dumps(warnings, ensure_ascii=False, separators=(",", ":")))


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
