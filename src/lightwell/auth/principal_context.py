"""What the context of every request says of one principal, and the ids that AWS gives principals.

Source: IAM User Guide, "AWS global condition context keys" and "IAM identifiers" (unique ids); the table of
``aws:userid`` and ``aws:PrincipalType`` in "IAM policy elements: Variables and tags".
"""

from __future__ import annotations

import base64
import hashlib

from lightwell.domain import arn


def root_subject(account: str, region: str) -> dict[str, str]:
    """Who signs with the root key."""
    return _subject(account, region, arn.root_arn(account), "Account", account)


def user_subject(account: str, region: str, name: str) -> dict[str, str]:
    """Who signs with a key made by ``lightwell key create --name NAME``."""
    subject = _subject(account, region, arn.user_arn(account, name), "User", user_id(account, name))
    return {**subject, "aws:username": name}


def session_subject(account: str, region: str, role: str, session: str) -> dict[str, str]:
    """Who has taken a role; ``aws:PrincipalArn`` is the role's own."""
    id = f"{role_id(account, role)}:{session}"
    return _subject(account, region, arn.role_arn(account, role), "AssumedRole", id)


def user_id(account: str, name: str) -> str:
    """The unique id of a user, always the same for a name."""
    return _id("AIDA", arn.user_arn(account, name))


def role_id(account: str, name: str) -> str:
    """The unique id of a role, always the same for a name."""
    return _id("AROA", arn.role_arn(account, name))


def _id(prefix: str, of: str) -> str:
    return prefix + base64.b32encode(hashlib.sha256(of.encode()).digest()).decode()[:17]


def _subject(account: str, region: str, arn: str, kind: str, id: str) -> dict[str, str]:
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
