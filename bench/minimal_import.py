"""The least that an import of CT slices has to do, with plain pydicom: the yardstick of CPU time a slice.

    python -m bench.minimal_import FOLDER PROCESSES

Read, parse, convert to JSON, CRC-32, least and greatest value, HTJ2K, decode again and compare, append to a
pack, and every 64 slices one fsync and one SQLite transaction. No server, job, log, grouping or manifest.
Prints one JSON object: ``slices``, ``wall`` (s), ``cpu`` (s of the loop without imports), ``others`` (cores).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import sys
import time
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import imagecodecs
import msgspec
import numpy as np
from isal import isal_zlib
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

from bench.measure.cpu_meter import busy
from bench.workspace import new_folder

BATCH = 64
_INSERT = "INSERT INTO slice VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def convert(data: Dataset) -> dict[str, object]:
    """The attributes by keyword, as JSON can hold them."""
    out: dict[str, object] = {}
    for element in data:
        key = element.keyword or f"{element.tag:08x}"
        out[key] = [convert(item) for item in element.value] if element.VR == "SQ" else _value(element.value)
    return out


def _value(value: object) -> object:
    if isinstance(value, MultiValue | list):
        return [_value(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, int | float) and not hasattr(value, "original_string"):
        return value
    if isinstance(value, PersonName):
        return {"Alphabetic": value.alphabetic}
    return None if value is None else str(value)


def import_files(paths: Sequence[Path], pack: Path, database: Path) -> None:
    """Import the files into one pack, with one transaction a batch."""
    rows: list[tuple[object, ...]] = []
    with sqlite3.connect(database, timeout=30, isolation_level=None) as db, pack.open("wb") as output:
        db.execute("PRAGMA synchronous=FULL")
        for path in paths:
            raw = path.read_bytes()
            stream = BytesIO(raw)
            data = dcmread(stream, stop_before_pixels=True)
            offset = stream.tell() + 12  # explicit VR: tag, VR, two reserved bytes, length
            text = msgspec.json.encode({**convert(data.file_meta), **convert(data)})
            pixels = np.frombuffer(raw, "<i2", offset=offset).reshape(data.Rows, data.Columns)
            checksum = isal_zlib.crc32(pixels)
            low, high = int(pixels.min()), int(pixels.max())
            coded = imagecodecs.htj2k_encode(pixels, reversible=True, tlm=True, tilepart=1)
            if not np.array_equal(imagecodecs.htj2k_decode(coded), pixels):
                raise ValueError(f"{path}: decoded to other pixels")
            place = output.tell()
            output.write(coded)
            rows.append(
                (
                    str(data.SOPInstanceUID),
                    place,
                    len(coded),
                    checksum,
                    low,
                    high,
                    zlib.compress(text, 1),
                    str(path),
                )
            )
            if len(rows) == BATCH:
                _commit(db, output.fileno(), output.flush, rows)
        _commit(db, output.fileno(), output.flush, rows)


def _commit(db: sqlite3.Connection, file: int, flush: object, rows: list[tuple[object, ...]]) -> None:
    assert callable(flush)
    flush()
    os.fsync(file)
    db.execute("BEGIN IMMEDIATE")
    db.executemany(_INSERT, rows)
    db.execute("COMMIT")
    rows.clear()


def run(folder: Path, processes: int) -> dict[str, float]:
    """All files of ``folder``, shared out over ``processes``; what `main` prints."""
    paths = sorted(folder.glob("*.dcm"))
    space = new_folder("minimal-import")
    database = space / "index.db"
    with sqlite3.connect(database) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(
            "CREATE TABLE slice (uid TEXT PRIMARY KEY, place, length, checksum, low, high, record, path)"
        )
    db.close()
    go_read, go_write = os.pipe()
    done_read, done_write = os.pipe()
    pids = []
    for index in range(processes):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                warm = space / f"warm-{index}.db"
                shutil.copy(database, warm)
                import_files(paths[index::processes][:8], space / f"warm-{index}.pack", warm)
                os.write(done_write, b"r" + bytes(15))
                os.read(go_read, 1)
                used = time.process_time()
                import_files(paths[index::processes], space / f"{index}.pack", database)
                os.write(done_write, f"{time.process_time() - used:16.6f}".encode())
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    os.close(done_write)
    for _ in pids:
        os.read(done_read, 16)
    worked, _ = busy()
    own, begun = time.process_time(), time.perf_counter()
    os.write(go_write, b"g" * processes)
    times = [os.read(done_read, 16) for _ in pids]
    wall = time.perf_counter() - begun
    others = busy()[0] - worked - (time.process_time() - own)
    for pid in pids:
        os.waitpid(pid, 0)
    shutil.rmtree(space)
    if not all(times):
        raise RuntimeError("a process of the minimal import died")
    cpu = sum(map(float, times))
    return {"slices": len(paths), "wall": wall, "cpu": cpu, "others": max(0.0, others - cpu) / wall}


def main() -> None:
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
