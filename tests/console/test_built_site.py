"""The console as it is committed: its tests pass, it is what its source builds, and the wheel has it."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.javascript import CONSOLE, packages_folder, run, with_packages
from tests.support.server import running

ROOT = Path(__file__).parents[2]
SITE = "lightwell/web/console/site"
MOST_BYTES = 6_000_000
DIFFERS = f"src/{SITE} is not what console/ builds: run `make console` and commit what it writes"

# Packages may have to be installed first, and programs of Node take long beside other tests.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def console(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the console's source, with its packages."""
    return with_packages(CONSOLE, packages_folder(request.config), tmp_path / "console")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def committed() -> dict[str, bytes]:
    """The files of the site in this source tree."""
    found = contents(ROOT / "src" / SITE)
    if "index.html" not in found:
        pytest.fail(f"src/{SITE} is missing: run `make console` and commit what it writes")
    return found


def test_passes_its_own_tests(console: Path) -> None:
    assert "passed" in run(["npx", "vitest", "run", "--no-color"], console)


def test_is_what_its_source_builds(console: Path) -> None:
    run(["npm", "run", "build"], console)
    built = contents(console.parent / "src" / SITE)
    found = committed()
    assert built.keys() == found.keys(), DIFFERS
    assert [name for name in built if built[name] != found[name]] == [], DIFFERS


def test_is_small_and_asks_nobody_else() -> None:
    found = committed()
    assert [name for name in found if name.endswith(".map")] == []
    assert sum(map(len, found.values())) <= MOST_BYTES
    page = found["index.html"].decode()
    assert "<style" not in page and "<script>" not in page and "style=" not in page
    assert "http://" not in page and "https://" not in page
    styles = [data.decode() for name, data in found.items() if name.endswith(".css")]
    assert styles and not any("http://" in text or "https://" in text or "data:" in text for text in styles)


def test_is_in_the_wheel_and_served_from_there(tmp_path: Path) -> None:
    found = committed()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT],
        check=True,
        timeout=900,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = [name for name in archive.namelist() if name.startswith(f"{SITE}/")]
        assert {name.removeprefix(f"{SITE}/"): archive.read(name) for name in packed} == found

    installed = tmp_path / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", installed, wheel], check=True, timeout=900)
    with running(tmp_path / "data", env={"PYTHONPATH": str(installed)}) as server:
        page = server.call("GET", "/console/")
        assert (page.status, page.body) == (200, found["index.html"])
        script = re.findall(r'<script [^>]*src="/console/(assets/[^"]+)"', found["index.html"].decode())[0]
        assert server.call("GET", f"/console/{script}").body == found[script]
        # It is the installed copy that answers, not this source tree.
        (installed / SITE / "index.html").write_text("the installed one")
        assert server.call("GET", "/console/").body == b"the installed one"
