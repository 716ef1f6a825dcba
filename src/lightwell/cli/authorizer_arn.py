"""The authorizers that a command line can name: ``builtin``, ``none`` or the ARN of a Lambda function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightwell.domain.arn import builtin_authorizer_arn, function_fault, parse_function
from lightwell.errors import ConfigurationError

if TYPE_CHECKING:
    from lightwell.settings import Settings

BUILTIN, NONE = "builtin", "none"
METAVAR = "ARN|builtin|none"
HELP = (
    "what decides about bearer tokens: `builtin` trusts those of `lightwell token`, "
    "the ARN of a Lambda function is answered by its target (`lightwell authorizer`), "
    "`none` accepts no tokens"
)


def authorizer_arn(settings: Settings, text: str) -> str | None:
    """The ``lambdaAuthorizerArn`` that ``text`` means; None for ``none``.

    Raises `ConfigurationError` unless a data store of this account and Region can have it.
    """
    if text == NONE:
        return None
    if text == BUILTIN:
        text = builtin_authorizer_arn(settings.region, settings.account_id)
        if parse_function(text) is None:
            raise ConfigurationError(
                f"The Region {settings.region} cannot have Lambda functions, which a data store names as its "
                "authorizer: set `region` to one such as us-east-1"
            )
        return text
    if (fault := function_fault(text, settings.region, settings.account_id)) is not None:
        raise ConfigurationError(fault)
    return text


def is_builtin(settings: Settings, arn: str | None) -> bool:
    """Whether a data store with this ``lambdaAuthorizerArn`` accepts the tokens of `lightwell token`."""
    return arn == builtin_authorizer_arn(settings.region, settings.account_id)
