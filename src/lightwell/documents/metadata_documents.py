"""The native metadata documents of versions: from memory or from the cache of the stores, else assembled.

A document is gzipped and never changes; memory holds the most recently read ones. This module does not check
whether a set may be read: its callers do so on every request, before and after a document is assembled.
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
from lightwell.domain.image_sets.edits import NO_EDITS, Edits, apply_edits
from lightwell.domain.image_sets.frame_table import ENTRY_SIZE, PAGE, Frame
from lightwell.domain.image_sets.image_set import ImageSet
from lightwell.domain.image_sets.levels import level_of
from lightwell.domain.image_sets.metadata_document import LevelBlock, Member
from lightwell.domain.keys import ImageSetKey
from lightwell.errors import StorageError
from lightwell.stores.db.errors import misplaced
from lightwell.stores.image_sets import lookups, native_instances

if TYPE_CHECKING:
    from lightwell.stores import Stores

NATIVE = "native"

_PIECE = 256 * 1024
_GZIP = 16 + isal_zlib.MAX_WBITS
_MOST_DIFFERENCES = 1024
_NONE: frozenset[int] = frozenset()


class RecentDocuments:
    """Documents in memory, bounded in bytes; the least recently read goes first. Safe to use from threads.

    A document is named by key, version and `lookups.MARK` of its set, and by its format.
    """

    def __init__(self, limit: int) -> None:
        self._longest = limit // 4
        self._lock = threading.Lock()
        self._documents: LRUCache[tuple[int, int, int, str], bytes] = LRUCache(limit, getsizeof=len)

    def get(self, key: int, version: int, mark: int, format: str = NATIVE) -> bytes | None:
        with self._lock:
            try:
                return self._documents[key, version, mark, format]
            except KeyError:
                return None

    def put(self, key: int, version: int, mark: int, data: bytes, format: str = NATIVE) -> None:
        if len(data) <= self._longest:
            with self._lock:
                self._documents[key, version, mark, format] = data

    def drop(self, key: int) -> None:
        with self._lock:
            for name in [name for name in self._documents if name[0] == key]:
                del self._documents[name]


recent_documents = RecentDocuments(64 << 20)
"""The documents in memory of this process. Keys of sets are random, so those of two stores never collide."""

# Clients that request the same document at once wait for one assembly. Some sets share a lock.
_assembly_locks = tuple(threading.Lock() for _ in range(64))


def assembly_lock(key: int) -> threading.Lock:
    """The lock to hold while assembling a document of a set."""
    return _assembly_locks[key % len(_assembly_locks)]


def native_document(stores: Stores, datastore_id: str, found: ImageSet, version: int, mark: int) -> bytes:
    """The gzipped document of a version, whose `lookups.MARK` is ``mark``, of a set that is not deleted."""
    if (data := recent_documents.get(found.key, version, mark)) is not None:
        return data
    with assembly_lock(found.key):
        if (data := recent_documents.get(found.key, version, mark)) is not None:
            return data
        data = stores.documents.get(found.key, version, mark, NATIVE)
        if data is None:
            with stores.db.read() as conn:
                # Of the state that is read here, which need not be the one that the caller has seen.
                mark = lookups.mark_of(conn, found.key, version)
                data = gzip_pieces(native_document_pieces(conn, datastore_id, found, version))
            is_latest = version == found.readable_version
            stores.documents.put(found.key, version, mark, NATIVE, data, is_latest=is_latest)
        recent_documents.put(found.key, version, mark, data)
        return data


def drop_documents(stores: Stores, key: int) -> None:
    """Remove every document of a set from memory and from the cache."""
    recent_documents.drop(key)
    stores.documents.drop(key)


def gzip_pieces(pieces: Iterable[bytes]) -> bytes:
    """Compress pieces into one gzip, in the memory that the result takes."""
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


def gunzip_pieces(data: bytes) -> Iterator[bytes]:
    """Decompress a gzip of `gzip_pieces`, in pieces of bounded size."""
    unpacker = isal_zlib.decompressobj(_GZIP)
    piece = unpacker.decompress(data, _PIECE)
    while piece:
        yield piece
        piece = unpacker.decompress(unpacker.unconsumed_tail, _PIECE)


def native_document_pieces(
    conn: Connection, datastore_id: str, found: ImageSet, version: int
) -> Iterator[bytes]:
    """The native document of a version, piece by piece. ``conn`` must see one state of the database
    throughout.

    Raises `StorageError` where anything that the version names is missing or another's, the latter perhaps
    only at the end: then nothing of what was yielded may be served.
    """
    if found.series_instance_uid is None:
        raise StorageError(f"Image set {found.id} has no SeriesInstanceUID; run `lightwell data verify`.")
    levels = native_instances.levels(conn, found.key, version)
    bases = (levels[0].base, levels[1].base, levels[2].base)
    patient, study, series = (json_edits.edit_level_block(level.body, level.edits) for level in levels)
    series_key = series_uid(levels) or found.series_instance_uid
    shown: dict[tuple[int, int, int], bytes] = {bases: b""}
    yield metadata_document.document_opening(datastore_id, found.id, (patient, study, series), series_key)
    separator = b""
    digits = json_edits.hidden_digits(level.edits for level in levels)
    patient_base, study_base, series_base = bases
    unmet: frozenset[int] = frozenset((0, 1, 2))  # levels whose base no instance was seen to have yet
    fragments = native_instances.InstanceFragments(conn, found.key)
    for batch in native_instances.batches(conn, found.key, version):
        for row, pixels_key, edits_z in batch:
            fragment = fragments.of_record(row[1], row[3], row[4])
            # Most have one frame and no values of their own: this takes a third of the time of a `Member`.
            plain = edits_z is None and not (digits and json_edits.may_show(fragment, digits))
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
                    ready = metadata_document.single_frame_instance(uid, fragment, pixels, entries)
                    if ready is not None:
                        unmet = _NONE
                        yield separator + ready
                        separator = b","
                        continue
            member, frames = native_instances.make_member(conn, found.key, row, pixels_key, edits_z, fragment)
            if unmet:
                unmet -= _levels_met(member, bases)
            if member.edits or not plain:
                member, differing = _apply_member_edits(conn, found.key, member, levels)
            else:
                known = shown.get(member.level_values)
                if known is None:
                    if len(shown) > _MOST_DIFFERENCES:
                        shown = {bases: b""}
                    known = shown[member.level_values] = _level_differences(
                        conn, found.key, member.level_values, levels
                    )
                differing = known
            yield from _instance_pieces(conn, separator, member, differing, frames)
            separator = b","
    if unmet and separator:
        raise misplaced(found.key, "a patient, study or series that none of its instances came with")
    yield metadata_document.DOCUMENT_CLOSING


def _levels_met(member: Member, bases: tuple[int, int, int]) -> frozenset[int]:
    """The levels whose base is what an instance came with, or may be: its edits of a level may have made the
    base what it is. `stores.image_sets.level_inheritance` sees to it that each version has one.
    """
    edited = {level_of(key) for key in member.edits}
    return frozenset(
        level for level in (0, 1, 2) if member.level_values[level] == bases[level] or level in edited
    )


def _instance_pieces(
    conn: Connection, separator: bytes, member: Member, differing: bytes, entries: Sequence[Frame]
) -> Iterator[bytes]:
    """A member of any kind, its frames page by page."""
    opening = metadata_document.instance_opening(member, differing)
    frames = (
        b""
        if member.pixels is None or not entries
        else metadata_document.frame_entries(member.pixels, 0, entries)
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
            yield metadata_document.frame_entries(member.pixels, first, page)
    yield metadata_document.INSTANCE_CLOSING


def edited_level(level: LevelBlock) -> dict[str, object]:
    """The ``DICOM`` object of a level with its edits, as the document of the version shows it."""
    return apply_edits(json.loads(level.body), level.edits)


def series_uid(levels: Sequence[LevelBlock]) -> str | None:
    """The SeriesInstanceUID in the document of a version; None where its series block has none."""
    return json_edits.text_value(
        json_edits.edit_level_block(levels[2].body, levels[2].edits), "SeriesInstanceUID"
    )


def edited_instance(
    conn: Connection, image_set: ImageSetKey, member: Member, levels: Sequence[LevelBlock]
) -> tuple[dict[str, object], dict[str, str]]:
    """The ``DICOM`` and ``DICOMVRs`` objects of an instance with its edits, as the document of the version
    shows them.
    """
    member, differing = _apply_member_edits(conn, image_set, member, levels)
    fragment = metadata_document.insert_members(member.fragment, differing) if differing else member.fragment
    parts = json.loads(b"{%s}" % fragment)
    return parts["DICOM"], parts["DICOMVRs"]


def _apply_member_edits(
    conn: Connection, image_set: ImageSetKey, member: Member, levels: Sequence[LevelBlock]
) -> tuple[Member, bytes]:
    """A member with its edits applied to its fragment, and the JSON members that differ from the set's
    levels.
    """
    own, on_levels = json_edits.split_by_level(member.edits)
    hidden = dict.fromkeys(json_edits.hidden_digits((*(level.edits for level in levels), *on_levels)))
    differing = _level_differences(conn, image_set, member.level_values, levels, on_levels)
    return replace(member, fragment=json_edits.edit_fragment(member.fragment, {**own, **hidden})), differing


def _level_differences(
    conn: Connection,
    image_set: ImageSetKey,
    own: tuple[int, int, int],
    levels: Sequence[LevelBlock],
    edits: Sequence[Edits] = (NO_EDITS, NO_EDITS, NO_EDITS),
) -> bytes:
    parts = [
        metadata_document.level_differences(
            native_instances.level_body(conn, image_set, key), level.body, on_level, level.edits
        )
        for key, level, on_level in zip(own, levels, edits, strict=True)
        if key != level.base or on_level
    ]
    return b",".join(part for part in parts if part)
