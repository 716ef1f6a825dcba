"""Looks at the S3 buckets of an import before it begins, since its job would wait for them without a word."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lightwell.errors import LightwellError

if TYPE_CHECKING:
    from lightwell.settings import Settings
    from lightwell.stores import Stores
    from lightwell.stores.objects.s3_access import AccessProblem


def check(settings: Settings, stores: Stores, sources: Sequence[str]) -> None:
    """Say within seconds what will keep the import waiting.

    Raises `LightwellError` where waiting will not help: credentials that are missing or wrong, a bucket that
    is missing or closed.
    """
    for problem, is_storage in _problems(settings, stores, sources):
        # A job that finds its input closed fails, but one that finds the storage closed waits.
        if problem.kind == "credentials" or (problem.kind == "bucket" and not is_storage):
            folder = (
                "" if is_storage else f"; there is no folder of that name in {stores.buckets.root} either"
            )
            raise LightwellError(f"{problem.text}{folder}; nothing was imported")
        print(
            f"lightwell: {problem.text}. The import waits, and goes on by itself; Ctrl-C stops it",
            file=sys.stderr,
            flush=True,
        )


def _problems(
    settings: Settings, stores: Stores, sources: Sequence[str]
) -> Iterator[tuple[AccessProblem, bool]]:
    """Each problem, and whether it is that of the storage."""
    remote = [source for source in sources if source.startswith("s3://")]
    if not remote and not settings.storage.startswith("s3://"):
        return
    from lightwell.domain.imports.jobs import split_uri
    from lightwell.stores.objects import s3_access

    found = s3_access.look_at_storage(
        settings.storage, endpoint_url=settings.storage_endpoint_url, region=settings.region
    )
    if found is not None:
        yield found, True
    for bucket, prefix in map(split_uri, remote):
        if stores.buckets.is_local(bucket):
            continue
        found = s3_access.look(bucket, prefix, endpoint_url=settings.s3_endpoint_url, region=settings.region)
        if found is not None:
            yield found, False
