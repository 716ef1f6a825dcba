"""The native operations, each a function ``(context, request Struct) -> response Struct``, by their API
names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightwell.operations import datastores, image_sets, import_jobs, tags
from lightwell.operations.copy_image_set import copy_image_set
from lightwell.operations.delete_image_set import delete_image_set
from lightwell.operations.get_image_set_metadata import get_image_set_metadata
from lightwell.operations.search_image_sets import search_image_sets
from lightwell.operations.update_image_set_metadata import update_image_set_metadata

OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "CopyImageSet": copy_image_set,
    "CreateDatastore": datastores.create_datastore,
    "DeleteDatastore": datastores.delete_datastore,
    "DeleteImageSet": delete_image_set,
    "GetDICOMImportJob": import_jobs.get_dicom_import_job,
    "GetDatastore": datastores.get_datastore,
    "GetImageSet": image_sets.get_image_set,
    "GetImageSetMetadata": get_image_set_metadata,
    "ListDICOMImportJobs": import_jobs.list_dicom_import_jobs,
    "ListDatastores": datastores.list_datastores,
    "ListImageSetVersions": image_sets.list_image_set_versions,
    "ListTagsForResource": tags.list_tags_for_resource,
    "SearchImageSets": search_image_sets,
    "StartDICOMImportJob": import_jobs.start_dicom_import_job,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
    "UpdateImageSetMetadata": update_image_set_metadata,
}
