"""What an import job does in buckets, for which the role that it names needs rights.

Source: aws-doc-sdk-examples, the role of the HealthImaging scenarios (ListBucket, GetObject, PutObject).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

LIST, GET, PUT = "ListBucket", "GetObject", "PutObject"


@dataclass(frozen=True, slots=True)
class Access:
    """One access: ``verb`` on ``key`` of ``bucket``, or for LIST on the keys with that prefix.

    ``below``: on keys with that prefix that are not known yet.
    """

    verb: str
    bucket: str
    key: str
    below: bool = False


class Rights(Protocol):
    """What a role may do in buckets."""

    def refusal(self, access: Access) -> str | None:
        """Why the access is denied, in a sentence; None if it is allowed."""


def as_folder(prefix: str) -> str:
    """The prefix of the folder that an input URI without a trailing slash may mean."""
    return prefix if prefix.endswith("/") or not prefix else f"{prefix}/"


def unusable_role_message(reason: str) -> str:
    """The message for an application that names a role that cannot be used."""
    return f"dataAccessRoleArn cannot be used for this import. {reason}"


def listing_accesses(bucket: str, prefix: str, uri_prefix: str) -> list[Access]:
    """The accesses of which any one lets the keys with ``prefix`` be listed.

    An input URI without a trailing slash may mean the folder of that name; a role that may list the keys with
    ``uri_prefix``, as the URI was written, may list the folder below it.
    """
    return [Access(LIST, bucket, each) for each in dict.fromkeys((prefix, uri_prefix))]


def first_refusal(rights: Rights, *either: Access) -> str | None:
    """Why all of these are denied; None if one is allowed."""
    refusals = [rights.refusal(each) for each in either]
    return None if None in refusals else refusals[0]
