"""What S3 storage and S3 buckets share: how a bucket is opened with obstore, and what its errors mean."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from lightwell.errors import InputError, StorageError, StorageUnavailableError

if TYPE_CHECKING:
    from obstore.store import S3Store

# Uploads of more than one part are sent in parts of this size, that many at a time.
PART = 16 << 20
PARTS_AT_ONCE = 4

_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_REQUEST = re.compile(r"Error performing [A-Z]+ https?://([^\s/]+)")
_SAID = re.compile(r'(?:message|error): "([^"]+)"')
_CREDENTIALS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "RequestTimeTooSkewed",
    "AuthorizationHeaderMalformed",
)
# Those of a session that has to be renewed, and a clock that has to be set.
_PASSING_CREDENTIALS = ("ExpiredToken", "RequestTimeTooSkewed")


# Refusals with a status of 4xx of what arrived late, in part or not as it was sent: sent again it may do.
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_PASSING_CODES = (
    *("RequestTimeout", "IncompleteBody", "OperationAborted", "ConditionalRequestConflict"),
    *("BadDigest", "XAmzContentSHA256Mismatch", "InvalidPart", "NoSuchUpload"),
)


class MissingBucketError(InputError):
    """There is no such bucket on S3."""


class MissingCredentialsError(StorageError):
    """This server has no AWS credentials."""


# Seconds to connect and to answer, and how often it is tried again.
_PATIENCE = {"long": (5, 120, 5), "brief": (3, 6, 0), "none": (2, 120, 0)}

# obstore's threads belong to the process that used it first and do not live in its forks.
_used_by: int | None = None


def open_bucket(
    bucket: str,
    *,
    prefix: str = "",
    endpoint_url: str | None,
    region: str,
    patience: Literal["long", "brief", "none"] = "long",
) -> S3Store:
    """The bucket, with credentials, and Region before ``region``, from the usual ``AWS_…`` variables.

    A minute goes by with tries; with ``patience`` *brief* it is tried once and for some seconds, with *none*
    also once, to connect for two seconds and to answer for as long as the caller waits.
    """
    global _used_by
    if _used_by not in (None, os.getpid()):
        raise RuntimeError("S3 was used before this process was forked: start such processes by spawn")
    _used_by = os.getpid()
    from obstore.store import S3Store

    connect, answer, tries = _PATIENCE[patience]
    more: dict[str, str] = {"endpoint": endpoint_url.rstrip("/")} if endpoint_url else {}
    return S3Store(
        bucket,
        prefix=prefix or None,
        default_region=region,
        client_options={
            "allow_http": True,  # where the endpoint says http:// itself
            "connect_timeout": timedelta(seconds=connect),
            "timeout": timedelta(seconds=answer),
        },
        retry_config={
            "max_retries": tries,
            "retry_timeout": timedelta(seconds=min(answer, 60)),
            "backoff": {"max_backoff": timedelta(seconds=5)},
        },
        **more,  # type: ignore[arg-type]
    )


def is_missing(error: BaseException) -> bool:
    """Whether the object is missing, and not its bucket."""
    return isinstance(error, FileNotFoundError) and "<Code>NoSuchBucket</Code>" not in str(error)


def is_refusal(error: BaseException) -> bool:
    """Whether S3 refuses the whole bucket: it is missing, access is denied or the credentials are bad."""
    text = str(error)
    found = _CODE.search(text)
    status = _STATUS.search(text)
    return (
        (found is not None and found[1] in ("NoSuchBucket", "AccessDenied"))
        or isinstance(error, PermissionError)
        or (status is not None and status[1] in ("401", "403"))
        or concerns_credentials(error)
    )


def concerns_credentials(error: BaseException) -> bool:
    """Whether the credentials of this server are at fault, or cannot be obtained."""
    text = str(error)
    found = _CODE.search(text)
    return (found is not None and found[1] in _CREDENTIALS) or _has_no_credentials(text)


def _has_no_credentials(text: str) -> bool:
    return "/latest/api/token" in text or "/latest/meta-data" in text or "169.254.170" in text


def explain(error: BaseException, where: str) -> StorageError | InputError:
    """A sentence for a person. `InputError` if the bucket's owner can fix it."""
    text = str(error)
    found = _CODE.search(text)
    code = found[1] if found else ""
    status = _STATUS.search(text)
    if code == "NoSuchBucket":
        return MissingBucketError(f"{where}: there is no such bucket on S3")
    if is_missing(error):
        return InputError(f"{where} does not exist")
    if _has_no_credentials(text):
        return MissingCredentialsError(
            f"{where}: there are no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if code in _CREDENTIALS:
        kind = StorageUnavailableError if code in _PASSING_CREDENTIALS else StorageError
        return kind(
            f"{where}: S3 refused the credentials ({code}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY "
            "and the clock."
        )
    if "redirect" in text and "region" in text:
        return StorageError(
            f"{where}: the bucket is in another Region; set AWS_REGION to that of the bucket."
        )
    if code == "AccessDenied" or isinstance(error, PermissionError) or (status and status[1] == "403"):
        return InputError(f"{where}: S3 denies access; grant it to the credentials of this server")
    if "InvalidPath" in type(error).__name__ or "Could not parse path" in text:
        path = text.partition('path: "')[2].partition('",')[0] or where
        return InputError(
            f"{where}: the key {path} has an empty part, a part . or .. or a control character, which this "
            "server cannot read from S3; rename the object or import a prefix that does not hold it"
        )
    if status:
        passing = status[1] in ("408", "429") or status[1].startswith("5") or code in _PASSING_CODES
        kind = StorageUnavailableError if passing else StorageError
        return kind(f"{where}: S3 answered {status[1]} {code}".rstrip() + ".")
    return StorageUnavailableError(
        f"{where} cannot be reached: {_reason(error)}; check the network and the endpoint of the storage."
    )


def _reason(error: BaseException) -> str:
    """Why no answer came: which host was asked, and what the system said, if obstore tells it."""
    text = str(error)
    asked = _REQUEST.search(text)
    host = asked[1] if asked else "it"
    said = _SAID.search(text)
    if said:
        return f"{host}: {said[1][0].lower()}{said[1][1:200]}"
    if "kind: TimedOut" in text or "kind: Timeout" in text:
        return f"{host} does not answer"
    return next((line for line in text.splitlines() if line), type(error).__name__)[:300]
