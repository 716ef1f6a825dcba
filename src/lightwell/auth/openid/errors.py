"""What AssumeRoleWithWebIdentity says about a token that is not accepted, by the names of AWS STS."""

from __future__ import annotations

from lightwell.errors import ApiError


class WebIdentityError(ApiError):
    """A token is not accepted. ``code`` is the name that STS has for the reason."""


class InvalidIdentityTokenError(WebIdentityError):
    """The token is no genuine token of a trusted provider, or not meant for this server."""

    status, code = 400, "InvalidIdentityToken"


class ExpiredIdentityTokenError(WebIdentityError):
    """The token was good once."""

    status, code = 400, "ExpiredTokenException"


class RejectedClaimError(WebIdentityError):
    """The token is genuine, but lacks something that it must say."""

    status, code = 403, "IDPRejectedClaim"


class ProviderUnreachableError(WebIdentityError):
    """The provider's keys cannot be had now, so nothing is known about the token."""

    status, code = 400, "IDPCommunicationError"
