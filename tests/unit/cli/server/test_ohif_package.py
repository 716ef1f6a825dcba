"""Installing OHIF: what is taken of a package, and that nothing in one leads elsewhere."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from lightwell.cli.main import main
from lightwell.cli.server import ohif_package
from lightwell.errors import LightwellError

FILES = {
    "index.html": "<p>",
    "app-config.js": "window.config = {}",
    "assets/a.png": "picture",
    "app.js": "js",
}


def tarball(
    path: Path, *more: tarfile.TarInfo, root: str = "package/dist/", files: dict[str, str] = FILES
) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in {"package/package.json": "{}", **{root + n: t for n, t in files.items()}}.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
        for info in more:
            archive.addfile(info, io.BytesIO(b"x" * info.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_takes_the_viewer_out_of_a_tarball(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tarball(tmp_path / "ohif.tgz")
    data = tmp_path / "data"
    assert main(["ohif", "install", str(source), "--data", str(data)]) == 0
    assert "4 files" in capsys.readouterr().out
    assert names(data / "ohif") == set(FILES)
    assert stat.S_IMODE((data / "ohif" / "index.html").stat().st_mode) == 0o600
    assert listed(data) == ["ohif"]


@pytest.mark.parametrize("inside", ["", "dist", "package/dist"])
def test_takes_it_from_a_folder(tmp_path: Path, inside: str) -> None:
    source = tmp_path / "source"
    for name, text in FILES.items():
        path = source / inside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (source / inside / "link.txt").symlink_to("/etc/passwd")
    (source / inside / "up").symlink_to("..")
    os.mkfifo(source / inside / "pipe")
    assert ohif_package.put(source, tmp_path / "ohif") == 4
    assert names(tmp_path / "ohif") == set(FILES)


def test_replaces_what_was_installed(tmp_path: Path) -> None:
    target = tmp_path / "data" / "ohif"
    ohif_package.put(tarball(tmp_path / "a.tgz", files={**FILES, "old.js": "old"}), target)
    ohif_package.put(tarball(tmp_path / "b.tgz", root="dist/"), target)
    assert names(target) == set(FILES)
    assert listed(target.parent) == ["ohif"]


@pytest.mark.parametrize(
    "odd",
    [
        member("package/dist/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("package/dist/link", tarfile.LNKTYPE, "package/dist/app.js"),
        member("package/dist/device", tarfile.CHRTYPE),
        member("package/dist/pipe", tarfile.FIFOTYPE),
        member("../outside", size=1),
        member("package/dist/../../../outside", size=1),
        member("/tmp/outside", size=1),
        member("package\\..\\outside", size=1),
        member("package/dist/\x1b[2J", size=1),
        member("package/dist/index.html", size=1),  # twice
    ],
)
def test_refuses_what_leads_elsewhere(tmp_path: Path, odd: tarfile.TarInfo) -> None:
    target = tmp_path / "data" / "ohif"
    ohif_package.put(tarball(tmp_path / "good.tgz"), target)
    with pytest.raises(LightwellError, match="Nothing was installed"):
        ohif_package.put(tarball(tmp_path / "odd.tgz", odd), target)
    assert names(target) == set(FILES)
    assert listed(target.parent) == ["ohif"]
    assert listed(tmp_path) == ["data", "good.tgz", "odd.tgz"]


def test_refuses_what_is_no_viewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_text("no tarball")
    (tmp_path / "cut.tgz").write_bytes(tarball(tmp_path / "good.tgz").read_bytes()[:-30])
    (tmp_path / "empty").mkdir()
    for source in ("text", "cut.tgz", "empty"):
        with pytest.raises(LightwellError):
            ohif_package.put(tmp_path / source, tmp_path / "ohif")
    with pytest.raises(LightwellError, match="holds no OHIF"):
        ohif_package.put(tarball(tmp_path / "other.tgz", files={"index.html": ""}), tmp_path / "ohif")
    monkeypatch.setattr(ohif_package, "LARGEST_BYTES", 10)
    with pytest.raises(LightwellError, match="MiB"):
        ohif_package.put(tmp_path / "good.tgz", tmp_path / "ohif")
    assert not (tmp_path / "ohif").exists()


def test_does_not_replace_other_files(tmp_path: Path) -> None:
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "chapter1.txt").write_text("years")
    with pytest.raises(LightwellError, match="something other than OHIF"):
        ohif_package.put(tarball(tmp_path / "good.tgz"), target)
    assert names(target) == {"chapter1.txt"}


def npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program of this name before all others."""
    program = folder / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_compares_what_npm_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tarball(tmp_path / "fetched.tgz")
    npm(tmp_path, monkeypatch, f'test "$1" = pack && cp {source} "$5/ohif-app.tgz"')
    data = tmp_path / "data"
    with pytest.raises(LightwellError, match="its checksum is another"):
        ohif_package.fetch(Path(os.fspath(tmp_path / "bin")))
    monkeypatch.setattr(ohif_package, "INTEGRITY", ohif_package.integrity(source))
    assert main(["ohif", "install", "--data", str(data)]) == 0
    assert names(data / "ohif") == set(FILES)


def test_says_what_npm_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(tmp_path, monkeypatch, "echo 'npm error network' >&2; exit 1")
    with pytest.raises(LightwellError, match="npm error network"):
        ohif_package.fetch(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LightwellError, match="lightwell ohif install FILE"):
        ohif_package.fetch(tmp_path)
