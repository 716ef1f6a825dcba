"""GetImageSetMetadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightwell.clock import Clock
from lightwell.documents import metadata_documents
from lightwell.documents.identity import identity_of_version
from lightwell.errors import StorageError
from lightwell.operations.context import Context
from lightwell.operations.image_sets import find_marked, find_readable
from lightwell.operations.version_ids import readable_version, version_number
from lightwell.stores.db.look_up import LookUp
from lightwell.stores.image_sets import lookups
from lightwell.wire import shapes

if TYPE_CHECKING:
    from lightwell.stores import Stores


def get_image_set_metadata(
    ctx: Context, request: shapes.GetImageSetMetadataRequest
) -> shapes.GetImageSetMetadataResponse:
    """The native document of a version, always gzipped, whatever Accept-Encoding says: native clients
    decompress it themselves, and browsers do so because of the header.

    Raises `NotFoundError` for a set that does not exist or is deleted, and for a version that does not exist
    or has no content.
    """
    wanted = None if request.version_id is None else version_number(request.version_id)
    found, mark = find_marked(ctx, request.datastore_id, request.image_set_id, wanted)
    version = readable_version(request.version_id, found)
    try:
        data = metadata_documents.native_document(ctx.stores, request.datastore_id, found, version, mark)
        with ctx.stores.db.read() as conn:
            ctx.note.saw(*identity_of_version(conn, found.key, version))
    except StorageError:
        # If the set was deleted meanwhile, its rows may be gone already.
        find_readable(ctx, request.datastore_id, request.image_set_id)
        raise
    # A document that was assembled while its set was deleted must be neither served nor kept.
    try:
        find_readable(ctx, request.datastore_id, request.image_set_id)
    except Exception:
        metadata_documents.drop_documents(ctx.stores, found.key)
        raise
    ctx.stores.accesses.note(found.key, ctx.clock.now())
    ctx.note.version = version
    return shapes.GetImageSetMetadataResponse(
        image_set_metadata_blob=data, content_type="application/json", content_encoding="gzip"
    )


class MetadataReader:
    """The fast path to documents in memory, for an event loop: one look-up of the set, and nothing else that
    could wait."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock
        self.may_wait = stores.db.dialect != "sqlite"
        """Whether look-ups go over a network, so that they must not be made on an event loop."""

    def cached_document(
        self, datastore_id: str, image_set_id: str, version: int | None
    ) -> tuple[bytes, lookups.IdentityRow] | None:
        """The document as `get_image_set_metadata` returns it, and whom it is about; None where that must be
        called. Blocks where `may_wait`."""
        return self._cached(self._stores.db.look_up(*_look_up_of(datastore_id, image_set_id, version)))

    async def cached_document_here(
        self, datastore_id: str, image_set_id: str, version: int | None
    ) -> tuple[bytes, lookups.IdentityRow] | None:
        """The same on an event loop, where look-ups go over a network."""
        look_up = self._stores.db.look_up_here
        return self._cached(await look_up(*_look_up_of(datastore_id, image_set_id, version)))

    def _cached(self, row: tuple[Any, ...] | None) -> tuple[bytes, lookups.IdentityRow] | None:
        if row is None:
            return None
        key, patient, study, series, number, mark = row
        data = metadata_documents.recent_documents.get(key, number, mark)
        if data is None:
            return None
        self._stores.accesses.note(key, self._clock.now())
        return data, (key, patient, study, series)


def _look_up_of(
    datastore_id: str, image_set_id: str, version: int | None
) -> tuple[LookUp, tuple[object, ...]]:
    if version is None:
        return lookups.READABLE_LOOK_UP, (image_set_id, datastore_id)
    return lookups.VERSION_LOOK_UP, (image_set_id, datastore_id, version)
