"""What of each operation is on record, or why it is not."""

from __future__ import annotations

from typing import Final, NamedTuple

from lightwell.observe.audit.record import Kind, Via


class Recorded(NamedTuple):
    """How an operation is on record. ``is_durable``: its record is on the disk before the answer is sent."""

    via: Via
    kind: Kind
    is_durable: bool = False


_JOB = "it tells how an import goes on, not of whom, and is asked for every few seconds"
_OWN = "it tells the caller about himself"
_STORE = "it tells about a data store, not about anybody in it"
_UPLOAD = "it tells how an upload goes on, whose begin and end are on record"
_FILE = "there may be a million; the begin and the end of an upload are on record, with how many files it has"

RECORDED: Final[dict[str, Recorded]] = {
    # The native operations and those of DICOMweb, which are distinct but for DeleteImageSet.
    "CopyImageSet": Recorded("api", "change"),
    "CreateDatastore": Recorded("api", "access", True),
    "DeleteDatastore": Recorded("api", "access", True),
    "DeleteImageSet": Recorded("api", "change", True),
    "GetImageFrame": Recorded("api", "read"),
    "GetImageSet": Recorded("api", "read"),
    "GetImageSetMetadata": Recorded("api", "read"),
    "ListImageSetVersions": Recorded("api", "read"),
    "ListTagsForResource": Recorded("api", "read"),
    "SearchImageSets": Recorded("api", "search"),
    "StartDICOMImportJob": Recorded("api", "change", True),
    # Policies may depend on tags.
    "TagResource": Recorded("api", "access", True),
    "UntagResource": Recorded("api", "access", True),
    "UpdateImageSetMetadata": Recorded("api", "change"),
    "GetDICOMBulkdata": Recorded("dicomweb", "read"),
    "GetDICOMInstance": Recorded("dicomweb", "read"),
    "GetDICOMInstanceFrames": Recorded("dicomweb", "read"),
    "GetDICOMInstanceMetadata": Recorded("dicomweb", "read"),
    "GetDICOMSeriesMetadata": Recorded("dicomweb", "read"),
    "SearchDICOMAllInstances": Recorded("dicomweb", "search"),
    "SearchDICOMAllSeries": Recorded("dicomweb", "search"),
    "SearchDICOMInstances": Recorded("dicomweb", "search"),
    "SearchDICOMSeries": Recorded("dicomweb", "search"),
    "SearchDICOMStudies": Recorded("dicomweb", "search"),
    "SearchDICOMStudyInstances": Recorded("dicomweb", "search"),
    "StoreDICOM": Recorded("dicomweb", "change"),
    "StoreDICOMStudy": Recorded("dicomweb", "change"),
    "AssumeRole": Recorded("sts", "access", True),
    "AssumeRoleWithWebIdentity": Recorded("sts", "access", True),
    "GetSessionToken": Recorded("sts", "access", True),
    "ConsoleLink": Recorded("console", "access", True),
    "ConsoleListRolesOfToken": Recorded("console", "access"),
    "ConsoleSignOut": Recorded("console", "access", True),
    "ConsoleListSessions": Recorded("console", "access"),
    "ConsoleEndSession": Recorded("console", "access", True),
    "ConsoleMakeViewerToken": Recorded("console", "access", True),
    "ConsoleRenewViewerToken": Recorded("console", "access"),
    "ConsoleListKeys": Recorded("console", "access"),
    "ConsoleCreateKey": Recorded("console", "access", True),
    "ConsoleRevokeKey": Recorded("console", "access", True),
    "ConsoleSetKeyStatus": Recorded("console", "access", True),
    "ConsolePutKeyPolicies": Recorded("console", "access", True),
    "ConsoleRotateKey": Recorded("console", "access", True),
    "ConsoleListRoles": Recorded("console", "access"),
    "ConsolePutRole": Recorded("console", "access", True),
    "ConsoleDeleteRole": Recorded("console", "access", True),
    "ConsoleListAuthorizers": Recorded("console", "access"),
    "ConsolePutAuthorizer": Recorded("console", "access", True),
    "ConsoleDeleteAuthorizer": Recorded("console", "access", True),
    "ConsoleExplainPolicy": Recorded("console", "access"),
    "ConsoleSimulatePolicy": Recorded("console", "access"),
    "ConsoleImageSet": Recorded("console", "read"),
    "ConsoleImageSetVersions": Recorded("console", "read"),
    "ConsoleImageSetDiff": Recorded("console", "read"),
    "ConsoleImageSetPreview": Recorded("console", "read"),
    "ConsoleDeleteImageSet": Recorded("console", "change", True),
    "ConsoleListStudies": Recorded("console", "search"),
    "ConsoleSearchEvents": Recorded("console", "search"),
    "ConsoleGetArchive": Recorded("console", "read"),
    "ConsoleBeginUpload": Recorded("console", "change"),
    "ConsoleDiscardUpload": Recorded("console", "change"),
    # Names of files may be those of patients.
    "ConsoleListUploadedFiles": Recorded("console", "read"),
    "ConsoleGetJobReasons": Recorded("console", "read"),
    "ConsoleGetJobReport": Recorded("console", "read"),
    "ConsoleCancelJob": Recorded("console", "change"),
}

NOT_RECORDED: Final[dict[str, str]] = {
    "GetDICOMImportJob": _JOB,
    "ListDICOMImportJobs": _JOB,
    "GetDatastore": _STORE,
    "ListDatastores": _STORE,
    "GetCallerIdentity": _OWN,
    "ConsoleConfig": "it is the same for everybody, and needs no signature",
    "ConsoleMe": _OWN,
    "ConsoleAllowed": _OWN,
    "ConsoleGetUsage": _STORE,
    "ConsoleValidatePolicy": "it judges a text that the caller has sent",
    "ConsoleListActions": "it is the same for everybody",
    "ConsoleGetHealth": "it tells about the server, and is asked for every few seconds",
    "ConsoleGetMetrics": "it tells about the server, and is asked for every few seconds",
    "ConsoleListUploads": _UPLOAD,
    "ConsoleGetUpload": _UPLOAD,
    "ConsolePutUploadedFile": _FILE,
    "ConsoleListJobs": _JOB,
    "ConsoleGetJob": _JOB,
}
"""Operations that are on record only where they are refused, and why."""

UNRECORDED_KIND: Final = Recorded("api", "system")
"""How a refusal of what is otherwise not recorded is, and a request for what there is not."""
