"""Limits on what one file may hold.

Source of the element table: devguide/dicom-element-constraints. A file with a longer value is not imported.
"""

from __future__ import annotations

#: keyword → greatest length of the value in characters, padding not counted
ELEMENT_LENGTHS: dict[str, int] = {
    "PatientName": 256,
    "PatientID": 256,
    "PatientBirthDate": 18,
    "PatientSex": 16,
    "StudyInstanceUID": 256,
    "StudyID": 256,
    "StudyDescription": 256,
    "AccessionNumber": 256,
    "StudyDate": 18,
    "StudyTime": 28,
    "SOPInstanceUID": 256,
    "SOPClassUID": 256,  # not on that page: the limit of the other UIDs, so that it can be indexed
    "SeriesInstanceUID": 256,
}

#: keyword → greatest number
ELEMENT_VALUES: dict[str, int] = {
    "NumberOfStudyRelatedSeries": 1_000_000,
    "NumberOfStudyRelatedInstances": 1_000_000,
}

#: bytes from which on a private binary value stays out of the metadata (devguide/understanding-import-jobs)
PRIVATE_BINARY = 1 << 20

#: bytes above which any one value stays out of the metadata; it is the quota of a whole metadata document
VALUE = 50_000_000

#: bytes of the metadata document of an image set, a published quota (devguide/endpoints-quotas)
METADATA_QUOTA = 50_000_000

#: depth of nested sequences
NESTING = 100

#: elements of one data set or item
ELEMENTS = 20_000

#: bytes of metadata of one instance that may ever have been kept; the setting metadata_max_bytes allows fewer
METADATA = 256_000_000

#: bytes of the first attributes of a series that those of its other instances are compressed by
DICTIONARY = 256 << 10
