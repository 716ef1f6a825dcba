"""The condition keys that a policy may name: which are filled, which never hold anything, which are unknown.

Sources: IAM User Guide, "AWS global condition context keys"; Service Authorization Reference of
medical-imaging, sts, iam (PassRole) and S3 (what an import does). Names of keys are matched without regard to
case, tag keys included.

A key that is *known* and absent from a request is absent as at AWS: most operators do not match it, negated
ones and ``…IfExists`` do. Nobody here can say what a key holds that is *not known*, so a condition on it
is neither true nor false, and a statement with it never lets anything pass.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias


class Unknown:
    """What a key holds that is known to hold something, but not what."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()

Value: TypeAlias = str | tuple[str, ...] | Unknown
Context: TypeAlias = Mapping[str, Value]
"""Lower-case key → its value, or the values of a key with many."""

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
_FILLED = STABLE | {
    "aws:currenttime",
    "aws:epochtime",
    "aws:referer",
    "aws:securetransport",
    "aws:sourceip",
    "aws:tagkeys",
    "aws:tokenissuetime",
    "aws:useragent",
    "aws:sourceaccount",
    "aws:sourcearn",
    "iam:passedtoservice",
    "medical-imaging:seriesinstanceuid",
    "medical-imaging:studyinstanceuid",
    "s3:prefix",
    "s3:resourceaccount",
    "sts:externalid",
    "sts:rolesessionname",
}
# What they tell of does not exist here: multi-factor sign-in, organisations, VPCs, services in between.
_EMPTY = frozenset(
    {
        "aws:calledvia",
        "aws:calledviafirst",
        "aws:calledvialast",
        "aws:ec2instancesourceprivateipv4",
        "aws:ec2instancesourcevpc",
        "aws:federatedprovider",
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
MANY = frozenset({"aws:tagkeys", "aws:calledvia", "aws:principalorgpaths", "aws:principalservicenameslist"})
"""Keys with any number of values, which a set operator is made for."""

# Keys of ours in the spelling of the documentation, for suggestions.
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
    "medical-imaging:SeriesInstanceUID",
    "medical-imaging:StudyInstanceUID",
    "s3:prefix",
    "s3:ResourceAccount",
    "sts:ExternalId",
    "sts:RoleSessionName",
)


def is_known(key: str) -> bool:
    """Whether it can be said what the key, in lower case, holds, be it nothing."""
    return key in _FILLED or key in _EMPTY or any(key.startswith(t) and len(key) > len(t) for t in _TAGS)


def nearest(key: str) -> str | None:
    """A known key that somebody who wrote ``key`` may have meant."""
    spelled = {name.lower(): name for name in _SPELLED}
    found = difflib.get_close_matches(key.lower(), spelled, n=1, cutoff=0.8)
    return spelled[found[0]] if found else None


def tag_context(prefix: str, tags: Mapping[str, str]) -> dict[str, Value]:
    """The keys of tags. Two tags whose keys differ in case only make one key, whose value nobody can tell."""
    context: dict[str, Value] = {}
    for name, value in tags.items():
        key = prefix + name.lower()
        context[key] = UNKNOWN if key in context else value
    return context


def request_tags(tags: Mapping[str, str]) -> dict[str, Value]:
    """``aws:RequestTag/…`` and ``aws:TagKeys`` of a request that gives tags."""
    return {**tag_context(REQUEST_TAG, tags), **tag_keys(tuple(tags))}


def tag_keys(keys: Sequence[str]) -> dict[str, Value]:
    """``aws:TagKeys`` of a request that names the keys of tags."""
    return {"aws:tagkeys": tuple(keys)}
