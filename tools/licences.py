"""What lightwell and its console are made of, and under which licences; fails on one that is not allowed.

`make licences` prints the report. What is looked at: the packages of constraints/runtime.txt as they are
installed beside this interpreter, and the console's packages that are no development dependencies, as its
package-lock.json states them. A licence is named by SPDX; older packages say it in a classifier or in words,
which a table translates.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.lock import blocks

ROOT = Path(__file__).resolve().parents[1]

ALLOWED = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC-BY-4.0", "CC0-1.0", "ISC"),
        *("LGPL-3.0-only", "MIT", "MIT-0", "MPL-2.0", "OFL-1.1", "PSF-2.0", "Python-2.0", "Zlib"),
    }
)
"""Never GPL or AGPL. LGPL is psycopg, a library of its own that anybody may exchange; MPL asks for the source
of its own files, which are not changed here."""

_WORDS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
}

_READ_BY_HAND = {
    ("pypi", "apsw"): "MIT",  # "any-OSI": whichever licence of OSI's whoever uses it chooses
    ("npm", "rechoir"): "MIT",  # LICENSE of 0.6.2; its package.json has an older form
}


@dataclass(frozen=True, slots=True)
class Licensed:
    """A package, of ``pypi`` or ``npm``, with its SPDX expression, or with what it says in its place."""

    kind: str
    name: str
    version: str
    licence: str

    @property
    def is_allowed(self) -> bool:
        """Whether all licences of `A AND B`, or one of `A OR B`, are allowed; mixtures are refused."""
        text = self.licence.strip()
        if text.startswith("(") and text.endswith(")"):
            text = text[1:-1]
        if " AND " in text:
            return all(one.strip() in ALLOWED for one in text.split(" AND "))
        return any(one.strip() in ALLOWED for one in text.split(" OR "))


def of_python() -> list[Licensed]:
    """The packages of constraints/runtime.txt that are installed here, at the versions that are."""
    found = []
    for line in blocks((ROOT / "constraints" / "runtime.txt").read_text()):
        name = line.split("==")[0]
        try:
            about = importlib.metadata.metadata(name).json
        except importlib.metadata.PackageNotFoundError:
            continue  # its marker says: not on this platform
        stated = _READ_BY_HAND.get(("pypi", name)) or str(about.get("license_expression") or "")
        if not stated:
            classified = [
                one.rsplit(" :: ", 1)[1]
                for one in about.get("classifier") or []
                if one.startswith("License :: ") and one.count(" :: ") > 1
            ]
            words = classified or [str(about.get("license") or "").strip().split("\n")[0]]
            # Of several classifiers nobody says whether they are a choice: all of them have to be allowed.
            stated = " AND ".join(_WORDS.get(word, word) for word in words) or "not stated"
        found.append(Licensed("pypi", name, str(about["version"]), stated))
    return sorted(set(found), key=lambda one: one.name)


def of_console() -> list[Licensed]:
    """The packages that the console may be built from."""
    packages = json.loads((ROOT / "console" / "package-lock.json").read_text())["packages"]
    found = set()
    for path, stated in packages.items():
        if path and not stated.get("dev"):
            name = re.split(r"(?:^|/)node_modules/", path)[-1]
            licence = stated.get("license") or _READ_BY_HAND.get(("npm", name), "not stated")
            found.add(Licensed("npm", name, stated["version"], licence))
    return sorted(found, key=lambda one: (one.name, one.version))


def main() -> None:
    refused = []
    print("| package | version | licence |\n|---|---|---|")
    for one in [*of_python(), *of_console()]:
        print(f"| {one.kind}: {one.name} | {one.version} | {one.licence} |")
        if not one.is_allowed:
            refused.append(one)
    for one in refused:
        print(f"{one.kind}: {one.name} {one.version} is {one.licence}, which is not allowed", file=sys.stderr)
    sys.exit(bool(refused))


if __name__ == "__main__":
    main()
