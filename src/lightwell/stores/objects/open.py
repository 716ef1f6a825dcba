"""Which storage a URL means: a folder of this machine, or a bucket of S3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from lightwell.errors import ConfigurationError
from lightwell.stores.objects.interface import Objects

if TYPE_CHECKING:
    from lightwell.stores.objects.shared_blocks import SharedBlocks


def local_root(url: str) -> Path | None:
    """The folder of a ``file:///PATH``; None for storage that is no folder."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path:
        return None
    # As it stands if there is such a folder: a person rarely escapes what looks like a path.
    given = Path(url.removeprefix("file://"))
    try:
        is_escaped = "%" in url and not given.exists()
    except OSError:
        is_escaped = False  # a folder above is closed to this user; opening it says more
    return Path(unquote(parts.path)) if is_escaped else given


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Where and how much, in bytes, of what is read from S3 is kept on local disk; who counts that; in what
    memory the processes of a server hand it to one another."""

    root: Path
    limit: int
    count: Callable[[str, str, int], None] | None = None
    shared: SharedBlocks | None = None


def open_objects(
    url: str,
    *,
    endpoint_url: str | None = None,
    region: str = "us-east-1",
    cache: CacheOptions | None = None,
) -> Objects:
    """The storage of ``file:///PATH`` or ``s3://BUCKET/PREFIX``; S3 with the usual ``AWS_…`` variables.

    Without ``cache`` every read of S3 is a request of its own.
    """
    root = local_root(url)
    if root is not None:
        from lightwell.stores.objects.local import LocalObjects

        return LocalObjects(root)
    parts = urlsplit(url)
    if parts.scheme == "s3" and parts.netloc:
        from lightwell.stores.objects.s3 import S3Objects

        bucket, prefix = parts.netloc, parts.path.strip("/")
        if cache is None:
            return S3Objects(bucket, prefix, endpoint_url=endpoint_url, region=region)
        from lightwell.stores.objects.block_cache import BlockCache

        blocks = BlockCache(cache.root, cache.limit, shared=cache.shared)
        return S3Objects(
            bucket, prefix, endpoint_url=endpoint_url, region=region, cache=blocks, count=cache.count
        )
    raise ConfigurationError("LIGHTWELL_STORAGE_URL takes file:///PATH or s3://BUCKET/PREFIX")
