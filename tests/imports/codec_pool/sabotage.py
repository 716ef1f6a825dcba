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


def hurry_at(files: Collection[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of time counts for the files of these numbers alone: a busy machine delays the others."""
    start = WorkerSlot.__init__

    def patient(slot: WorkerSlot, settings: Any, stores: Any, limit: TimeLimit, **more: Any) -> None:
        start(
            slot, settings, stores, lambda task, file: limit(task, file) if file in files else 600.0, **more
        )

    monkeypatch.setattr(WorkerSlot, "__init__", patient)
