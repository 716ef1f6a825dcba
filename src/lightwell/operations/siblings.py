"""The image sets that a change reaches without naming them, so that each of them can be authorised.

UpdateImageSetMetadata with ``includeStudyImageSets`` reaches the primary sets of a study, CopyImageSet with
``promoteToPrimary`` the primary set of a series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightwell.stores import image_sets

if TYPE_CHECKING:
    from lightwell.stores import Stores


def reached(stores: Stores, operation: str, request: Any) -> list[str]:
    """Their ids, in no order; the set that the request names may be among them.

    A set that joins the study between this and the change is not among them.
    """
    if operation == "UpdateImageSetMetadata" and request.include_study_image_sets:
        named, of_series = request.image_set_id, False
    elif operation == "CopyImageSet" and request.promote_to_primary:
        named, of_series = request.source_image_set_id, True
    else:
        return []
    with stores.db.read() as conn:
        return image_sets.primary_siblings(conn, request.datastore_id, named, of_series=of_series)
