"""Codec workers with a fault put into them: what a file does to its worker does not go by the clock."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from lightwell.codec_pool.slot import TimeLimit, WorkerSlot

_HANGS = """
    from lightwell.codec_pool.worker import Worker
    read = Worker._read_file
    def hang(worker, task, pipeline, file):
        if file.number in {files!r}:
            time.sleep(600)
        return read(worker, task, pipeline, file)
    Worker._read_file = hang
"""

_FORGES = """
    from lightwell.codec_pool.worker import Worker
    read = Worker._record
    def forge(worker, task, pipeline, file):
        from dataclasses import replace
        record = read(worker, task, pipeline, file)
        return replace(record, **{forged!r}) if "hostile" in file.name else record
    Worker._record = forge
"""

_TRIES = """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # no thread before it is confined
    from lightwell.codec_pool.worker import Worker
    def outcome(attempt):
        try:
            attempt()
        except OSError as error:
            import errno
            return errno.errorcode[error.errno]
        except Exception as error:
            return str(error)
        return "done"
    def tried(worker, task, pipeline, file):
        import json
        from pathlib import Path
        from lightwell.errors import InputError
        objects, pack, name = worker._objects, Path({pack!r}), {name!r}
        attempts = {{
            "remove a pack": pack.unlink,
            "write a pack": lambda: pack.open("r+b"),
            "read a pack": lambda: pack.open("rb"),
            "rename a pack": lambda: pack.rename(worker._spool / "x"),
            "link a pack": lambda: os.link(pack, worker._spool / "x"),
            "put a pack beside it": lambda: pack.with_name("x").open("wb"),
            "have a pack opened": lambda: objects.read(name, 0, 1),
            "have a pack measured": lambda: objects.size(name),
            "keep a pack of another": lambda: worker._sources._far.keep(name),
            "have another upload opened": lambda: worker._sources._far.open_input({others!r}[0]),
            **{{f"read {{path}}": (lambda path=path: open(path, "rb")) for path in {others!r}}},
        }}
        found = {{what: outcome(attempt) for what, attempt in attempts.items()}}
        raise InputError(json.dumps(found).translate({{ord("{{"): "<", ord("}}"): ">"}}))
    Worker._record = tried
"""


def sabotage(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Workers are started with a module in their path that runs the indented ``body`` first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import os, sys, time\nif 'lightwell.codec_pool.worker_main' in sys.orig_argv:\n{body}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))


def hang_at(files: Collection[int], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are never done with the files of these numbers, once they have announced them."""
    sabotage(folder, monkeypatch, _HANGS.format(files=set(files)))


def forge(forged: dict[str, object], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files with "hostile" in their name take their worker over: it says this of them."""
    sabotage(folder, monkeypatch, _FORGES.format(forged=forged))


def break_out(
    pack: Path, name: str, others: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file takes its worker over, which tries to reach what is not its own, and says what came of it.

    ``pack`` is that of another patient, ``name`` its object; the first of the ``others`` is an upload.
    """
    sabotage(folder, monkeypatch, _TRIES.format(pack=str(pack), name=name, others=others))


def hurry_at(files: Collection[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of time counts for the files of these numbers alone: a busy machine delays the others."""
    start = WorkerSlot.__init__

    def patient(slot: WorkerSlot, settings: Any, stores: Any, limit: TimeLimit, **more: Any) -> None:
        start(
            slot, settings, stores, lambda task, file: limit(task, file) if file in files else 600.0, **more
        )

    monkeypatch.setattr(WorkerSlot, "__init__", patient)
