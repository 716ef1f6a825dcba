"""The quota of a metadata document, where quotas are enforced (devguide/endpoints-quotas).

The check assembles the whole document, and is made only where the service's quotas are enforced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightwell.documents import metadata_documents
from lightwell.domain import limits
from lightwell.errors import QuotaExceededError
from lightwell.stores.image_sets import lookups

if TYPE_CHECKING:
    from sqlalchemy import Connection


def check_metadata(conn: Connection, datastore_id: str, image_set_id: str) -> None:
    """Raises `QuotaExceededError` where the present document of a set is longer than the quota."""
    found = lookups.get(conn, datastore_id, image_set_id)
    if found is None:
        return
    size = 0
    for piece in metadata_documents.native_document_pieces(conn, datastore_id, found, found.readable_version):
        size += len(piece)
        if size > limits.METADATA_QUOTA:
            raise QuotaExceededError(
                f"The metadata of image set {image_set_id} would be longer than {limits.METADATA_QUOTA} "
                "bytes, the quota of one image set: distribute its instances among several image sets."
            )
