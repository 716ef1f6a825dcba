"""Settings: where they come from, and what a wrong one is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightwell import settings
from lightwell.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


def write(folder: Path, text: str) -> Path:
    path = folder / "lightwell.toml"
    path.write_text(text)
    path.chmod(0o644)
    return path


def give(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file, or a symbolic link, one of another user than who runs this."""
    if os.geteuid() == 0:
        os.lchown(path, 65_534, 65_534)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: path.lstat().st_uid + 1)


def test_takes_flags_before_environment_before_file_before_defaults(tmp_path: Path) -> None:
    file = write(tmp_path, 'port = 1\nregion = "eu-west-1"\naccount_id = "111122223333"\n')
    loaded = settings.load(
        {"port": 3}, environ={"LIGHTWELL_PORT": "2", "LIGHTWELL_REGION": "us-west-2"}, file=file
    )
    assert (loaded.port, loaded.region, loaded.account_id) == (3, "us-west-2", "111122223333")
    assert loaded.sources == {"port": "--port", "region": "LIGHTWELL_REGION", "account_id": str(file)}
    assert loaded.host == "127.0.0.1"


def test_ignores_flags_that_were_not_given() -> None:
    assert settings.load({"port": None}, environ={}).port == 8085


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"LIGHTWELL_PROT": "1"}, "did you mean LIGHTWELL_PORT"),
        ({"LIGHTWELL_QWERTZ": "1"}, "lightwell config show"),
        ({"LIGHTWELL_PORT": "x"}, "whole number"),
        ({"LIGHTWELL_PORT": "-1"}, "whole number"),
        ({"LIGHTWELL_PORT": "70000"}, "65535"),
        ({"LIGHTWELL_ACCOUNT_ID": "12"}, "12 digits"),
        ({"LIGHTWELL_REGION": "Mars!"}, "us-east-1"),
        ({"LIGHTWELL_LOG_LEVEL": "loud"}, "debug or info"),
        ({"LIGHTWELL_DATABASE_URL": "mysql://x"}, "postgresql://"),
        ({"LIGHTWELL_STORAGE_URL": "ftp://x"}, "s3://"),
        ({"LIGHTWELL_ROOT_ACCESS_KEY_ID": "AKIDEXAMPLEEXAMPLE12"}, "root_secret_access_key"),
        ({"LIGHTWELL_TLS_CERT": "a.pem"}, "tls_key"),
        ({"LIGHTWELL_WORKER_MEMORY": "1m"}, "256m"),
    ],
)
def test_refuses_what_it_cannot_use_and_says_what_it_takes(environ: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        settings.load(environ=environ)


def test_refuses_an_unknown_key_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean workers"):
        settings.load(environ={}, file=write(tmp_path, "worker = 1"))


def test_refuses_a_file_of_which_it_would_read_a_part(tmp_path: Path) -> None:
    path = write(tmp_path, "port = 1\n" + "#" * (1 << 20) + "\nhost = 'h'\n")
    with pytest.raises(ConfigurationError, match="longer than a megabyte"):
        settings.load({}, environ={}, file=path)


def test_refuses_a_file_that_is_not_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        settings.load(environ={}, file=write(tmp_path, "port 1"))


def test_reads_sizes_with_units() -> None:
    loaded = settings.load(environ={"LIGHTWELL_WORKER_MEMORY": "512m", "LIGHTWELL_IMPORT_MAX_BYTES": "2GiB"})
    assert (loaded.worker_memory, loaded.import_max_bytes) == (512 << 20, 2 << 30)


def test_turns_quotas_aws_into_limits_that_a_setting_of_their_own_overrides() -> None:
    loaded = settings.load(environ={"LIGHTWELL_QUOTAS": "aws", "LIGHTWELL_IMPORT_MAX_FILES": "7"})
    assert (loaded.import_max_files, loaded.import_max_bytes) == (7, 10 << 30)
    assert settings.load(environ={}).import_max_files == 0


def test_masks_secrets_and_passwords_in_urls() -> None:
    assert settings.masked("root_secret_access_key", "wJalr") == "********"
    assert settings.masked("database_url", "postgresql://u:p@h/d") == "postgresql://u:********@h/d"
    assert settings.masked("port", 1) == "1"


def test_has_reference_pages_that_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "reference.py", "--check"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("mode", [0o646, 0o664])
@pytest.mark.parametrize("is_named", [True, False])
def test_refuses_a_file_that_others_may_write(
    mode: int, is_named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "port = 1")
    file.chmod(mode)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=f"chmod go-w {file}"):
        settings.load(environ={}, file=file if is_named else None)


@pytest.mark.parametrize("is_named", [True, False])
def test_refuses_a_file_of_another_user(
    is_named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "port = 1")
    give(file, monkeypatch)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=f"{file} belongs to user"):
        settings.load(environ={}, file=file if is_named else None)


def test_refuses_another_users_link_to_a_file_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = write(tmp_path, "port = 1").rename(tmp_path / "elsewhere.toml")
    link = tmp_path / "lightwell.toml"
    link.symlink_to(target)
    monkeypatch.chdir(tmp_path)
    loaded = settings.load(environ={})
    assert (loaded.port, loaded.file) == (1, link)
    if os.geteuid() != 0:
        pytest.skip("only root can give a link away and keep its target")
    give(link, monkeypatch)
    with pytest.raises(ConfigurationError, match=f"{link} belongs to user 65534"):
        settings.load(environ={})


def test_waits_for_no_pipe_that_nobody_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "lightwell.toml", 0o600)
    monkeypatch.chdir(tmp_path)
    assert settings.load(environ={}).port == 8085


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("On", True), ("no", False), ("0", False)]
)
def test_takes_a_setting_that_is_true_or_false(text: str, value: bool, tmp_path: Path) -> None:
    assert settings.load(environ={"LIGHTWELL_INSECURE_HTTP": text}).insecure_http is value
    file = write(tmp_path, f"insecure_http = {str(value).lower()}")
    assert settings.load(environ={}, file=file).insecure_http is value


def test_takes_no_word_for_true_that_may_not_mean_it() -> None:
    with pytest.raises(ConfigurationError, match="true or false"):
        settings.load(environ={"LIGHTWELL_INSECURE_HTTP": "maybe"})
