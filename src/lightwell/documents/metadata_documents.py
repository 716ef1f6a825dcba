"""The finished documents of versions: found in memory or in the cache of the stores, else assembled.

A document is gzip and never changes; memory holds the most recently read ones. Whether its set may be read is
no question of this module: its callers look that up on every request, after a document was made as well as
before.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cachetools import LRUCache
from isal import isal_zlib
from sqlalchemy import Connection

from lightwell.documents import json_edits
from lightwell.domain.image_sets import metadata_document
from lightwell.domain.image_sets.edits import NONE, Edits, apply_edits
from lightwell.domain.image_sets.frame_table import ENTRY_SIZE, PAGE, Frame
from lightwell.domain.image_sets.image_set import ImageSet
from lightwell.domain.image_sets.metadata_document import LevelBlock, Member
from lightwell.errors import StorageError
from lightwell.stores.image_sets import native_instances

if TYPE_CHECKING:
    from lightwell.stores import Stores

NATIVE = "native"

_PIECE = 256 * 1024
_GZIP = 16 + isal_zlib.MAX_WBITS
_DIFFERENCES = 1024


class Recent:
    """Documents in memory, bounded in bytes; the least recently read goes first. Safe to use from threads."""

    def __init__(self, limit: int) -> None:
        self._longest = limit // 4
        self._lock = threading.Lock()
        self._documents: LRUCache[tuple[int, int, str], bytes] = LRUCache(limit, getsizeof=len)

    def get(self, key: int, version: int, format: str = NATIVE) -> bytes | None:
        with self._lock:
            return self._documents.get((key, version, format))

    def put(self, key: int, version: int, data: bytes, format: str = NATIVE) -> None:
        if len(data) <= self._longest:
            with self._lock:
                self._documents[key, version, format] = data

    def drop(self, key: int) -> None:
        with self._lock:
            for name in [name for name in self._documents if name[0] == key]:
                del self._documents[name]


recent = Recent(64 << 20)
"""Of this process. Keys of sets are random, so one store's never stand for another's."""

# Many clients that ask for one document at once wait for one assembly. Sets share a lock now and then.
_making = tuple(threading.Lock() for _ in range(64))


def making(key: int) -> threading.Lock:
    """The lock of who makes a document of a set."""
    return _making[key % len(_making)]


def native(stores: Stores, datastore_id: str, found: ImageSet, version: int) -> bytes:
    """The gzipped native document of a version of a set that is not deleted."""
    if (data := recent.get(found.key, version)) is not None:
        return data
    with making(found.key):
        if (data := recent.get(found.key, version)) is not None:
            return data
        data = stores.documents.get(found.key, version, NATIVE)
        if data is None:
            data = assemble(stores, datastore_id, found, version)
            stores.documents.put(
                found.key, version, NATIVE, data, is_latest=version == found.readable_version
            )
        recent.put(found.key, version, data)
        return data


def drop(stores: Stores, key: int) -> None:
    """Forget every document of a set."""
    recent.drop(key)
    stores.documents.drop(key)


def assemble(stores: Stores, datastore_id: str, found: ImageSet, version: int) -> bytes:
    """The gzipped native document from the rows of the version, in the memory that its gzip takes."""
    with stores.db.read() as conn:
        return packed(pieces(conn, datastore_id, found, version))


def packed(pieces: Iterable[bytes]) -> bytes:
    """Pieces as one gzip, in the memory that it takes."""
    packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _GZIP)
    done: list[bytes] = []
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _PIECE:
            done.append(packer.compress(b"".join(waiting)))
            waiting, size = [], 0
    done.append(packer.compress(b"".join(waiting)))
    done.append(packer.flush())
    return b"".join(done)


def unpacked(data: bytes) -> Iterator[bytes]:
    """What `packed` has packed, in pieces of bounded size."""
    unpacker = isal_zlib.decompressobj(_GZIP)
    piece = unpacker.decompress(data, _PIECE)
    while piece:
        yield piece
        piece = unpacker.decompress(unpacker.unconsumed_tail, _PIECE)


def pieces(conn: Connection, datastore_id: str, found: ImageSet, version: int) -> Iterator[bytes]:
    """The native document of a version, piece by piece. ``conn`` must see one state of the database
    throughout.

    Raises `StorageError` where anything that the version names is missing.
    """
    if found.series_instance_uid is None:
        raise StorageError(f"Image set {found.id} names no series; run `lightwell data verify`.")
    levels = native_instances.levels(conn, found.key, version)
    bases = (levels[0].base, levels[1].base, levels[2].base)
    patient, study, series = (json_edits.block(level.body, level.edits) for level in levels)
    series_key = series_uid(levels) or found.series_instance_uid
    shown: dict[tuple[int, int, int], bytes] = {bases: b""}
    yield metadata_document.opening(datastore_id, found.id, (patient, study, series), series_key)
    separator = b""
    digits = json_edits.covered(level.edits for level in levels)
    patient_base, study_base, series_base = bases
    fragments = native_instances.InstanceFragments(conn)
    for batch in native_instances.batches(conn, found.key, version):
        for row, pixels_key, edits_z in batch:
            fragment = fragments.read(row[3], row[4])
            # Most have one frame and nothing of their own: a third of the time that a `Member` takes.
            plain = edits_z is None and not (digits and json_edits.shows(fragment, digits))
            if plain:
                (_, _, uid, _, _, own_patient, own_study, own_series, key, syntax, checksum_type, count,
                 width, height, entries) = row  # fmt: skip
                if (
                    own_series == series_base
                    and own_study == study_base
                    and own_patient == patient_base
                    and count == 1
                    and key == pixels_key
                    and entries is not None
                    and len(entries) == ENTRY_SIZE
                ):
                    pixels = (key, syntax, checksum_type, width, height)
                    ready = metadata_document.single_frame(uid, fragment, pixels, entries)
                    if ready is not None:
                        yield separator + ready
                        separator = b","
                        continue
            member, frames = native_instances.make_member(row, pixels_key, edits_z, fragment)
            if member.edits or not plain:
                member, differing = _edited(conn, member, levels)
            else:
                known = shown.get(member.level_values)
                if known is None:
                    if len(shown) > _DIFFERENCES:
                        shown = {bases: b""}
                    known = shown[member.level_values] = _differing(conn, member.level_values, levels)
                differing = known
            yield from _instance(conn, separator, member, differing, frames)
            separator = b","
    yield metadata_document.CLOSING


def _instance(
    conn: Connection, separator: bytes, member: Member, differing: bytes, entries: Sequence[Frame]
) -> Iterator[bytes]:
    """A member of any kind, its frames page by page."""
    opening = metadata_document.instance_opening(member, differing)
    frames = (
        b"" if member.pixels is None or not entries else metadata_document.frames(member.pixels, 0, entries)
    )
    yield separator + opening + frames
    if member.pixels is not None and member.pixels.frame_count > PAGE:
        for first in range(PAGE, member.pixels.frame_count, PAGE):
            page = native_instances.read_frame_page(conn, member.pixels.key, first)
            if len(page) != min(PAGE, member.pixels.frame_count - first):
                raise StorageError(
                    "The database has lost frames of an instance; run `lightwell data verify`."
                )
            yield b","
            yield metadata_document.frames(member.pixels, first, page)
    yield metadata_document.INSTANCE_CLOSING


def shown_block(level: LevelBlock) -> dict[str, object]:
    """The ``DICOM`` object that the document of a version shows of a level."""
    return apply_edits(json.loads(level.body), level.edits)


def series_uid(levels: Sequence[LevelBlock]) -> str | None:
    """The key of the series in the document of a version; None where its block does not give it."""
    return json_edits.text_of(json_edits.block(levels[2].body, levels[2].edits), "SeriesInstanceUID")


def shown_instance(
    conn: Connection, member: Member, levels: Sequence[LevelBlock]
) -> tuple[dict[str, object], dict[str, str]]:
    """The ``DICOM`` and ``DICOMVRs`` objects that the document of a version shows of an instance."""
    member, differing = _edited(conn, member, levels)
    fragment = metadata_document.laid_in(member.fragment, differing) if differing else member.fragment
    parts = json.loads(b"{%s}" % fragment)
    return parts["DICOM"], parts["DICOMVRs"]


def _edited(conn: Connection, member: Member, levels: Sequence[LevelBlock]) -> tuple[Member, bytes]:
    """A member with its edits in its fragment, and the members in which its levels differ from the set's."""
    own, on_levels = json_edits.apart(member.edits)
    hidden = dict.fromkeys(json_edits.covered((*(level.edits for level in levels), *on_levels)))
    differing = _differing(conn, member.level_values, levels, on_levels)
    return replace(member, fragment=json_edits.fragment(member.fragment, {**own, **hidden})), differing


def _differing(
    conn: Connection,
    own: tuple[int, int, int],
    levels: Sequence[LevelBlock],
    edits: Sequence[Edits] = (NONE, NONE, NONE),
) -> bytes:
    parts = [
        metadata_document.differences(
            native_instances.level_body(conn, key), level.body, on_level, level.edits
        )
        for key, level, on_level in zip(own, levels, edits, strict=True)
        if key != level.base or on_level
    ]
    return b",".join(part for part in parts if part)
