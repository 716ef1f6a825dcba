"""PostgreSQL and SeaweedFS for a scenario: those that the tests start, with nothing else in them."""

from __future__ import annotations

from contextlib import AbstractContextManager

from tests.support import services
from tests.support.services import S3, Unavailable, new_database

__all__ = ["S3", "Unavailable", "new_database", "postgresql", "s3", "s3_settings"]


def postgresql() -> AbstractContextManager[str]:
    """A PostgreSQL server of its own; the URL of an empty database. Raises `Unavailable`."""
    return services.postgres()


def s3() -> AbstractContextManager[S3]:
    """A SeaweedFS server with its S3 gateway. Raises `Unavailable`."""
    return services.seaweedfs()


def s3_settings(endpoint: S3, url: str | None = None) -> dict[str, str]:
    """The environment of a lightwell server with its objects in a new bucket, which ``url`` may lead to."""
    return {
        "LIGHTWELL_STORAGE_URL": f"s3://{services.new_bucket(endpoint)}/objects",
        "LIGHTWELL_STORAGE_ENDPOINT_URL": url or endpoint.url,
        **endpoint.environment,
    }
