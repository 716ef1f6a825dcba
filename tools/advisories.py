"""Known vulnerabilities of what is pinned, from a snapshot that needs no network: tools/advisories.json.

Its records are in OSV's format, with where each was read. `python -m tools.advisories` says what they affect
and fails on what is not accepted there with a reason. With OSV's exports (all.zip of PyPI and of npm) it
takes from these every record about a package that is pinned, and keeps what it has about C libraries.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from packaging.version import Version

from tools import sbom
from tools.lock import FOLDER, blocks, normal

ROOT = Path(__file__).resolve().parents[1]
SNAPSHOT = ROOT / "tools" / "advisories.json"
LOCKS = ("console", "tests/browser", "tests/js", "tests/js/openid-provider")

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pinned:
    """A package of ``PyPI`` or ``npm``, or a C library inside a wheel, which OSV files under ``OSS-Fuzz``."""

    ecosystem: str
    name: str
    version: str


def pinned() -> set[Pinned]:
    """Everything that is installed to run, test and release lightwell, and what its console is built from."""
    found = set()
    for path in FOLDER.glob("*.txt"):
        for line in blocks(path.read_text()):
            name, version = line.split(";")[0].split("==")
            found.add(Pinned("PyPI", normal(name), version.strip()))
    for folder in LOCKS:
        for path, stated in json.loads((ROOT / folder / "package-lock.json").read_text())["packages"].items():
            if path:
                found.add(Pinned("npm", path.split("node_modules/")[-1], stated["version"]))
    for inside in sbom.of_wheels(Path(sys.executable)).values():
        for one in inside:
            if "version" in one:
                found.add(Pinned("OSS-Fuzz", one["name"].replace("_", "-"), one["version"].split("/")[0]))
    return found


def order(ecosystem: str, version: str) -> Any:
    """What versions of an ecosystem are compared by."""
    if ecosystem == "PyPI":
        return Version(version)
    numbers, _, before = version.split("+")[0].partition("-")
    return tuple(int(number) for number in re.findall(r"\d+", numbers)), not before


def is_affected(record: Record, package: Pinned) -> bool:
    """Whether OSV's rules say so: a version that is listed, or one within a range of events."""
    for affected in record["affected"]:
        told = affected["package"]
        same = normal(told["name"]) if package.ecosystem == "PyPI" else told["name"]
        if (told["ecosystem"], same) != (package.ecosystem, package.name):
            continue
        if package.version in (version.removeprefix("v") for version in affected.get("versions", ())):
            return True
        here = order(package.ecosystem, package.version)
        for ranges in affected.get("ranges", ()):
            if ranges["type"] in ("ECOSYSTEM", "SEMVER") and _is_within(ranges["events"], package, here):
                return True
    return False


def _is_within(events: Iterable[dict[str, str]], package: Pinned, here: Any) -> bool:
    within = False
    for event in events:
        ((kind, version),) = event.items()
        at = None if version == "0" else order(package.ecosystem, version)
        if kind == "introduced" and (at is None or here >= at):
            within = True
        elif (kind == "fixed" and here >= at) or (kind == "last_affected" and here > at):
            within = False
    return within


def findings(records: Iterable[Record], packages: Iterable[Pinned]) -> set[tuple[str, Pinned]]:
    """The ids of the records with the packages that they affect; withdrawn records affect nothing."""
    by_name: dict[str, list[Pinned]] = {}
    for package in packages:
        by_name.setdefault(package.name, []).append(package)
    return {
        (record["id"], package)
        for record in records
        if "withdrawn" not in record
        for affected in record["affected"]
        if "package" in affected
        for package in by_name.get(normal(affected["package"]["name"]), [])
        + by_name.get(affected["package"]["name"], [])
        if is_affected(record, package)
    }


def take(exports: Iterable[Path], packages: set[Pinned]) -> list[Record]:
    """The records about these packages in OSV's exports."""
    names = {(package.ecosystem, package.name) for package in packages}
    found = {}
    for export in exports:
        with zipfile.ZipFile(export) as archive:
            for member in archive.namelist():
                record = json.loads(archive.read(member))
                for affected in record.get("affected", ()):
                    told = affected.get("package", {})
                    name = normal(told["name"]) if told.get("ecosystem") == "PyPI" else told.get("name")
                    if (told.get("ecosystem"), name) in names:
                        found[record["id"]] = record
    return [found[id] for id in sorted(found)]


def main() -> None:
    snapshot = json.loads(SNAPSHOT.read_text())
    packages = pinned()
    if sys.argv[1:]:
        kept = [
            one for one in snapshot["records"] if one["affected"][0]["package"]["ecosystem"] == "OSS-Fuzz"
        ]
        snapshot["records"] = [*take(map(Path, sys.argv[1:]), packages), *kept]
        snapshot["read"] = date.today().isoformat()
        SNAPSHOT.write_text(json.dumps(snapshot, indent=1, ensure_ascii=False) + "\n")
    accepted = {one["id"] for one in snapshot["accepted"]}
    found = findings(snapshot["records"], packages)
    for id, package in sorted(found, key=lambda pair: (pair[0], pair[1].name)):
        print(f"{'accepted' if id in accepted else 'AFFECTED'}: {id}: {package.name} {package.version}")
    print(f"{len(snapshot['records'])} records, read {snapshot['read']}; {len(packages)} packages")
    sys.exit(any(id not in accepted for id, _ in found))


if __name__ == "__main__":
    main()
