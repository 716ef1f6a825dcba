"""What an import job does in buckets, to be asked of the role that it names.

Source: aws-doc-sdk-examples, the role of the HealthImaging scenarios (ListBucket, GetObject, PutObject).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

LIST, GET, PUT = "ListBucket", "GetObject", "PutObject"


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that is done: ``verb`` on ``key`` of ``bucket``, or for LIST on the keys that begin with it.

    ``below``: on keys that begin so and are not known yet.
    """

    verb: str
    bucket: str
    key: str
    below: bool = False


class Rights(Protocol):
    """What a role may do in buckets."""

    def refusal(self, access: Access) -> str | None:
        """Why it may not, in a sentence; None if it may."""


def as_folder(prefix: str) -> str:
    """The prefix of the folder that an input URI without a slash at its end may mean."""
    return prefix if prefix.endswith("/") or not prefix else f"{prefix}/"


def unusable(reason: str) -> str:
    """What an application is told where the role that it names cannot be used."""
    return f"dataAccessRoleArn cannot be used for this import. {reason}"


def listing(bucket: str, prefix: str, uri_prefix: str) -> list[Access]:
    """What lets the keys that begin with ``prefix`` be listed: any of these.

    An input URI without a slash at its end may mean the folder of that name; who may list what begins with
    ``uri_prefix``, as it was written, may list the folder in it.
    """
    return [Access(LIST, bucket, each) for each in dict.fromkeys((prefix, uri_prefix))]


def first_refusal(rights: Rights, *either: Access) -> str | None:
    """Why none of these may be done; None if one may."""
    refusals = [rights.refusal(each) for each in either]
    return None if None in refusals else refusals[0]
