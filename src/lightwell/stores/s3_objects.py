"""Objects of an S3 bucket, by obstore; being built."""

from __future__ import annotations

from lightwell.stores.objects import Objects


def open_s3(bucket: str, prefix: str, *, endpoint_url: str | None, region: str) -> Objects:
    raise NotImplementedError(f"s3://{bucket}/{prefix} at {endpoint_url or region}")
