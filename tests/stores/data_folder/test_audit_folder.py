from __future__ import annotations

from pathlib import Path

import pytest

from lightwell.errors import ConfigurationError
from lightwell.observe.audit.chain import Chain
from lightwell.observe.audit.record import AuditRecord
from lightwell.observe.audit.verification import verify
from lightwell.stores.data_folder.audit_folder import AuditFolder


def test_makes_a_key_of_its_owner_once(tmp_path: Path) -> None:
    folder = AuditFolder(tmp_path, None)
    keys = folder.ensure_keys()
    assert (tmp_path / "audit.key").stat().st_mode & 0o777 == 0o600
    assert folder.ensure_keys() == folder.keys() == keys
    other = tmp_path / "other"
    other.mkdir()
    assert AuditFolder(other, None).ensure_keys() != keys


def test_makes_no_other_key_for_a_trail_that_is_there(tmp_path: Path) -> None:
    folder = AuditFolder(tmp_path, None)
    chain = Chain(folder.chain("cli", lambda: 17))
    chain.append([AuditRecord(via="cli")])
    chain.close()
    key = (tmp_path / "audit.key").read_bytes()
    (tmp_path / "audit.key").unlink()
    with pytest.raises(ConfigurationError, match="Put it back from a copy"):
        folder.chain("http-0", lambda: 17)
    assert not (tmp_path / "audit.key").exists()
    (tmp_path / "audit.key").write_bytes(key)
    assert [found.findings for found in verify(folder.root, folder.keys(), {})] == [[]]


def test_a_file_of_keys_that_the_settings_name_must_be_there(tmp_path: Path) -> None:
    place = tmp_path / "keys"
    folder = AuditFolder(tmp_path, place)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        folder.ensure_keys()
    place.write_text(f"{'ab' * 32}\n")
    assert folder.ensure_keys().keys == (bytes.fromhex("ab" * 32),)
    assert not (tmp_path / "audit.key").exists()
