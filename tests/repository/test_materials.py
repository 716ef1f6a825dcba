"""What lightwell is made of has licences that allow it, and is listed down to the C libraries."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tools import licences, sbom
from tools.lock import blocks

ROOT = Path(__file__).parents[2]


def test_every_package_that_ships_has_a_licence_that_is_allowed() -> None:
    python, console = licences.of_python(), licences.of_console()
    assert [one for one in [*python, *console] if not one.is_allowed] == []
    runtime = blocks((ROOT / "constraints" / "runtime.txt").read_text())
    unconditional = {line.split("==")[0] for line in runtime if ";" not in line}
    assert unconditional <= {one.name for one in python}
    names = {one.name for one in console}
    assert "preact" in names and "@cornerstonejs/core" in names and "typescript" not in names


@pytest.mark.parametrize(
    ("licence", "is_allowed"),
    [
        ("MIT", True),
        ("(WTFPL OR MIT)", True),
        ("MIT AND BSD-3-Clause", True),
        ("GPL-3.0-only", False),
        ("GNU General Public License v3 (GPLv3)", False),
        ("MIT AND GPL-2.0-or-later", False),
        ("MIT OR (Apache-2.0 AND GPL-2.0-only)", False),
        ("(MIT OR Apache-2.0) AND GPL-2.0-only", False),
        ("AGPL-3.0-only", False),
        ("not stated", False),
        ("", False),
    ],
)
def test_allows_what_is_named_and_never_gpl(licence: str, is_allowed: bool) -> None:
    assert licences.Licensed("pypi", "probe", "1", licence).is_allowed == is_allowed


def test_lists_the_c_libraries_that_decode_what_strangers_send() -> None:
    inside = sbom.of_wheels(Path(sys.executable))
    codecs = {one["name"]: one for one in inside["imagecodecs"]}
    assert {"openjpeg", "charls", "openjph", "libjpeg_turbo", "zlib"} <= codecs.keys()
    assert all(one["version"] not in ("", "n/a") for one in codecs.values() if "purl" in one)
    assert {one["name"] for one in inside["cryptography"]} == {"openssl"}
    if sys.platform == "linux":
        assert {one["name"] for one in inside["apsw"]} == {"sqlite"}
        (shared,) = [one for name, one in codecs.items() if name.startswith("libopenjp2")]
        assert len(shared["hashes"][0]["content"]) == 64
    references = [one["bom-ref"] for components in inside.values() for one in components]
    assert len(references) == len(set(references))


def test_lists_what_the_console_is_built_from_with_the_hashes_that_npm_checks() -> None:
    components = sbom.of_console()
    locked = json.loads((ROOT / "console" / "package-lock.json").read_text())["packages"]
    shipped = {
        (path.rsplit("node_modules/", 1)[1], stated["version"])
        for path, stated in locked.items()
        if path and not stated.get("dev")
    }
    assert {(one["name"], one["version"]) for one in components} == shipped
    (preact,) = [one for one in components if one["name"] == "preact"]
    assert preact["hashes"][0]["alg"] == "SHA-512" and len(preact["hashes"][0]["content"]) == 128
