"""What a release consists of, as a CycloneDX document: `make sbom` writes dist/lightwell-VERSION.cdx.json.

It is made of the environment that holds what lightwell runs with and nothing else (`make sbom` builds it), of
the console's package-lock.json, and of what no tool sees: the C libraries inside wheels. Those decode what
strangers send, so an advisory about OpenJPEG has to be found in this document. Made twice it is the same.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SPEC = "1.6"

Component = dict[str, Any]


def of_python(interpreter: Path) -> dict[str, Any]:
    """CycloneDX's own tool on that environment: packages, licences, what depends on what."""
    command = [
        str(Path(sys.executable).with_name("cyclonedx-py")),
        *("environment", str(interpreter), "--pyproject", str(ROOT / "pyproject.toml")),
        *(
            "--mc-type",
            "application",
            "--output-format",
            "JSON",
            "--spec-version",
            SPEC,
            "--output-reproducible",
        ),
    ]
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    document: dict[str, Any] = json.loads(made.stdout)
    # pip came with the environment; lightwell does not need it to run.
    document["components"] = [one for one in document["components"] if one["name"] != "pip"]
    version = re.search(r'__version__ = "([^"]+)"', (ROOT / "src/lightwell/__init__.py").read_text())
    assert version is not None
    document["metadata"]["component"]["version"] = version[1]
    return document


def of_console() -> list[Component]:
    """The packages that the console may be built from, with the hashes that npm checks."""
    packages = json.loads((ROOT / "console" / "package-lock.json").read_text())["packages"]
    found: dict[str, Component] = {}
    for path, stated in packages.items():
        if not path or stated.get("dev"):
            continue
        name = re.split(r"(?:^|/)node_modules/", path)[-1]
        purl = f"pkg:npm/{name.replace('@', '%40')}@{stated['version']}"
        algorithm, digest = stated["integrity"].split("-", 1)
        component: Component = {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": stated["version"],
            "purl": purl,
            "scope": "optional" if stated.get("optional") else "required",
            "hashes": [
                {"alg": algorithm.upper().replace("SHA", "SHA-"), "content": base64.b64decode(digest).hex()}
            ],
        }
        if stated.get("license"):
            component["licenses"] = [{"expression": stated["license"]}]
        found[purl] = component
    return [found[purl] for purl in sorted(found)]


_ASK = """
import json, re, imagecodecs, zstandard, psycopg.pq
from cryptography.hazmat.backends.openssl import backend
stated = dict(part.strip().rsplit("-", 1) for part in imagecodecs.version().split(",") if "-" in part)
libpq = psycopg.pq.version()
try:
    import apsw
except ImportError:  # not on Windows
    apsw = None
print(json.dumps({
    "imagecodecs": {name: version for name, version in stated.items() if version != "n/a"},
    "apsw": {"sqlite": apsw.sqlite_lib_version()} if apsw else {},
    "zstandard": {"zstd": ".".join(map(str, zstandard.ZSTD_VERSION))},
    "cryptography": {"openssl": backend.openssl_version_text().split()[1]},
    "psycopg-binary": {"libpq": f"{libpq // 10000}.{libpq % 10000}"},
}))
"""


def of_wheels(interpreter: Path) -> dict[str, list[Component]]:
    """The C libraries in each package: those that it states the versions of, and each shared library that its
    wheel brings along, with its hash."""
    stated = json.loads(subprocess.check_output([str(interpreter), "-c", _ASK], text=True))
    places = json.loads(
        subprocess.check_output(
            [str(interpreter), "-c", "import json, sys; print(json.dumps(sys.path[1:]))"], text=True
        )
    )
    found: dict[str, list[Component]] = {}
    for package in importlib.metadata.distributions(path=places):
        name = package.name
        inside: dict[str, Component] = {}
        for library, version in stated.get(name.lower(), {}).items():
            if library not in (name.lower(), "numpy", "numpy_abi", "cython"):
                purl = f"pkg:generic/{library}@{version.replace('/', '%2F')}"
                inside[purl] = {"name": library, "version": version, "purl": purl}
        for path in package.files or []:
            if path.parts[0].endswith(".libs") and ".so" in path.name:
                digest = hashlib.sha256(Path(str(path.locate())).read_bytes()).hexdigest()
                inside[path.name] = {
                    "name": path.name,
                    "description": f"shared library in the wheel of {name}",
                    "hashes": [{"alg": "SHA-256", "content": digest}],
                }
        if inside:
            found[name] = [
                {"type": "library", "bom-ref": f"{name}:{key}", **inside[key]} for key in sorted(inside)
            ]
    return found


def document(interpreter: Path) -> dict[str, Any]:
    """The whole of it."""
    made = of_python(interpreter)
    named = {one["name"].lower(): one for one in made["components"]}
    edges = {one["ref"]: one for one in made["dependencies"]}
    for name, inside in of_wheels(interpreter).items():
        if name.lower() in named:
            holder = named[name.lower()]["bom-ref"]
            made["components"].extend(inside)
            edge = edges.setdefault(holder, {"ref": holder})
            edge["dependsOn"] = sorted({*edge.get("dependsOn", []), *(one["bom-ref"] for one in inside)})
    console = of_console()
    made["components"].extend(console)
    root = made["metadata"]["component"]["bom-ref"]
    edge = edges.setdefault(root, {"ref": root})
    edge["dependsOn"] = sorted({*edge.get("dependsOn", []), *(one["bom-ref"] for one in console)})
    here = {root, *(one["bom-ref"] for one in made["components"])}
    made["dependencies"] = [
        {**edge, "dependsOn": [ref for ref in edge.get("dependsOn", []) if ref in here]}
        for _, edge in sorted(edges.items())
        if edge["ref"] in here
    ]
    return made


def main() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    interpreter = Path(sys.argv[1]).absolute()
    made = document(interpreter)
    text = json.dumps(made, indent=1, sort_keys=True) + "\n"
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault is not None:
        raise SystemExit(f"tools/sbom.py: this is no valid CycloneDX {SPEC}: {fault}")
    target = ROOT / "dist" / f"lightwell-{made['metadata']['component']['version']}.cdx.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)
    print(f"{target.relative_to(ROOT)}: {len(made['components'])} components")


if __name__ == "__main__":
    main()
