"""A published build of OHIF: fetched by npm or given, checked, and put where `serve` finds it.

Nothing in an archive is believed: only regular files are taken, under their own names below the folder that
holds the viewer, up to a number and a size.
"""

from __future__ import annotations

import base64
import hashlib
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from lightwell.errors import LightwellError
from lightwell.web.pages.ohif import CONFIG, check_folder
from lightwell.web.pages.site_folder import INDEX, MOST_FILES

PACKAGE, VERSION = "@ohif/app", "3.13.2"
INTEGRITY = "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
"""Of the tarball of this version (Subresource Integrity), as npm published it and as the tests use it."""
LARGEST_BYTES = 1 << 30
_NPM_SECONDS = 900
_PIECE = 1 << 20


def fetch(folder: Path) -> Path:
    """The tarball of the published package, fetched by npm into ``folder`` and compared with `INTEGRITY`.

    Raises `LightwellError`.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise LightwellError(
            "There is no npm on this machine to fetch OHIF with. On one that has it run "
            f"`npm pack {PACKAGE}@{VERSION}`, bring the file here, and run `lightwell ohif install FILE`"
        )
    words = [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(
            words, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_NPM_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LightwellError(f"npm did not fetch {PACKAGE}@{VERSION}: {error}") from None
    found = sorted(folder.glob("*.tgz"))
    if done.returncode or len(found) != 1:
        said = done.stderr.strip().splitlines()[-8:]
        raise LightwellError("\n".join([f"npm did not fetch {PACKAGE}@{VERSION}:", *said]))
    if integrity(found[0]) != INTEGRITY:
        raise LightwellError(
            f"What npm fetched is not {PACKAGE}@{VERSION} as it was published: its checksum is another. "
            "Nothing was installed. Look where npm's registry setting leads: `npm config get registry`"
        )
    return found[0]


def integrity(path: Path) -> str:
    """The checksum of a file as npm writes it."""
    digest = hashlib.sha512()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return f"sha512-{base64.b64encode(digest.digest()).decode()}"


def put(source: Path, target: Path) -> int:
    """Put the viewer in ``source``, a folder or a tarball, at ``target``; what was there is replaced.

    Returns how many files it has. If anything is wrong with the source, the target is as before. Raises
    `LightwellError`.
    """
    with _beside(target) as made:
        count = _copy(source, made) if source.is_dir() else _unpack(source, made)
        check_folder(made)
        _replace(made, target)
    return count


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A new folder on the target's file system, removed unless it was moved away."""
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _replace(made: Path, target: Path) -> None:
    if not target.exists():
        made.rename(target)
        return
    if not (target / INDEX).is_file() and any(target.iterdir()):
        raise LightwellError(f"{target} holds something other than OHIF: name another folder, or empty it")
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    try:
        target.rename(old / "viewer")
        try:
            made.rename(target)
        except BaseException:
            (old / "viewer").rename(target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _copy(source: Path, made: Path) -> int:
    root = next(
        (
            place
            for place in (source, source / "dist", source / "package" / "dist")
            if (place / INDEX).is_file() and (place / CONFIG).is_file()
        ),
        source,
    )
    check_folder(root)
    count = size = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not Path(folder, name).is_symlink())
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file():
                continue
            count, size = count + 1, size + path.stat().st_size
            _check_amount(count, size)
            to = made / path.relative_to(root)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
    return count


def _unpack(source: Path, made: Path) -> int:
    try:
        with tarfile.open(source, "r:*") as archive:
            members = _members(archive, source)
            root = _root(members, source)
            for path, member in members.items():
                if not path.is_relative_to(root):
                    continue
                to = made / path.relative_to(root)
                to.parent.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None
                with content, to.open("xb") as stream:
                    shutil.copyfileobj(content, stream, _PIECE)
            return sum(path.is_relative_to(root) for path in members)
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise LightwellError(f"{source} cannot be unpacked: {reason}") from None


def _members(archive: tarfile.TarFile, source: Path) -> dict[PurePosixPath, tarfile.TarInfo]:
    """The regular files in the archive. Raises `LightwellError` for whatever a package does not have."""
    found: dict[PurePosixPath, tarfile.TarInfo] = {}
    size = 0
    for number, member in enumerate(archive, 1):
        _check_amount(number, size := size + max(member.size, 0))
        path = PurePosixPath(member.name)
        is_odd = path.is_absolute() or ".." in path.parts or "\\" in member.name
        is_odd = is_odd or not member.name.isprintable()
        if member.isdir() and not is_odd:
            continue
        if is_odd or not member.isfile() or path in found or member.sparse is not None:
            raise LightwellError(
                f"{source} is no package of OHIF: it holds {member.name!r:.100}, a link, a device or a file "
                "that would lie elsewhere. Nothing was installed"
            )
        found[path] = member
    return found


def _root(members: dict[PurePosixPath, tarfile.TarInfo], source: Path) -> PurePosixPath:
    """The folder in an archive that holds the viewer: the highest with its page and configuration."""
    roots = [path.parent for path in members if path.name == INDEX and path.parent / CONFIG in members]
    if not roots:
        raise LightwellError(
            f"{source} holds no OHIF: no folder in it has {INDEX} and {CONFIG}. What is wanted is what "
            f"`npm pack {PACKAGE}` downloads"
        )
    return min(roots, key=lambda root: len(root.parts))


def _check_amount(count: int, size: int) -> None:
    if count > MOST_FILES or size > LARGEST_BYTES:
        raise LightwellError(
            f"That is no package of OHIF: it has more than {MOST_FILES} files or {LARGEST_BYTES >> 20} MiB. "
            "Nothing was installed"
        )
