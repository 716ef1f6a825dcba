"""The condition keys that policies may use: the supported ones, with or without values here.

Sources: IAM User Guide, "AWS global condition context keys"; Service Authorization Reference of
medical-imaging, sts, iam (PassRole) and S3 (what an import does). Names of keys, tag keys included, are
case-insensitive.

A *supported* key that is absent from a request behaves as on AWS: most operators do not match it, negated
ones and ``…IfExists`` do. The value of an *unsupported* key cannot be known, so a condition on it is neither
true nor false, and a statement with such a condition never allows anything.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias


class Unknown:
    """The value of a key that has one, when the value itself is not known."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()

Value: TypeAlias = str | tuple[str, ...] | Unknown
Context: TypeAlias = Mapping[str, Value]
"""Key in lower case → its value, or the values of a multivalued key."""

# The same for every request that one principal makes.
STABLE = frozenset(
    {
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalisawsservice",
        "aws:principaltype",
        "aws:requestedregion",
        "aws:resourceaccount",
        "aws:userid",
        "aws:username",
        "aws:viaawsservice",
    }
)
_WITH_VALUES = STABLE | {
    "aws:currenttime",
    "aws:epochtime",
    "aws:federatedprovider",
    "aws:referer",
    "aws:securetransport",
    "aws:sourceip",
    "aws:tagkeys",
    "aws:tokenissuetime",
    "aws:useragent",
    "aws:sourceaccount",
    "aws:sourcearn",
    "iam:passedtoservice",
    "iam:policyarn",
    "medical-imaging:seriesinstanceuid",
    "medical-imaging:studyinstanceuid",
    "s3:prefix",
    "s3:resourceaccount",
    "sts:externalid",
    "sts:rolesessionname",
}
# What these describe does not exist here: multi-factor sign-in, organizations, VPCs, intermediate services.
_WITHOUT_VALUES = frozenset(
    {
        "aws:calledvia",
        "aws:calledviafirst",
        "aws:calledvialast",
        "aws:ec2instancesourceprivateipv4",
        "aws:ec2instancesourcevpc",
        "aws:multifactorauthage",
        "aws:multifactorauthpresent",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:principalservicename",
        "aws:principalservicenameslist",
        "aws:resourceorgid",
        "aws:resourceorgpaths",
        "aws:sourceidentity",
        "aws:sourceorgid",
        "aws:sourceorgpaths",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:vpcsourceip",
        "s3:delimiter",
        "s3:max-keys",
        "s3:x-amz-acl",
        "s3:x-amz-server-side-encryption",
        "sts:sourceidentity",
        "sts:transitivetagkeys",
    }
)
RESOURCE_TAG, REQUEST_TAG = "aws:resourcetag/", "aws:requesttag/"
_TAGS = (RESOURCE_TAG, REQUEST_TAG, "aws:principaltag/")
MULTIVALUED = frozenset(
    {"aws:tagkeys", "aws:calledvia", "aws:principalorgpaths", "aws:principalservicenameslist"}
)
"""Multivalued keys, for use with set operators."""

# Supported keys as the AWS documentation spells them, for suggestions.
_SPELLED = (
    "aws:CurrentTime",
    "aws:EpochTime",
    "aws:MultiFactorAuthPresent",
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:PrincipalOrgID",
    "aws:PrincipalTag/",
    "aws:PrincipalType",
    "aws:Referer",
    "aws:RequestTag/",
    "aws:RequestedRegion",
    "aws:ResourceAccount",
    "aws:ResourceTag/",
    "aws:SecureTransport",
    "aws:SourceAccount",
    "aws:SourceArn",
    "aws:SourceIp",
    "aws:SourceVpc",
    "aws:SourceVpce",
    "aws:TagKeys",
    "aws:TokenIssueTime",
    "aws:UserAgent",
    "aws:ViaAWSService",
    "aws:userid",
    "aws:username",
    "iam:PassedToService",
    "iam:PolicyARN",
    "medical-imaging:SeriesInstanceUID",
    "medical-imaging:StudyInstanceUID",
    "s3:prefix",
    "s3:ResourceAccount",
    "sts:ExternalId",
    "sts:RoleSessionName",
)


# An issuer without its scheme, and the name of a claim, which may contain colons itself.
_CLAIM = re.compile(
    r"(?:(?:[a-z0-9-]+\.)+[a-z0-9-]+|localhost)(?::[0-9]{1,5})?(?:/[^:\s]*)?:[^\s]{1,200}", re.ASCII
)


def is_supported(key: str) -> bool:
    """Whether the key, given in lower case, is supported, even if it never has a value here."""
    return (
        key in _WITH_VALUES
        or key in _WITHOUT_VALUES
        or any(key.startswith(t) and len(key) > len(t) for t in _TAGS)
        or is_claim(key)
    )


def is_claim(key: str) -> bool:
    """Whether the key, given in lower case, is a claim of an OpenID token: ``ISSUER:CLAIM``."""
    return _CLAIM.fullmatch(key) is not None


def claim_context(issuer: str, claims: Mapping[str, object]) -> dict[str, Value]:
    """The claims of a token as condition keys ``ISSUER:CLAIM``, the issuer being without its scheme.

    Sources: IAM User Guide, "Available keys for AWS OIDC federation": ``aud`` is the token's ``azp`` if it
    has one, and ``oaud`` its ``aud``; ``sub`` and ``amr``. All others are an extension: texts, numbers and
    booleans, lists of them, and those in objects under names with dots, such as ``realm_access.roles``.
    """
    context: dict[str, Value] = {}

    def add(name: str, value: object, depth: int) -> None:
        if isinstance(value, dict):
            for inner, each in value.items():
                if depth < 4:
                    add(f"{name}.{inner}", each, depth + 1)
            return
        found = _claim_value(value)
        if found is not None:
            key = f"{issuer}:{name}".lower()
            context[key] = UNKNOWN if key in context else found

    for name, value in claims.items():
        if name not in ("aud", "oaud"):
            add(name, value, 0)
    add("aud", claims.get("azp", claims.get("aud")), 0)
    add("oaud", claims.get("aud"), 0)
    return context


def _claim_value(value: object) -> Value | None:
    if isinstance(value, list):
        found = [_claim_value(each) for each in value]
        return tuple(each for each in found if isinstance(each, str))
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def nearest(key: str) -> str | None:
    """A supported key that ``key`` may be a misspelling of."""
    spelled = {name.lower(): name for name in _SPELLED}
    found = difflib.get_close_matches(key.lower(), spelled, n=1, cutoff=0.8)
    return spelled[found[0]] if found else None


def time_context(now: int) -> dict[str, str]:
    """``aws:CurrentTime`` and ``aws:EpochTime`` at ``now``, milliseconds since the epoch."""
    at = datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"aws:currenttime": at, "aws:epochtime": str(now // 1000)}


def tag_context(prefix: str, tags: Mapping[str, str]) -> dict[str, Value]:
    """The condition keys of tags. Tag keys that differ only in case share one, whose value is unknown."""
    context: dict[str, Value] = {}
    for name, value in tags.items():
        key = prefix + name.lower()
        context[key] = UNKNOWN if key in context else value
    return context


def request_tags(tags: Mapping[str, str]) -> dict[str, Value]:
    """``aws:RequestTag/…`` and ``aws:TagKeys`` of a request that sets tags."""
    return {**tag_context(REQUEST_TAG, tags), **tag_keys(tuple(tags))}


def tag_keys(keys: Sequence[str]) -> dict[str, Value]:
    """``aws:TagKeys`` of a request with these tag keys."""
    return {"aws:tagkeys": tuple(keys)}
