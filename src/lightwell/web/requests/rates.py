"""How often each operation may be called if throttling is on.

Source: devguide/throttling-limits, the rates and bursts of an account in a Region. AWS can raise all of them;
here they are as published.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket: at most ``burst`` tokens, refilled at ``per_second``; each request takes one."""

    per_second: float
    burst: int


# Published only for the retrieval of instances, frames and metadata; the others are assumed to be the same.
_DICOMWEB = Rate(50, 100)

AWS_RATES: dict[str, Rate] = {
    "CreateDatastore": Rate(0.085, 1),
    "GetDatastore": Rate(10, 20),
    "ListDatastores": Rate(5, 10),
    "DeleteDatastore": Rate(0.085, 1),
    "StartDICOMImportJob": Rate(1, 2),
    "GetDICOMImportJob": Rate(25, 50),
    "ListDICOMImportJobs": Rate(10, 20),
    "SearchImageSets": Rate(25, 50),
    "GetImageSet": Rate(25, 50),
    "GetImageSetMetadata": Rate(50, 100),
    "GetImageFrame": Rate(1000, 2000),
    "ListImageSetVersions": Rate(25, 50),
    "UpdateImageSetMetadata": Rate(0.25, 1),
    "CopyImageSet": Rate(0.25, 1),
    "DeleteImageSet": Rate(0.25, 1),
    "TagResource": Rate(10, 20),
    "UntagResource": Rate(10, 20),
    "ListTagsForResource": Rate(10, 20),
    "GetDICOMInstance": _DICOMWEB,
    "GetDICOMInstanceMetadata": _DICOMWEB,
    "GetDICOMInstanceFrames": _DICOMWEB,
    "GetDICOMSeriesMetadata": _DICOMWEB,
    "GetDICOMBulkdata": _DICOMWEB,
    "SearchDICOMStudies": _DICOMWEB,
    "SearchDICOMSeries": _DICOMWEB,
    "SearchDICOMInstances": _DICOMWEB,
    "SearchDICOMAllSeries": _DICOMWEB,
    "SearchDICOMAllInstances": _DICOMWEB,
    "SearchDICOMStudyInstances": _DICOMWEB,
    "StoreDICOM": _DICOMWEB,
    "StoreDICOMStudy": _DICOMWEB,
}
