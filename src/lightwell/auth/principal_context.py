"""The condition keys that are the same for every request of one principal, and principals' unique ids.

Sources: IAM User Guide, "AWS global condition context keys" and "IAM identifiers" (unique ids); the table of
``aws:userid`` and ``aws:PrincipalType`` in "IAM policy elements: Variables and tags".
"""

from __future__ import annotations

import base64
import hashlib
from typing import Literal

from lightwell.domain import arn

PrincipalType = Literal["Account", "User", "AssumedRole", "FederatedUser"]
"""The values of ``aws:PrincipalType`` that occur here."""


def root_context(account: str, region: str) -> dict[str, str]:
    """The context of requests signed with the root key."""
    return _context(account, region, arn.root_arn(account), "Account", account)


def user_context(account: str, region: str, name: str) -> dict[str, str]:
    """The context of requests signed with a key made by ``lightwell key create --name NAME``."""
    context = _context(account, region, arn.user_arn(account, name), "User", user_id(account, name))
    return {**context, "aws:username": name}


def session_context(
    account: str, region: str, role: str, session: str, provider: str | None = None
) -> dict[str, str]:
    """The context of requests made with an assumed role; ``aws:PrincipalArn`` is the ARN of the role.

    ``provider`` is the issuer of the OpenID token that the role was taken with, if it was.
    """
    id = f"{role_id(account, role)}:{session}"
    context = _context(account, region, arn.role_arn(account, role), "AssumedRole", id)
    if provider is not None:
        context["aws:federatedprovider"] = arn.oidc_provider_arn(account, provider)
    return context


def federated_context(account: str, region: str, name: str) -> dict[str, str]:
    """The context of requests made with a token of `lightwell token`."""
    user = arn.federated_user_arn(account, name)
    return _context(account, region, user, "FederatedUser", f"{account}:{name}")


def user_id(account: str, name: str) -> str:
    """The unique id of a user; the same name always has the same id."""
    return _id("AIDA", arn.user_arn(account, name))


def role_id(account: str, name: str) -> str:
    """The unique id of a role; the same name always has the same id."""
    return _id("AROA", arn.role_arn(account, name))


def _id(prefix: str, arn: str) -> str:
    return prefix + base64.b32encode(hashlib.sha256(arn.encode()).digest()).decode()[:17]


def _context(account: str, region: str, arn: str, kind: PrincipalType, id: str) -> dict[str, str]:
    return {
        "aws:principalaccount": account,
        "aws:principalarn": arn,
        "aws:principalisawsservice": "false",
        "aws:principaltype": kind,
        "aws:requestedregion": region,
        "aws:resourceaccount": account,
        "aws:userid": id,
        "aws:viaawsservice": "false",
    }
