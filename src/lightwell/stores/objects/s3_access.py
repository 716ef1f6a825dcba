"""A short look at a bucket of S3, so that credentials and addresses that do not work are told at once.

What needs the bucket then waits and tries again for as long as it takes, as it has to during an outage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from lightwell.errors import InputError, StorageError
from lightwell.stores.objects import s3_client


@dataclass(frozen=True, slots=True)
class AccessProblem:
    """Why a bucket cannot be used, as a sentence without its full stop; it names the endpoint.

    ``kind``: S3 refuses the ``credentials``, or there are none; it refuses the ``bucket``, or does not have
    it; or it ``may pass``.
    """

    kind: Literal["credentials", "bucket", "may pass"]
    text: str


def look(bucket: str, prefix: str, *, endpoint_url: str | None, region: str) -> AccessProblem | None:
    """List the first objects below ``prefix``: what is wrong, None if nothing is. Takes some seconds."""
    import obstore

    store = s3_client.open_bucket(bucket, endpoint_url=endpoint_url, region=region, patience="brief")
    try:
        next(iter(obstore.list(store, prefix.rpartition("/")[0] or None, chunk_size=1)), None)
        return None
    except RuntimeError:
        raise
    except Exception as error:
        explained = s3_client.explain(error, f"s3://{bucket}/{prefix}".rstrip("/"))
        text = f"{str(explained).rstrip('.')} ({f'endpoint {endpoint_url}' if endpoint_url else 'AWS S3'})"
        if s3_client.concerns_credentials(error) and type(explained) in _FOR_GOOD:
            return AccessProblem("credentials", text)
        return AccessProblem("bucket" if isinstance(explained, InputError) else "may pass", text)


# Expired sessions and clocks are `StorageUnavailableError`.
_FOR_GOOD = (StorageError, s3_client.MissingCredentialsError)


def look_at_storage(url: str, *, endpoint_url: str | None, region: str) -> AccessProblem | None:
    """The same for the storage of frames, ``s3://BUCKET/PREFIX``; None for one that is a folder."""
    parts = urlsplit(url)
    if parts.scheme != "s3":
        return None
    prefix = parts.path.strip("/")
    return look(parts.netloc, f"{prefix}/" if prefix else "", endpoint_url=endpoint_url, region=region)
