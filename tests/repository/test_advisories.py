"""Nothing that is pinned has a vulnerability that is known here and not accepted with a reason."""

from __future__ import annotations

import json
import re
import sys
import tomllib
import zipfile
from datetime import date
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tools import advisories
from tools.advisories import Pinned, findings, is_affected
from tools.lock import normal

ROOT = Path(__file__).parents[2]
SNAPSHOT = json.loads((ROOT / "tools" / "advisories.json").read_text())
RECORDS = SNAPSHOT["records"]


pinned = cache(advisories.pinned)


def found() -> set[tuple[str, Pinned]]:
    return findings(RECORDS, pinned())


def test_knows_of_no_vulnerability_that_is_not_accepted() -> None:
    accepted = {(one["id"], one["package"]) for one in SNAPSHOT["accepted"]}
    assert {(id, package.name) for id, package in found()} <= accepted, "raise it: make lock ARGS=NAME"


def test_accepts_only_what_is_there_and_says_why() -> None:
    there = {(id, package.name) for id, package in found()}
    if sys.version_info < (3, 12):  # an older imagecodecs, with other libraries
        there |= {
            (one["id"], one["affected"][0]["package"]["name"])
            for one in RECORDS
            if one["affected"][0].get("versions")
        }
    for one in SNAPSHOT["accepted"]:
        assert (one["id"], one["package"]) in there, f"{one['id']} is gone: take it out of what is accepted"
        assert len(one["reason"]) > 20 and date.fromisoformat(one["since"])


def test_allows_no_version_of_what_it_depends_on_that_is_affected() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    floors = set()
    for line in [*project["dependencies"], *project["optional-dependencies"]["demo"]]:
        wanted = Requirement(line)
        (floor,) = [one.version for one in wanted.specifier if one.operator == ">="]
        floors.add(Pinned("PyPI", normal(wanted.name), floor))
    assert findings(RECORDS, floors) == set()


def test_has_records_that_say_what_is_affected_and_where_that_was_read() -> None:
    assert len(RECORDS) > 30 and date.fromisoformat(SNAPSHOT["read"])
    assert len({one["id"] for one in RECORDS}) == len(RECORDS)
    for record in RECORDS:
        assert record["affected"] and record["references"], record["id"]
        for affected in record["affected"]:
            assert affected.get("versions") or affected["ranges"], record["id"]


def record(
    ecosystem: str, name: str, *events: tuple[str, str], versions: tuple[str, ...] = ()
) -> dict[str, object]:
    kind = "SEMVER" if ecosystem == "npm" else "ECOSYSTEM"
    return {
        "id": "X",
        "affected": [
            {
                "package": {"ecosystem": ecosystem, "name": name},
                "ranges": [{"type": kind, "events": [{name: version} for name, version in events]}],
                "versions": list(versions),
            }
        ],
    }


TWICE = [("introduced", "2"), ("fixed", "2.4"), ("introduced", "3"), ("fixed", "3.0.2")]


@pytest.mark.parametrize(
    ("ecosystem", "version", "events", "is_so"),
    [
        ("PyPI", "1.9", [("introduced", "0"), ("fixed", "1.10")], True),
        ("PyPI", "1.10", [("introduced", "0"), ("fixed", "1.10")], False),
        ("PyPI", "1.10rc1", [("introduced", "0"), ("fixed", "1.10")], True),
        ("PyPI", "1.0", [("introduced", "1.1"), ("fixed", "2")], False),
        (
            "PyPI",
            "3.0.1",
            TWICE,
            True,
        ),
        (
            "PyPI",
            "2.9",
            TWICE,
            False,
        ),
        ("PyPI", "2.0", [("introduced", "0"), ("last_affected", "2.0")], True),
        ("PyPI", "2.0.1", [("introduced", "0"), ("last_affected", "2.0")], False),
        ("npm", "0.5.17", [("introduced", "0"), ("fixed", "0.6.0")], True),
        ("npm", "0.6.0-rc.1", [("introduced", "0"), ("fixed", "0.6.0")], True),
        ("npm", "0.10.0", [("introduced", "0"), ("fixed", "0.6.0")], False),
    ],
)
def test_reads_ranges_as_osv_does(
    ecosystem: str, version: str, events: list[tuple[str, str]], is_so: bool
) -> None:
    told = record(ecosystem, "A_b" if ecosystem == "PyPI" else "a-b", *events)
    assert is_affected(told, Pinned(ecosystem, "a-b", version)) == is_so
    assert not is_affected(told, Pinned("npm" if ecosystem == "PyPI" else "PyPI", "a-b", version))
    assert not is_affected(told, Pinned(ecosystem, "a-c", version))


def test_reads_listed_versions() -> None:
    told = record("OSS-Fuzz", "openjpeg", versions=("v2.5.3", "v2.5.4"))
    assert is_affected(told, Pinned("OSS-Fuzz", "openjpeg", "2.5.4"))
    assert not is_affected(told, Pinned("OSS-Fuzz", "openjpeg", "2.5.5"))


def test_leaves_out_what_was_withdrawn() -> None:
    told = record("PyPI", "a", ("introduced", "0"))
    package = Pinned("PyPI", "a", "1")
    assert findings([told], [package]) == {("X", package)}
    assert findings([told | {"withdrawn": "2026-01-01T00:00:00Z"}], [package]) == set()


def test_takes_records_about_what_is_pinned_from_exports(tmp_path: Path) -> None:
    export = tmp_path / "all.zip"
    ours, theirs = record("PyPI", "Num_Py", ("introduced", "0")), record("PyPI", "other", ("introduced", "0"))
    with zipfile.ZipFile(export, "w") as archive:
        archive.writestr("X.json", json.dumps(ours))
        archive.writestr("Y.json", json.dumps(theirs | {"id": "Y"}))
    assert advisories.take([export], {Pinned("PyPI", "num-py", "1")}) == [ours]


def test_looks_at_everything_that_is_pinned() -> None:
    packages = pinned()
    names = {(package.ecosystem, package.name) for package in packages}
    assert {("PyPI", "numpy"), ("PyPI", "uv"), ("npm", "preact"), ("npm", "oidc-provider")} <= names
    assert {("OSS-Fuzz", "openjpeg"), ("OSS-Fuzz", "openssl"), ("OSS-Fuzz", "libjpeg-turbo")} <= names
    assert all(re.search(r"\d", package.version) for package in packages if package.ecosystem != "OSS-Fuzz")
