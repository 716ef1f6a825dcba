"""Names of resources: ``arn:aws:medical-imaging:REGION:ACCOUNT:datastore/ID[/imageset/ID]``.

Source: the Service Authorization Reference of medical-imaging, and the pattern of ``Arn`` in the service
model (``imageset`` in lower case here, ``imageSet`` in paths of URLs).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ARN = re.compile(
    r"arn:aws[a-z-]*:medical-imaging:([a-z0-9-]+):([0-9]{12}):datastore/([0-9a-z]{32})(?:/imageset/([0-9a-z]{32}))?"
)


@dataclass(frozen=True, slots=True)
class Resource:
    """What an ARN names: a data store, or an image set in one."""

    region: str
    account: str
    datastore_id: str
    image_set_id: str | None

    @property
    def path(self) -> str:
        """The last part of the ARN, under which tags are stored."""
        path = datastore_path(self.datastore_id)
        return path if self.image_set_id is None else f"{path}/imageset/{self.image_set_id}"


def datastore_path(datastore_id: str) -> str:
    return f"datastore/{datastore_id}"


def datastore_arn(region: str, account: str, datastore_id: str) -> str:
    return f"arn:aws:medical-imaging:{region}:{account}:{datastore_path(datastore_id)}"


def image_set_arn(region: str, account: str, datastore_id: str, image_set_id: str) -> str:
    return f"{datastore_arn(region, account, datastore_id)}/imageset/{image_set_id}"


def parse(text: str) -> Resource | None:
    """The resource that ``text`` names; None if it is not an ARN of this service."""
    match = _ARN.fullmatch(text)
    return None if match is None else Resource(match[1], match[2], match[3], match[4])


def root_arn(account: str) -> str:
    """The principal of the root key."""
    return f"arn:aws:iam::{account}:root"


def user_arn(account: str, name: str) -> str:
    """The principal of an access key made by ``lightwell key create --name NAME``."""
    return f"arn:aws:iam::{account}:user/{name}"


def session_arn(account: str, role_and_session: str) -> str:
    """The principal of temporary credentials; ``role_and_session`` is ``ROLE/SESSION``."""
    return f"arn:aws:sts::{account}:assumed-role/{role_and_session}"


@dataclass(frozen=True, slots=True)
class Function:
    """A Lambda function, or one version or alias of it."""

    region: str
    account: str
    name: str
    qualifier: str | None


# The pattern of ``LambdaArn`` in the service model.
_FUNCTION = re.compile(
    r"arn:(?:aws[a-zA-Z-]*)?:lambda:([a-z]{2}(?:-gov|-isob?)?-[a-z]+-[0-9]):([0-9]{12})"
    r":function:([a-zA-Z0-9_-]+)(?::(\$LATEST|[a-zA-Z0-9_-]+))?"
)


def parse_function(text: str) -> Function | None:
    """The Lambda function that ``text`` names; None if it is not the ARN of one."""
    match = _FUNCTION.fullmatch(text)
    return None if match is None else Function(match[1], match[2], match[3], match[4])


def function_fault(text: str, region: str, account: str) -> str | None:
    """Why data stores of this Region and account cannot name a function; None if they can."""
    function = parse_function(text)
    if function is None:
        return (
            f"{text[:200]!r} is not the ARN of a Lambda function; expected "
            f"arn:aws:lambda:{region}:{account}:function:NAME"
        )
    if (function.region, function.account) != (region, account):
        return (
            f"{text} is in another Region or account than this server ({region}, {account}), so none of its "
            "data stores can use that function"
        )
    return None


BUILTIN_FUNCTION = "lightwell-builtin"
"""The name of the authorizer that is part of the server (`auth.builtin_authorizer`)."""


def builtin_authorizer_arn(region: str, account: str) -> str:
    """What a data store carries as ``lambdaAuthorizerArn`` to accept the tokens of `lightwell token`."""
    return f"arn:aws:lambda:{region}:{account}:function:{BUILTIN_FUNCTION}"


def federated_user_arn(account: str, name: str) -> str:
    """The principal of a token of `lightwell token`: a local user, without an access key or a role."""
    return f"arn:aws:sts::{account}:federated-user/{name}"


def role_arn(account: str, name: str) -> str:
    """A role made by ``lightwell role put NAME``."""
    return f"arn:aws:iam::{account}:role/{name}"


def oidc_provider_arn(account: str, issuer: str) -> str:
    """An OpenID provider, as trust policies name it; ``issuer`` is its URL."""
    return f"arn:aws:iam::{account}:oidc-provider/{issuer.partition('://')[2]}"
