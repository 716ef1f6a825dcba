"""The errors that cross folders; errors that one folder raises and handles itself stay there.

::

    LightwellError                      a sentence for a person, saying what to do next
    ├── ConfigurationError              a setting, a flag or one of our own files is wrong (exit code 2)
    ├── StorageError                    the database, disk or object store failed
    │   ├── StorageUnavailableError     ... but may recover: unreachable, busy or full
    │   │   └── CommitUnknownError      ... and nobody knows whether the transaction was committed
    │   └── DamagedError                ... because the stored bytes are not the ones that were written
    ├── InputError                      one input file cannot be imported; says what is wrong with it
    │   ├── NotDicomError               ... because nothing in it looks like DICOM
    │   └── ServerFault                 ... and the fault is ours (a killed worker, a bug)
    └── ApiError                        an error response of the HTTP API: status, AWS error name, message
        ├── ValidationError             400 ValidationException
        ├── BadRequestError             400 BadRequestException
        ├── QuotaExceededError          402 ServiceQuotaExceededException
        ├── ExpiredTokenError           401 AccessDeniedException
        ├── AuthenticationError         403, one of the AWS names for a failed signature
        │   └── WrongCredentialsError
        ├── AccessDeniedError           403 AccessDeniedException
        ├── NotFoundError               404 ResourceNotFoundException
        ├── UnknownOperationError       404 UnknownOperationException
        ├── MethodNotAllowedError       405 MethodNotAllowedException
        ├── NotAcceptableError          406 NotAcceptableException
        ├── RequestTimeoutError         408 RequestTimeoutException
        ├── ConflictError               409 ConflictException
        ├── TooLargeError               413 RequestEntityTooLargeException
        ├── UriTooLongError             414 RequestURITooLongException
        ├── FailedDependencyError       424 FailedDependencyException
        ├── MediaTypeError              415 UnsupportedMediaTypeException
        ├── ThrottlingError             429 ThrottlingException
        ├── InternalError               500 InternalServerException
        ├── NotBuiltError               501 NotImplementedException
        └── UnavailableError            503 ServiceUnavailableException

Statuses and names: the service model of ``medical-imaging`` and AWS's Common Errors page.
"""

from __future__ import annotations


class LightwellError(Exception):
    """The base class; ``str()`` gives the sentence that a person reads."""


class ConfigurationError(LightwellError):
    """A setting, a flag or one of our own files is wrong."""


class StorageError(LightwellError):
    """The database, the disk or the object store failed."""


class StorageUnavailableError(StorageError):
    """The database, the disk or the object store cannot be used now: unreachable, busy, full or read-only.

    Nothing is lost, and the request may be repeated.
    """


class CommitUnknownError(StorageUnavailableError):
    """The connection was lost while a transaction was being committed: it may have been, or not.

    Whoever runs it again must find what the first run may have done: by a client token, a lease, or keys.
    """


class DamagedError(StorageError):
    """Stored bytes are not the ones that were written, and repeating the request does not help.

    `lightwell data verify` tells which image sets are affected and what else is damaged.
    """


class InputError(LightwellError):
    """One input file cannot be imported; becomes a line of ``failure.ndjson``.

    ``exception_type`` is the AWS name in that line.
    """

    exception_type = "ValidationException"


class NotDicomError(InputError):
    """One input file shows no sign of DICOM, as a text that lies between the images. The message is AWS's."""


class ServerFault(InputError):
    """One input file could not be imported because of a fault of ours; counts as a server error."""

    exception_type = "InternalServerException"


class ApiError(LightwellError):
    """An error response of the HTTP API."""

    status = 500
    code = "InternalServerException"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ValidationError(ApiError):
    status, code = 400, "ValidationException"


class BadRequestError(ApiError):
    status, code = 400, "BadRequestException"


class QuotaExceededError(ApiError):
    status, code = 402, "ServiceQuotaExceededException"


class ExpiredTokenError(ApiError):
    """A bearer token that was valid once, where a setting asks to tell clients so (RFC 6750 §3.1).

    ``challenge`` is what the ``WWW-Authenticate`` header says. AWS answers 403, with the same name.
    """

    status, code = 401, "AccessDeniedException"
    challenge = 'Bearer error="invalid_token", error_description="The token has expired"'


class AuthenticationError(ApiError):
    """``code`` is one of the AWS names, such as ``InvalidSignatureException``."""

    status = 403

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class WrongCredentialsError(AuthenticationError):
    """There is no such key, or the signature was not made with its secret, or the session token is another's.

    Others are clocks, forms and scopes: what a client got wrong that may well have the secret.
    """


class AccessDeniedError(ApiError):
    """``statement`` is the title of the statement that refused, or says that none allows, and ``policy`` a
    digest of its policy; None where no policy was asked. They are for records, not for the caller.
    """

    status, code = 403, "AccessDeniedException"

    def __init__(self, message: str, statement: str | None = None, policy: str | None = None) -> None:
        super().__init__(message)
        self.statement = statement
        self.policy = policy


class NotFoundError(ApiError):
    status, code = 404, "ResourceNotFoundException"


class UnknownOperationError(ApiError):
    status, code = 404, "UnknownOperationException"


class MethodNotAllowedError(ApiError):
    """``allowed`` is what the ``Allow`` header says (RFC 9110 §15.5.6)."""

    status, code = 405, "MethodNotAllowedException"

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


class NotAcceptableError(ApiError):
    status, code = 406, "NotAcceptableException"


class RequestTimeoutError(ApiError):
    """An authorizer or a request body took too long.

    AWS documents the status for authorizers; the name is ours.
    """

    status, code = 408, "RequestTimeoutException"


class ConflictError(ApiError):
    status, code = 409, "ConflictException"


class TooLargeError(ApiError):
    status, code = 413, "RequestEntityTooLargeException"


class UriTooLongError(ApiError):
    """RFC 9110 §15.5.15. AWS has no name for it; this one follows the name for 413."""

    status, code = 414, "RequestURITooLongException"


class FailedDependencyError(ApiError):
    """An authorizer is misconfigured or failed. Status and texts are AWS's, the name is ours."""

    status, code = 424, "FailedDependencyException"


class MediaTypeError(ApiError):
    status, code = 415, "UnsupportedMediaTypeException"


class ThrottlingError(ApiError):
    """``retry_after`` is the number of whole seconds after which a retry may succeed."""

    status, code = 429, "ThrottlingException"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InternalError(ApiError):
    status, code = 500, "InternalServerException"


class NotBuiltError(ApiError):
    status, code = 501, "NotImplementedException"


class UnavailableError(ApiError):
    """The request may succeed if it is repeated; ``retry_after`` is in seconds."""

    status, code = 503, "ServiceUnavailableException"
    retry_after = 1
