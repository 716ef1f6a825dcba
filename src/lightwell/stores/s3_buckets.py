"""A bucket of S3, by obstore; being built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lightwell.errors import InputError


class S3Bucket:
    def __init__(self, name: str, *, endpoint_url: str | None, region: str, no_folder: str) -> None:
        raise InputError(f"The bucket {name} does not exist: {no_folder}")

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        raise NotImplementedError

    def fetch(self, key: str, *, memory_limit: int, spool_dir: Path) -> bytes | Path:
        raise NotImplementedError

    def put(self, key: str, data: bytes) -> None:
        raise NotImplementedError

    def put_file(self, key: str, path: Path) -> None:
        raise NotImplementedError
