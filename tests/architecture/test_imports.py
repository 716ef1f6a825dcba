"""The house, as data: who may import whom, and what may be done where."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from tests.architecture.imports import Module, modules

# A room may import these rooms, or these modules of one, besides itself.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "clock": set(),
    "framing": set(),
    "setting_checks": {"setting_values"},
    "setting_file": set(),
    "setting_urls": set(),
    "setting_values": set(),
    "process_death": set(),
    "process_memory": set(),
    "setting_groups": set(),
    "settings": {"setting_checks", "setting_file", "setting_groups", "setting_values"},
    "domain": set(),
    "wire": set(),
    "observe": set(),
    "imaging": {"domain"},
    "sealing": set(),
    "stores": {"domain", "sealing"},
    "auth": {
        *("stores.account.principals", "stores.account.roles", "stores.account.tags"),
        *("stores.data_folder.create_once", "domain.arn", "domain.imports.bucket_rights", "domain.recent"),
    },
    "ingest": {"domain", "imaging", "stores"},
    "documents": {"domain", "imaging", "stores"},
    "codec_pool": {"ingest", "domain", "imaging", "sealing", "stores"},
    "operations": {
        *("wire.shapes", "documents", "ingest", "domain", "imaging", "stores"),
        *(
            "sealing.providers.interface",
            "codec_pool.client",
            "codec_pool.requests",
            "codec_pool.render_requests",
        ),
    },
    "work": {"sealing.providers.interface", "codec_pool", "ingest", "stores", "domain", "imaging"},
    "web": {"operations", "documents", "auth", "wire", "observe", "domain.recent"},
}
EVERYTHING = {"app", "cli", "__main__"}
EVERYBODY_MAY = {"errors", "framing", "process_death", "process_memory", "setting_urls", ""}
ABOVE_DOMAIN = {"imaging", "stores", "auth", "ingest", "documents", "codec_pool", "operations", "work", "web"}
FROM_INGEST_UP = ABOVE_DOMAIN - {"imaging", "stores", "auth"}
NOBODY_MAY = {"web", "cli", "app"}

# Third-party packages that stay at home; some have two.
HOMES: dict[str, set[str]] = {
    "imaging": {
        "pydicom", "imagecodecs", "gdcm", "openjpeg", "pylibjpeg", "jpeg_ls", "rle", "libjpeg", "_openjpeg",
        "ojph",
    },
    "stores": {"sqlalchemy", "alembic", "psycopg", "pgqueuer", "sqlite3", "obstore", "apsw"},
    "web": {"uvicorn", "uvloop", "httptools", "starlette"},
    "auth": {"cryptography"},
    "sealing": {"cryptography"},
}  # fmt: skip

BAD_NAMES = {"utils", "util", "helpers", "common", "base", "manager", "misc", "core"}
GENERATED = {"wire.shapes", "wire.routes"}
LONGEST = 450
MOST_FILES = 20
DECODERS = {f"imaging.pixels.{name}" for name in ("decode", "htj2k", "rle", "lossless_jpeg")}

# Where the time and new ids come from; everybody else is given them.
CLOCK = {
    "time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
    "uuid.uuid1", "uuid.uuid4", "secrets.token_hex", "secrets.token_bytes", "secrets.randbits", "os.urandom",
}  # fmt: skip
# The secret key and that of the audit trail are no ids, nor is the name of a temporary file; the doctor
# examines the clock itself; a data folder is named before there is a clock to ask; the mark of a version
# names nothing, and must be another one even where the same ids are made again.
MAY_MAKE = {
    "clock",
    "sealing.segments",
    "sealing.values",
    "sealing.providers.local_file",
    "auth.secret_box",
    "stores.buckets.local",
    "stores.data_folder.node",
    "stores.data_folder.audit_folder",
    "stores.image_sets.writing",
    "cli.doctor.machine",
    "cli.doctor.network",
}
SQL = re.compile(
    r"\s*(SELECT\s.+|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+TABLE)\b", re.DOTALL
)


def allowed(module: Module, name: str) -> bool:
    room = name.partition(".")[0]
    if module.room in EVERYTHING or room in EVERYBODY_MAY or room == module.room:
        return True
    if room in NOBODY_MAY:
        return False
    if room == "observe" and module.room in ABOVE_DOMAIN:
        return True
    if room in ("clock", "settings") and module.room in FROM_INGEST_UP:
        return True
    may = ROOMS[module.room]
    return room in may or name in may


def dotted(node: ast.AST) -> str:
    """``datetime.now`` of ``datetime.datetime.now``: the last two parts of a chain of attributes."""
    if isinstance(node, ast.Attribute):
        owner = node.value
        last = (
            owner.attr
            if isinstance(owner, ast.Attribute)
            else owner.id
            if isinstance(owner, ast.Name)
            else ""
        )
        return f"{last}.{node.attr}"
    return ""


def nodes() -> Iterator[tuple[Module, ast.AST]]:
    for module in modules():
        for node in ast.walk(module.tree):
            yield module, node


def places(found: Iterator[tuple[Module, int, str]]) -> list[str]:
    return [f"{module.path}:{line}: {what}" for module, line, what in found]


def test_every_room_stands_in_the_table() -> None:
    rooms = {module.room for module in modules()} - {""}
    assert rooms - EVERYTHING <= set(ROOMS)


def test_light_falls_one_way() -> None:
    wrong = (
        (module, line, f"{module.room} may not import {name}")
        for module in modules()
        for name, line in module.inside()
        if not allowed(module, name)
    )
    assert places(wrong) == []


def test_no_circle_anywhere() -> None:
    graph = {module.name: {name for name, _ in module.inside(late=False) if name} for module in modules()}
    # A package's __init__ runs before its modules, and imports of them there are no circle.
    for name in graph:
        graph[name].discard(name)
    packages = {name for name in graph if any(other.startswith(f"{name}.") for other in graph)}
    for name in packages:
        graph[name] -= {other for other in graph if other.startswith(f"{name}.")}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" → ".join(error.args[1])) from None


def test_no_circle_among_folders() -> None:
    """Folders import one another in one direction, too; what a package's __init__ offers lies above its
    files."""
    names = {module.name: module for module in modules()}

    def folder(name: str) -> str:
        is_front = names[name].path.name == "__init__.py" and names[name].tree.body
        return f"{name} (__init__)" if is_front else name.rpartition(".")[0] or name

    graph: dict[str, set[str]] = {}
    for module in modules():
        here = folder(module.name)
        others = {folder(name) for name, _ in module.inside() if name}
        graph.setdefault(here, set()).update(others - {here})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" → ".join(error.args[1])) from None


def test_folders_are_read_at_a_glance() -> None:
    files = Counter(module.path.parent for module in modules() if module.path.name != "__init__.py")
    assert {str(folder): count for folder, count in files.items() if count > MOST_FILES} == {}


def test_decoders_exist() -> None:
    assert {module.name for module in modules()} >= DECODERS


def test_domain_needs_the_standard_library_only() -> None:
    wrong = (
        (module, line, name)
        for module in modules()
        if module.room in ("domain", "errors")
        for name, line in module.outside()
        if name not in sys.stdlib_module_names
    )
    assert places(wrong) == []


def test_packages_stay_at_home() -> None:
    homes: dict[str, set[str]] = {}
    for home, packages in HOMES.items():
        for package in packages:
            homes.setdefault(package, set()).add(home)
    wrong = (
        (module, line, f"{name} belongs into {' or '.join(sorted(homes[name]))}")
        for module in modules()
        for name, line in module.outside()
        if name in homes and module.room not in homes[name]
    )
    assert places(wrong) == []


def test_stored_frames_are_decoded_with_their_checksum_only() -> None:
    """Outside of imaging there is `imaging.pixels.stored_frames.decode_verified`, and nothing that decodes
    without proof."""
    wrong = (
        (module, line, f"{name} decodes without a checksum")
        for module in modules()
        if module.room != "imaging"
        for name, line in module.inside()
        if name in DECODERS
    )
    assert places(wrong) == []


def test_sql_stands_in_stores_only() -> None:
    wrong = (
        (module, node.lineno, node.value[:40])
        for module, node in nodes()
        if module.room != "stores"
        and isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and SQL.match(node.value)
    )
    assert places(wrong) == []


def test_only_settings_reads_the_environment() -> None:
    words = {"os.environ", "os.environb", "os.getenv"}
    wrong = (
        (module, getattr(node, "lineno", 0), dotted(node))
        for module, node in nodes()
        if module.name != "settings" and dotted(node) in words
    )
    assert places(wrong) == []


def test_time_and_new_ids_come_from_the_clock_module() -> None:
    wrong = (
        (module, getattr(node, "lineno", 0), dotted(node))
        for module, node in nodes()
        if module.name not in MAY_MAKE and dotted(node) in CLOCK
    )
    assert places(wrong) == []


def test_files_are_named_after_what_they_hold() -> None:
    wrong = [module.name for module in modules() if BAD_NAMES & set(module.name.split("."))]
    assert wrong == []


def test_files_read_in_one_sitting() -> None:
    long = {
        module.name: count
        for module in modules()
        if module.name not in GENERATED
        and (count := len(module.path.read_text("utf-8").splitlines())) > LONGEST
    }
    assert long == {}
