"""Pins everything that pyproject.toml names, with the hashes of its files, in constraints/.

`make lock` keeps the versions that are pinned as far as pyproject.toml allows, `make lock ARGS=--upgrade`
takes the newest of all, `make lock ARGS=NAME` the newest of those named. One set of files serves every Python
and every platform: where they differ, a line has a marker. No file names an index, so an installation asks
whichever its machine is set to; the hashes tell whether it gave what was locked.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "constraints"
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==")
_HOW = """\
# {what}
# Made by `make lock`. To install:
#   pip install --require-hashes --no-deps --only-binary :all: -r constraints/{name}.txt
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """A file of constraints/: what its extras need and the files that it includes do not have."""

    name: str
    what: str
    extras: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    runs: bool = True
    """Whether lightwell itself runs there, so that what it depends on is needed, too."""


LAYERS = (
    Layer("runtime", "What lightwell runs with."),
    Layer(
        "build",
        "What makes a wheel of this source, or installs it as it lies here.",
        ("build-system",),
        runs=False,
    ),
    Layer("demo", "What `make demo` needs.", ("demo", "kms"), ("runtime", "build")),
    Layer("test", "What `make test` needs.", ("demo", "kms", "test"), ("demo",)),
    Layer("fuzz", "What `make fuzz` needs.", ("demo", "kms", "test", "fuzz"), ("test",)),
    Layer("release", "What `make lock`, `make sbom` and `make audit` run.", ("release",), runs=False),
)


def blocks(text: str) -> dict[str, str]:
    """The requirements of such a file, each with its hashes, by its line without them."""
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", "\n" + text):
        if _PIN.match(block):
            found[block.split(" \\\n")[0].strip()] = block.rstrip() + "\n"
    return found


def read(name: str) -> dict[str, str]:
    """What the file of this layer pins, without those that it includes."""
    path = FOLDER / f"{name}.txt"
    return blocks(path.read_text()) if path.exists() else {}


def resolve(requirements: list[str], *, pins: Path, prefer: bool) -> dict[str, str]:
    """What these requirements need, as exact versions with hashes: at the versions of the file `pins`, or
    with `prefer` at those of it that fit, and then written to it."""
    wanted = pins.with_suffix(".in")
    wanted.write_text("\n".join(requirements) + "\n")
    command = [
        *(uv(), "pip", "compile", str(wanted), "--quiet"),
        *("--universal", "--fork-strategy", "requires-python", "--python-version", "3.11"),
        *("--generate-hashes", "--no-header", "--no-annotate"),
        *(("--output-file", str(pins)) if prefer else ("--constraint", str(pins))),
    ]
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if made.returncode:
        raise SystemExit("tools/lock.py: uv found no versions for " + ", ".join(requirements))
    return blocks(pins.read_text() if prefer else made.stdout)


def uv() -> str:
    """The program that resolves: beside this interpreter, as `make lock` has it, or wherever it is."""
    found = shutil.which("uv", path=Path(sys.executable).parent) or shutil.which("uv")
    if found is None:
        raise SystemExit("tools/lock.py: there is no uv: run `make lock`, or pip install uv")
    return found


def lock(*, upgrade: bool, names: frozenset[str]) -> None:
    """Writes every file of constraints/; with `upgrade`, or for these names, at the newest versions."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = {
        **described["project"]["optional-dependencies"],
        "build-system": described["build-system"]["requires"],
    }
    depends = described["project"]["dependencies"]
    kept = {
        line: block
        for layer in LAYERS
        for line, block in read(layer.name).items()
        if not upgrade and normal(line.split("==")[0]) not in names
    }
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder, "pins.txt")
        pins.write_text("".join(kept.values()))
        # One resolution of all of it, so that no package has two versions in these files.
        resolve([*depends, *(line for lines in extras.values() for line in lines)], pins=pins, prefer=True)
        found = {}
        for layer in LAYERS:
            lines = [line for extra in layer.extras for line in extras[extra]]
            found[layer.name] = resolve([*depends, *lines] if layer.runs else lines, pins=pins, prefer=False)
    for layer in LAYERS:
        included = {line for name in whole(layer) - {layer.name} for line in found[name]}
        own = {line: block for line, block in found[layer.name].items() if line not in included}
        head = _HOW.format(what=layer.what, name=layer.name)
        head += "".join(f"-r {name}.txt\n" for name in layer.includes)
        (FOLDER / f"{layer.name}.txt").write_text(head + "".join(own[line] for line in sorted(own)))


def whole(layer: Layer) -> set[str]:
    """The names of this layer and of all that it includes."""
    named = {one.name: one for one in LAYERS}
    return {layer.name}.union(*(whole(named[name]) for name in layer.includes))


def normal(name: str) -> str:
    """A package's name as all spellings of it are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help="packages to take the newest version of")
    parser.add_argument("--upgrade", action="store_true", help="take the newest version of every package")
    arguments = parser.parse_args()
    lock(upgrade=arguments.upgrade, names=frozenset(map(normal, arguments.names)))


if __name__ == "__main__":
    main()
