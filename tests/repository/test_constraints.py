"""constraints/ pins all that is installed, by hash, and says nowhere whence."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from tools.lock import LAYERS, blocks, whole

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAYER = {layer.name: layer for layer in LAYERS}
FILES = sorted((ROOT / "constraints").glob("*.txt"))
VERSIONS = ("3.11", "3.12", "3.13")
SYSTEMS = (("linux", "Linux"), ("darwin", "Darwin"), ("win32", "Windows"))


def here() -> dict[str, str]:
    """What markers ask about on this machine."""
    return {name: str(value) for name, value in default_environment().items()}


def environment(version: str, system: tuple[str, str]) -> dict[str, str]:
    """What markers ask about on that Python and platform."""
    python = {"python_version": version, "python_full_version": f"{version}.1"}
    return {**here(), **python, "sys_platform": system[0], "platform_system": system[1]}


def pins(layer: str, where: dict[str, str]) -> dict[str, Version]:
    """What installing this file would install there."""
    found: dict[str, Version] = {}
    for name in whole(LAYER[layer]):
        for line in blocks((ROOT / "constraints" / f"{name}.txt").read_text()):
            pin = Requirement(line)
            (is_at,) = pin.specifier
            if pin.marker is None or applies(pin.marker, where):
                version = Version(is_at.version)
                assert found.setdefault(canonicalize_name(pin.name), version) == version, line
    return found


def applies(marker: Marker, where: dict[str, str], extra: str = "") -> bool:
    return marker.evaluate({**where, "extra": extra})


def named(layer: str) -> list[Requirement]:
    """What pyproject.toml says that this file is for."""
    extras = {
        **PROJECT["project"]["optional-dependencies"],
        "build-system": PROJECT["build-system"]["requires"],
    }
    lines = PROJECT["project"]["dependencies"] if LAYER[layer].runs else []
    return [
        Requirement(line) for line in [*lines, *(line for one in LAYER[layer].extras for line in extras[one])]
    ]


def test_has_a_file_for_each_thing_that_is_installed_and_no_other() -> None:
    assert [path.stem for path in FILES] == sorted(LAYER)
    extras = {extra for layer in LAYERS for extra in layer.extras}
    assert extras == {*PROJECT["project"]["optional-dependencies"], "build-system"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_names_versions_and_hashes_and_nothing_else(path: Path) -> None:
    lines = path.read_text().splitlines()
    allowed = re.compile(
        r"#.*|-r [a-z]+\.txt|[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+( ; [a-zA-Z0-9_'.<>=! ()]+)? \\"
        r"|    --hash=sha256:[0-9a-f]{64}( \\)?"
    )
    assert [line for line in lines if not allowed.fullmatch(line)] == []
    assert not any("://" in line for line in lines)
    found = blocks(path.read_text())
    assert len(found) == sum("==" in line and not line.startswith("#") for line in lines) > 0
    for line, block in found.items():
        assert "--hash=sha256:" in block and not block.endswith("\\\n"), line


@pytest.mark.parametrize("layer", LAYER)
def test_pins_what_pyproject_allows_on_each_python_and_platform(layer: str) -> None:
    for version in VERSIONS:
        for system in SYSTEMS:
            where = environment(version, system)
            found = pins(layer, where)
            for wanted in named(layer):
                if wanted.marker is None or applies(wanted.marker, where):
                    pinned = found[canonicalize_name(wanted.name)]
                    assert wanted.specifier.contains(pinned, prereleases=True), (wanted, pinned, version)


def test_pins_the_same_packages_on_all_pythons_but_for_one_that_old_ones_lack() -> None:
    linux = SYSTEMS[0]
    old, *newer = (set(pins("test", environment(version, linux))) for version in VERSIONS)
    assert [names - old for names in newer] == [{"ojph"}] * len(newer)
    assert [old - names for names in newer] == [set()] * len(newer)


@pytest.mark.parametrize("layer", ["runtime", "demo", "test"])
def test_leaves_nothing_to_be_fetched_without_a_hash(layer: str) -> None:
    """All that the installed packages say they need is pinned, too: nothing is installed as a dependency."""
    where = here()
    found = pins(layer, where)
    waiting, seen = named(layer), set()
    while waiting:
        wanted = waiting.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in seen or (wanted.marker is not None and not applies(wanted.marker, where)):
            continue
        seen.add(key)
        assert key[0] in found, f"{wanted} is pinned nowhere: make lock"
        for line in importlib.metadata.requires(wanted.name) or []:
            needed = Requirement(line)
            if needed.marker is None or any(
                applies(needed.marker, where, extra) for extra in ("", *wanted.extras)
            ):
                needed.marker = None
                waiting.append(needed)
    assert len(seen) > 20


def wheel(folder: Path) -> Path:
    """A package that is nothing but its name."""
    folder.mkdir()
    path = folder / "lightwell_probe-1-py3-none-any.whl"
    about = "lightwell_probe-1.dist-info"
    files = {
        "lightwell_probe.py": b"",
        f"{about}/METADATA": b"Metadata-Version: 2.1\nName: lightwell-probe\nVersion: 1\n",
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{about}/RECORD,,"]
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(data)}")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{about}/RECORD", "\n".join(record) + "\n")
    return path


def test_installs_what_has_the_hash_and_refuses_anything_else(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT / "tools", project / "tools")
    shutil.copy(ROOT / "pyproject.toml", project)
    (project / "src").mkdir()
    (project / "constraints").mkdir()
    probe = wheel(tmp_path / "wheels")
    digest = hashlib.sha256(probe.read_bytes()).hexdigest()
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    pip = importlib.util.find_spec("pip")
    assert pip is not None and pip.origin is not None
    own = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PIP_")},
        "PYTHONPATH": str(Path(pip.origin).parents[1]),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(probe.parent),
    }

    def install(line: str) -> subprocess.CompletedProcess[str]:
        (project / "constraints" / "runtime.txt").write_text(line + "\n")
        command = [str(project / "tools/venv"), str(folder), "runtime", sys.executable]
        return subprocess.run(command, env=own, capture_output=True, text=True)

    module = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages/lightwell_probe.py"
    for line in ("lightwell-probe==1", "lightwell-probe==1 --hash=sha256:" + "0" * 64):
        refused = install(line)
        assert refused.returncode != 0 and "hash" in refused.stderr.lower(), refused.stderr
        assert not (folder / module).exists() and not (folder / ".runtime").exists()
    done = install(f"lightwell-probe==1 --hash=sha256:{digest}")
    assert done.returncode == 0, done.stderr
    assert (folder / module).exists() and (folder / ".runtime").exists()
