"""What a codec worker may reach: only its own folders, unless what it has to read needs more."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lightwell.domain.imports.jobs import InputFile
from lightwell.settings import Settings
from lightwell.stores.buckets.registry import Buckets

# Up to this many inputs are granted one by one; of more, their folders.
_MAX_SINGLE_INPUTS = 64
# A worker that would get more paths than this is started with only those that its next chunk needs.
_MAX_PATHS = 256


@dataclass(frozen=True, slots=True)
class Grants:
    """What a worker may reach besides the data folder and the buckets that are folders in it.

    ``paths``, real ones, may be read. ``far``: what it reads or writes is on S3, which it reaches through the
    engine alone (`codec_pool.far_storage`).
    """

    far: bool = False
    paths: frozenset[str] = frozenset()

    def covers(self, other: Grants) -> bool:
        return (self.far or not other.far) and all(map(self._has, other.paths))

    def joined(self, other: Grants) -> Grants:
        """Both together; only ``other`` where that would be too many paths."""
        paths = self.paths | other.paths
        if len(paths) > max(_MAX_PATHS, len(other.paths)):
            return other
        return Grants(self.far or other.far, paths)

    def _has(self, path: str) -> bool:
        return path in self.paths or any(_is_below(path, place) for place in self.paths)


def of_storage(settings: Settings) -> Grants:
    """What every worker needs."""
    return Grants(far=not settings.storage.startswith("file:"))


def of_files(
    settings: Settings,
    buckets: Buckets,
    bucket: str,
    files: Iterable[InputFile],
    inputs: tuple[str, ...] = (),
) -> Grants:
    """What it takes to read files that are in ``bucket``, or wherever their location says.

    ``inputs``: real paths below which the files that have a path are, except for links that lead elsewhere.
    """
    names = {bucket} - {""}
    paths = set(inputs)
    places = frozenset(inputs)
    folders: dict[str, str] = {}
    for file in files:
        kind = file.location[0] if file.location else ""
        if kind == "s3" and file.location:
            names.add(file.location[1])
        elif kind in ("file", "zip") and file.location:
            real = _real(file.location[1], folders)
            if not any(_is_below(real, place) for place in places):
                paths.add(real.rpartition("/")[0] or "/")
    far = of_storage(settings).far
    root = os.path.realpath(settings.buckets)
    for name in names:
        if not buckets.is_local(name):
            far = True
        elif not _is_below(real := os.path.realpath(f"{settings.buckets}/{name}"), root):
            paths.add(real)
    return Grants(far, frozenset(paths))


def inputs_of(source: bytes | None) -> tuple[str, ...]:
    """The real paths that `lightwell import` was given; for a DICOMDIR its folder, which has the files."""
    if source is None:
        return ()
    paths = [name for name in json.loads(source) if not name.startswith("s3://")]
    return tuple(dict.fromkeys(_places(paths)))


def _places(paths: list[str]) -> Iterator[str]:
    for path in map(Path, paths):
        if path.name.upper() == "DICOMDIR":
            yield os.path.realpath(path.parent)
        elif len(paths) > _MAX_SINGLE_INPUTS and not path.is_dir():
            yield str(Path(os.path.realpath(path)).parent)
        else:
            yield os.path.realpath(path)


def _real(path: str, folders: dict[str, str]) -> str:
    """`os.path.realpath`, with the folders of earlier calls in ``folders``."""
    folder, _, name = path.rpartition("/")
    if Path(path).is_symlink():
        return os.path.realpath(path)
    real = folders.get(folder)
    if real is None:
        real = folders[folder] = os.path.realpath(folder or "/")
    return f"{real.rstrip('/')}/{name}"


def _is_below(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")
