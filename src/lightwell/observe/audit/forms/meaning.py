"""What a record means in the words of DICOM's audit messages, which FHIR's AuditEvent takes over.

Source: DICOM PS3.15 A.5.3, and PS3.16 CID 400 (events) and CID 401 (types of events).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import NAMESPACE_URL, uuid5

import msgspec

from lightwell.observe.audit.record import AuditRecord


class Code(NamedTuple):
    """A code of DICOM's own terminology (DCM) and its meaning."""

    value: str
    meaning: str


APPLICATION_ACTIVITY: Final = Code("110100", "Application Activity")
AUDIT_LOG_USED: Final = Code("110101", "Audit Log Used")
BEGIN_TRANSFERRING: Final = Code("110102", "Begin Transferring DICOM Instances")
ACCESSED: Final = Code("110103", "DICOM Instances Accessed")
TRANSFERRED: Final = Code("110104", "DICOM Instances Transferred")
STUDY_DELETED: Final = Code("110105", "DICOM Study Deleted")
EXPORT: Final = Code("110106", "Export")
IMPORT: Final = Code("110107", "Import")
QUERY: Final = Code("110112", "Query")
SECURITY_ALERT: Final = Code("110113", "Security Alert")
USER_AUTHENTICATION: Final = Code("110114", "User Authentication")

START: Final = Code("110120", "Application Start")
STOP: Final = Code("110121", "Application Stop")
LOGIN: Final = Code("110122", "Login")
LOGOUT: Final = Code("110123", "Logout")
EMERGENCY: Final = Code("110127", "Emergency Override Started")
CONFIGURATION: Final = Code("110129", "Security Configuration")
RESTRICTED: Final = Code("110132", "Use of Restricted Function")
RECORDING_STOPPED: Final = Code("110133", "Audit Recording Stopped")
OBJECT_ATTRIBUTES: Final = Code("110135", "Object Security Attributes Changed")
ROLES: Final = Code("110136", "Security Roles Changed")
USER_ATTRIBUTES: Final = Code("110137", "User Security Attributes Changed")

APPLICATION: Final = Code("110150", "Application")
LAUNCHER: Final = Code("110151", "Application Launcher")
DESTINATION: Final = Code("110152", "Destination Role ID")
SOURCE: Final = Code("110153", "Source Role ID")


class Meaning(NamedTuple):
    """The event, what kind of it, and what was done: C, R, U, D or E (create, read, update, delete, execute).

    ``client`` and ``server`` are the parts that both had in it, if the event tells them apart.
    """

    event: Code
    action: str
    type: Code | None = None
    client: Code | None = None
    server: Code | None = None


class Place(NamedTuple):
    """Whose records they are: of which account, Region and machine, and which chain they stand in."""

    account: str
    region: str
    writer: str
    host: str

    def arn(self, record: AuditRecord, image_set: str | None = None) -> str:
        """The ARN of the record's data store, or of an image set in it."""
        arn = f"arn:aws:medical-imaging:{self.region}:{self.account}:datastore/{record.store}"
        return arn if image_set is None else f"{arn}/imageset/{image_set}"

    def record_urn(self, record: AuditRecord) -> str:
        """What names a record, however often it is delivered: CloudTrail's ``eventID``, as a URN."""
        return f"urn:uuid:{uuid5(NAMESPACE_URL, f'lightwell:{self.writer}:{record.number}:{record.at}')}"


_LOOKED_AT: Final = Meaning(ACCESSED, "R")
_CHANGED: Final = Meaning(ACCESSED, "U")
_SENT: Final = Meaning(TRANSFERRED, "R", None, DESTINATION, SOURCE)
_RECEIVED: Final = Meaning(TRANSFERRED, "C", None, SOURCE, DESTINATION)
_EXPORTED: Final = Meaning(EXPORT, "R")
_IMPORTED: Final = Meaning(IMPORT, "C")
_DELETED: Final = Meaning(STUDY_DELETED, "D")
_SEARCHED: Final = Meaning(QUERY, "E", None, SOURCE, DESTINATION)
_LOGGED_IN: Final = Meaning(USER_AUTHENTICATION, "E", LOGIN)
_LOGGED_OUT: Final = Meaning(USER_AUTHENTICATION, "E", LOGOUT)
_AUDIT_READ: Final = Meaning(AUDIT_LOG_USED, "R")


def _alert(type: Code) -> Meaning:
    return Meaning(SECURITY_ALERT, "E", type)


# Records that tell of others that are missing, here or elsewhere.
_GAPS: Final = ("AuditInterrupted", "AuditLost", "AuditForwardMissed", "AuditPartMissing", "AuditEndMissing")

# By the operation, or of a command by its first word; what is not here goes by the kind of the record.
_BY_OPERATION: Final[dict[str, Meaning]] = {
    "ProcessStarted": Meaning(APPLICATION_ACTIVITY, "E", START),
    "ProcessEnded": Meaning(APPLICATION_ACTIVITY, "E", STOP),
    "AuditQuery": _AUDIT_READ,
    **dict.fromkeys(("AuditAnchor", "AuditChainEnded"), _AUDIT_READ),
    "AuditRemoved": Meaning(AUDIT_LOG_USED, "D"),
    **dict.fromkeys(_GAPS, _alert(RECORDING_STOPPED)),
    "audit": _AUDIT_READ,
    **dict.fromkeys(
        ("GetImageFrame", "GetDICOMInstance", "GetDICOMInstanceFrames", "GetDICOMBulkdata"), _SENT
    ),
    "ConsoleImageSetPreview": _SENT,
    **dict.fromkeys(("StoreDICOM", "StoreDICOMStudy", "StoreIntoImageSet"), _RECEIVED),
    "CopyImageSet": Meaning(ACCESSED, "C"),
    **dict.fromkeys(("DeleteImageSet", "ConsoleDeleteImageSet", "RemoveImageSets"), _DELETED),
    **dict.fromkeys(("sets delete", "erase"), _DELETED),
    **dict.fromkeys(("ConsoleGetArchive", "export", "data backup"), _EXPORTED),
    **dict.fromkeys(
        ("StartDICOMImportJob", "ImportIntoImageSet", "ImportJobEnded", "ConsoleBeginUpload"), _IMPORTED
    ),
    **dict.fromkeys(("import", "demo", "data restore"), _IMPORTED),
    **dict.fromkeys(
        ("AssumeRole", "AssumeRoleWithWebIdentity", "GetSessionToken", "ConsoleLink"), _LOGGED_IN
    ),
    **dict.fromkeys(("ConsoleMakeViewerToken", "ConsoleRenewViewerToken", "token"), _LOGGED_IN),
    **dict.fromkeys(("ConsoleSignOut", "ConsoleEndSession"), _LOGGED_OUT),
    **dict.fromkeys(
        ("ConsoleCreateKey", "ConsoleRevokeKey", "ConsoleSetKeyStatus", "ConsolePutKeyPolicies"),
        _alert(USER_ATTRIBUTES),
    ),
    **dict.fromkeys(("ConsoleRotateKey", "key"), _alert(USER_ATTRIBUTES)),
    **dict.fromkeys(("ConsolePutRole", "ConsoleDeleteRole", "role", "policy"), _alert(ROLES)),
    **dict.fromkeys(("ConsolePutAuthorizer", "ConsoleDeleteAuthorizer", "authorizer"), _alert(CONFIGURATION)),
    **dict.fromkeys(("CreateDatastore", "DeleteDatastore", "datastore"), _alert(CONFIGURATION)),
    **dict.fromkeys(("TagResource", "UntagResource"), _alert(OBJECT_ATTRIBUTES)),
}

_BY_KIND: Final = {"read": _LOOKED_AT, "search": _SEARCHED, "change": _CHANGED}
_DOORS: Final = ("api", "dicomweb", "console", "sts")
_REFUSED: Final = (401, 403)


def meaning(record: AuditRecord) -> Meaning:
    """What the record tells about. Every record means something, those of a newer lightwell, too."""
    if record.claimed is not None or (record.kind == "security" and record.operation not in _GAPS):
        # Nobody was proved to have sent it, or it is an alarm that has no code of its own.
        is_login = record.claimed is not None or record.status in _REFUSED
        return Meaning(USER_AUTHENTICATION, "E", LOGIN) if is_login else _alert(RESTRICTED)
    known = _BY_OPERATION.get(record.operation) or _BY_OPERATION.get(record.operation.partition(" ")[0])
    if known is not None:
        if known is _SENT and record.phase == "begun":
            return Meaning(BEGIN_TRANSFERRING, "E", None, DESTINATION, SOURCE)
        return known
    if record.kind in _BY_KIND:
        return _BY_KIND[record.kind]
    if record.kind == "access" or record.via in _DOORS:
        return _alert(RESTRICTED)
    # A command or a part of a server that does something on its own.
    return Meaning(APPLICATION_ACTIVITY, "E", STOP if record.phase == "ended" else START)


def outcome(record: AuditRecord) -> str:
    """0 success, 4 minor failure (refused, or cut short), 8 serious failure (RFC 3881 §5.1.4)."""
    if record.lost or record.operation in _GAPS:
        return "8"
    if record.status is not None and record.status >= 400:
        return "8" if record.status >= 500 else "4"
    if record.error is not None:
        return "8"
    return "4" if record.is_cut else "0"


def moment(at: int) -> str:
    """A time in milliseconds, as RFC 3339, XML Schema and FHIR write it."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def patients(record: AuditRecord) -> tuple[str, ...]:
    return _all(record.patient, record.patients)


def studies(record: AuditRecord) -> tuple[str, ...]:
    return _all(record.study, record.studies)


def image_sets(record: AuditRecord) -> tuple[str, ...]:
    """Those that can be named by an ARN: of a known data store. `details` tells of the others."""
    if record.store is None:
        return ()
    return _all(record.image_set, record.image_sets)


def user_name(record: AuditRecord) -> str:
    """Who asked, as far as that was proved: an ARN, the user who ran a command, or whose token it was."""
    if record.who is not None:
        return record.who
    user = record.user
    if user is not None:
        return user.name or str(user.uid)
    return record.subject or "unknown"


# What the forms have places of their own for.
_PLACED: Final = {
    *("n", "at", "patient", "patients", "study", "studies", "set", "sets", "series", "instance", "query"),
    *("who", "from", "subject", "id"),
}


def details(record: AuditRecord) -> list[tuple[str, str]]:
    """All else that the record says, by the names that `lightwell audit query --json` shows, as text.

    Also what a newer lightwell may have added to records.
    """
    members: dict[str, Any] = msgspec.to_builtins(record)
    return [
        (name, value if isinstance(value, str) else msgspec.json.encode(value).decode())
        for name, value in members.items()
        if (name not in _PLACED or (name in ("set", "sets") and record.store is None)) and value != ""
    ]


def _all(one: str | None, several: tuple[str, ...]) -> tuple[str, ...]:
    return several if one is None else (one, *(each for each in several if each != one))
