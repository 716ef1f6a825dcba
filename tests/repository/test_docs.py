"""The documentation names everything that there is, and leads nowhere that is not."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightwell import settings
from lightwell.cli.main import VERBS
from lightwell.observe.metrics import COUNTERS, GAUGES
from lightwell.wire.routes import ROUTES
from tests.imports.operations.test_events import TABLE

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCE = ROOT / "src" / "lightwell"
CODE = re.compile(r"`([\w/]+\.py)(?::([\w.]+))?`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
CODE_PAGES = [
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs" / "design").glob("*.md")),
]


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def targets(page: Path) -> Iterator[Path]:
    for link in LINK.findall(page.read_text("utf-8")):
        if "://" not in link and not link.startswith("mailto:"):
            yield (page.parent / link).resolve()


def test_names_every_setting() -> None:
    page = text("docs/reference/settings.md")
    for name in settings.FIELDS:
        assert f"| `{name}` | `LIGHTWELL_{name.upper()}` |" in page


def test_names_every_metric() -> None:
    page = text("docs/reference/metrics.md")
    assert [name for name in COUNTERS | GAUGES if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_names_every_verb_and_what_it_takes(verb: str) -> None:
    page = text("docs/reference/commands.md")
    assert f"## `lightwell {verb}`" in page
    parser = argparse.ArgumentParser()
    importlib.import_module(VERBS[verb][0]).add(parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name in action.choices:
                assert f"### `lightwell {verb} {name}" in page
        elif not action.dest.startswith("setting_") and action.dest not in ("help", "config"):
            assert action.help, f"lightwell {verb}: {action.dest} does not say what it is"


def test_names_every_operation() -> None:
    page = text("docs/compatibility.md")
    named = set(re.findall(r"\b\w+\b", page))
    assert set(ROUTES) <= named


def test_names_every_event() -> None:
    page = text("docs/reference/events.md")
    assert [name for name in TABLE if f"`{name}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_what_is_there(page: Path) -> None:
    assert [str(target) for target in targets(page) if not target.exists()] == []


def test_leads_to_every_page_from_the_readme() -> None:
    reached = {ROOT / "README.md"}
    while True:
        linked = {target for page in reached for target in targets(page)}
        below = {page for page in PAGES if page in linked or page.parent in linked}
        if below <= reached:
            break
        reached |= below
    assert [str(page) for page in PAGES if page not in reached] == []


@pytest.mark.parametrize("page", CODE_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_code_that_is_there(page: Path) -> None:
    missing = []
    for file, name in CODE.findall(page.read_text("utf-8")):
        found = [path for path in (SOURCE / file, ROOT / file) if path.is_file()]
        if "/" not in file:
            found += SOURCE.rglob(file)
        texts = [path.read_text("utf-8") for path in found]
        if not any(all(_defines(text, part) for part in name.split(".") if part) for text in texts):
            missing.append(f"{file}:{name}")
    assert missing == []


def _defines(text: str, name: str) -> bool:
    return re.search(rf"\b(def|class) {name}\b|^{name}\b", text, re.MULTILINE) is not None


def section(title: str) -> str:
    return text("ARCHITECTURE.md").partition(f"\n## {title}")[2].partition("\n## ")[0]


def test_names_what_its_instructions_change() -> None:
    """In "How do I add …" each name is defined in a file that its paragraph names, or is an error."""
    missing = []
    for paragraph in section("How do I add").split("\n\n"):
        folders = [path.parent for file, _ in CODE.findall(paragraph) if (path := SOURCE / file).is_file()]
        files = [SOURCE / "errors.py"]
        for file in re.findall(r"`([\w/]+\.py)`", paragraph):
            files += [path / file for path in (SOURCE, ROOT, *folders) if (path / file).is_file()]
        texts = [path.read_text("utf-8") for path in files]
        names = re.findall(r"`([A-Za-z_]\w*)`", paragraph)
        missing += [name for name in names if not any(_defines(each, name) for each in texts)]
    assert missing == []


def test_names_where_the_shapes_of_a_file_are_defined() -> None:
    rows = re.findall(
        r"^([A-Z]\w+)(?:, (\w+))? +(\w[\w/]+\.py) +(\S+)", section("The life of an import"), re.M
    )
    assert len(rows) >= 9
    missing = []
    for shape, second, file, maker in rows:
        defined = (SOURCE / file).read_text("utf-8")
        missing += [name for name in (shape, second) if name and not _defines(defined, name)]
        module, _, function = maker.rstrip(",;").rpartition("/")[2].partition(".")
        makers = [
            path.read_text("utf-8")
            for path in SOURCE.rglob("*.py")
            if path.stem == module or re.search(rf"^class {module}\b", path.read_text("utf-8"), re.M)
        ]
        parts = [] if function == "py" else function.split(".")
        if not any(all(_defines(made, part) for part in parts) for made in makers):
            missing.append(maker)
    assert missing == []
