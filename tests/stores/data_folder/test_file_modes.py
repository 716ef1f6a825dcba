"""What a data folder may hold without being left open: everything that lightwell makes in it."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from lightwell.auth import credentials, secret_box
from lightwell.cli import console_link, running_server
from lightwell.codec_pool import client as pool_client
from lightwell.observe.audit import segments
from lightwell.settings import Settings, load
from lightwell.stores.background import wakeups
from lightwell.stores.data_folder import audit_folder, file_modes, node, process_lock
from lightwell.stores.data_folder.file_owner import untrusted_path
from lightwell.stores.keys import providers

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
FILES = (
    *(credentials.FILE, secret_box.FILE, providers.FILE, audit_folder.KEY_FILE, node.FILE),
    *(process_lock.ENGINE, process_lock.POOL, running_server.LOCK, console_link.FILE),
    *(pool_client.SOCKET, wakeups.SOCKET),
)
"""Those in a data folder; their drafts have a dot before their names and anything behind them."""


def settings_of(data: Path) -> Settings:
    return load({"data": data}, environ={}, file=None)


def fill(data: Path) -> Settings:
    """A data folder that anybody may read, and in it all that the program names below it."""
    settings = settings_of(data)
    folders = (settings.buckets, settings.authorizers, settings.ohif_folder, settings.storage_cache)
    own = ("objects", "documents", "spool", segments.FOLDER, "check-4711", ".ohif-draft")
    for folder in (*folders, *(data / name for name in own)):
        folder.mkdir(parents=True)
        folder.chmod(0o755)
    database = ("lightwell.db", "lightwell.db-wal", "lightwell.db-shm", "lightwell.db.checksums")
    drafts = (
        f".{name}-draft" for name in (secret_box.FILE, providers.FILE, audit_folder.KEY_FILE, node.FILE)
    )
    more = (settings.events.name, ".lightwell.db.1.2.tmp", f"{credentials.FILE}draft", ".consoledraft")
    for name in (*FILES, *database, *drafts, *more, "lightwell.toml"):
        (data / name).write_text("")
        (data / name).chmod(0o644)
    data.chmod(0o755)
    return settings


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_closes_a_folder_that_holds_whatever_lightwell_makes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = fill(data)
    assert file_modes.unknown_names(data) == []
    found = {each.path.name: each.is_restricted for each in file_modes.restrict(settings)}
    assert found["data"] and found["encryption.key"] and found["cache"]
    assert mode(data) == 0o700
    left = {path.name for path in data.iterdir() if mode(path) & 0o077}
    assert left == {"buckets", "authorizers", "ohif", ".ohif-draft", "lightwell.toml"}, "its user's"


def test_closes_what_was_cached(tmp_path: Path) -> None:
    settings = fill(tmp_path / "data")
    cached = settings.storage_cache / "ab" / "blocks"
    cached.parent.mkdir()
    cached.write_bytes(b"pixels")
    cached.chmod(0o644)
    file_modes.restrict_all(settings, [])
    assert (mode(cached), mode(cached.parent)) == (0o600, 0o700)


def test_leaves_a_folder_with_anything_else_and_closes_the_keys_in_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = fill(data)
    (data / "thesis.txt").write_text("mine")
    file_modes.restrict(settings)
    assert file_modes.unknown_names(data) == ["thesis.txt"]
    assert (mode(data), mode(data / "encryption.key")) == (0o755, 0o600)


@as_root
@pytest.mark.parametrize("name", [*FILES, "cache", "ohif"])
def test_trusts_nothing_that_another_user_has_put_there(tmp_path: Path, name: str) -> None:
    settings = fill(tmp_path / "data")
    assert untrusted_path(settings) is None
    path = settings.data.absolute() / name
    shutil.chown(path, "nobody")
    found = untrusted_path(settings)
    assert found is not None and found[0] == path


@as_root
@pytest.mark.parametrize("name", ["buckets", "authorizers"])
def test_lets_others_own_what_is_theirs_but_no_link_to_it(tmp_path: Path, name: str) -> None:
    settings = fill(tmp_path / "data")
    path = settings.data.absolute() / name
    shutil.chown(path, "nobody")
    assert untrusted_path(settings) is None
    path.rmdir()
    path.symlink_to(tmp_path)
    os.chown(path, path.lstat().st_uid or 65534, -1, follow_symlinks=False)
    found = untrusted_path(settings)
    assert found is not None and found[0] == path
