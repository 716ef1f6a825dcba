"""``lightwell`` itself, ``env``, ``key`` and ``config``."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightwell import __version__
from lightwell.auth.credentials import read_credentials
from lightwell.auth.principals import Credentials
from lightwell.cli.main import VERBS, main
from lightwell.cli.prefixed_names import named_url
from lightwell.cli.server.serve import prepare
from lightwell.settings import load
from tests.cli.running import lightwell, lightwell_here


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder that was served once."""
    folder = tmp_path / "data"
    assert prepare(load({"data": folder}, environ={}, file=None)) == 0
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


def test_tells_its_version_and_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"lightwell {__version__}\n"
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_explains_every_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    assert f"lightwell {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["fly"], ["serve", "--wings", "2"], ["key"], ["key", "create", "x"]])
def test_ends_with_2_after_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: lightwell" in capsys.readouterr().err


def test_shows_no_stack_trace_unless_asked(data: Path) -> None:
    wrong = ("key", "revoke", "NOSUCHKEY", "--data", str(data))
    done = lightwell(*wrong)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("lightwell: ") and "Traceback" not in done.err
    assert "Traceback" in lightwell(*wrong, "--verbose").err


def test_says_which_setting_was_meant() -> None:
    done = lightwell("config", "show", environ={"LIGHTWELL_DATABSE_URL": "x"})
    assert done.status == 2
    assert "LIGHTWELL_DATABASE_URL" in done.err


def test_ends_quietly_when_nobody_reads_on() -> None:
    command = f"{shlex.quote(sys.executable)} -m lightwell config show --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=240)
    assert done.stderr == ""


def test_shows_each_setting_and_its_source(tmp_path: Path) -> None:
    file = tmp_path / "lightwell.toml"
    file.write_text('region = "eu-west-1"\nport = 1\n')
    file.chmod(0o644)
    done = lightwell(
        *("config", "show", "--json", "--port", "2"),
        environ={"LIGHTWELL_HOST": "::", "LIGHTWELL_SECRET_KEY": "hush"},
    )
    found = done.json()
    assert found["region"] == {"value": "eu-west-1", "source": str(file)}
    assert found["port"] == {"value": "2", "source": "--port"}
    assert found["host"] == {"value": "::", "source": "LIGHTWELL_HOST"}
    assert found["workers"]["source"] == "default"
    assert "hush" not in done.out
    text = lightwell("config", "show", "--port", "2").out
    assert "eu-west-1" in text and "--port" in text


def test_reads_the_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('region = "eu-west-1"\n')
    (tmp_path / "other.toml").chmod(0o600)
    done = lightwell("config", "show", "--json", "--config", "other.toml")
    assert done.json()["region"]["value"] == "eu-west-1"
    assert lightwell("config", "show", "--config", "nowhere.toml").status == 2


def test_points_aws_clients_at_the_server(data: Path) -> None:
    key = read_credentials(data)
    assert key is not None
    done = lightwell("env", "--port", "8090", "--region", "eu-west-1", data=data)
    lines = [shlex.split(line) for line in done.out.splitlines()]
    url = "http://127.0.0.1:8090"
    url = named_url(url) or url
    assert all(word == "export" for word, _ in lines)
    assert dict(setting.split("=", 1) for _, setting in lines) == {
        "AWS_ACCESS_KEY_ID": key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": key.secret_access_key,
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_MEDICAL_IMAGING": url,
        "AWS_ENDPOINT_URL_STS": url,
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
    }
    assert lightwell("env", "--json", data=data).json()["AWS_ACCESS_KEY_ID"] == key.access_key_id


def test_names_an_address_that_a_client_can_reach(data: Path) -> None:
    for host, url in (
        ("0.0.0.0", "http://127.0.0.1:8085"),
        ("::", "http://[::1]:8085"),
        ("a.b", "http://a.b:8085"),
    ):
        done = lightwell("env", "--json", "--host", host, data=data)
        assert done.json()["AWS_ENDPOINT_URL_MEDICAL_IMAGING"] == (named_url(url) or url)


def test_says_that_there_is_no_key_yet(tmp_path: Path) -> None:
    done = lightwell("env", data=tmp_path / "new")
    assert done.status == 1
    assert "lightwell serve" in done.err
    assert not (tmp_path / "new").exists()


def test_creates_lists_and_revokes_keys(data: Path) -> None:
    made = lightwell_here("key", "create", "--name", "ana", "--admin", data=data).json()
    assert sorted(made) == ["accessKeyId", "secretAccessKey"]
    listed = lightwell_here("key", "list", "--json", data=data)
    assert [(key["name"], key["isRoot"]) for key in listed.json()] == [("root", True), ("ana", False)]
    assert made["secretAccessKey"] not in listed.out
    assert made["accessKeyId"] in lightwell_here("key", "list", data=data).out
    assert lightwell_here("key", "revoke", made["accessKeyId"], data=data).status == 0
    assert [key["name"] for key in lightwell_here("key", "list", "--json", data=data).json()] == ["root"]
    assert lightwell_here("key", "revoke", made["accessKeyId"], data=data).status == 1


def test_makes_keys_that_end_and_rotates_root(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for when, shown in (("2999-01-31", "2999-01-31T00:00:00+00:00"), ("2d", None)):
        made = lightwell_here("key", "create", "--admin", "--expires", when, data=data).json()
        keys = lightwell_here("key", "list", "--json", data=data).json()
        end = next(key["expiresAt"] for key in keys if key["accessKeyId"] == made["accessKeyId"])
        assert end == shown if shown else end is not None
    for when, why in (
        ("2001-01-01", "not in the future"),
        ("soon", "such as 90d"),
        ("9999-12-31T23:59:59-12:00", "such as 90d"),
        ("0d", "not in the future"),
    ):
        done = lightwell_here("key", "create", "--admin", "--expires", when, data=data)
        assert (done.status, done.out) == (2, "") and why in done.err
    old = read_credentials(data)
    assert old is not None
    rotated = lightwell_here("key", "rotate", old.access_key_id, data=data).json()
    new = read_credentials(data)
    assert new == Credentials(rotated["accessKeyId"], rotated["secretAccessKey"]) != old
    monkeypatch.setenv("LIGHTWELL_ROOT_ACCESS_KEY_ID", new.access_key_id)
    monkeypatch.setenv("LIGHTWELL_ROOT_SECRET_ACCESS_KEY", "s")
    done = lightwell_here("key", "rotate", new.access_key_id, data=data)
    assert done.status == 2 and "change the settings" in done.err
    assert read_credentials(data) == new


def test_finds_what_to_look_at_among_keys_and_roles(data: Path, tmp_path: Path) -> None:
    nothing = lightwell_here("iam", "check", data=data)
    assert (nothing.status, nothing.out) == (0, "") and "Nothing was found" in nothing.err
    assert lightwell_here("iam", "check", "--json", data=data).json() == []
    made = lightwell_here("key", "create", "--admin", "--name", "boss", data=data).json()["accessKeyId"]
    trust, policy = tmp_path / "trust.json", tmp_path / "policy.json"
    nobody = {"AWS": "arn:aws:iam::000000000000:user/nobody"}
    trust.write_text(
        json.dumps({"Statement": [{"Effect": "Allow", "Principal": nobody, "Action": "sts:AssumeRole"}]})
    )
    policy.write_text(json.dumps({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}))
    lightwell_here("role", "put", "Lost", "--trust-policy", trust, "--policy", policy, data=data)
    found = lightwell_here("iam", "check", "--json", data=data)
    assert found.status == 1
    assert [(each["kind"], each["subject"]) for each in found.json()] == [
        *(
            ("admin-key", made),
            ("endless-key", made),
            ("allows-everything", "Lost"),
            ("untakeable-role", "Lost"),
        )
    ]
    table = lightwell_here("iam", "check", data=data)
    assert table.status == 1 and len(table.out.splitlines()) == 5 and "boss" in table.out
    assert lightwell_here("iam", "check", "--unused-days", "0", data=data).status == 2


@pytest.mark.parametrize("words", [(), ("--admin", "--policy")])
def test_makes_no_key_without_being_told_what_it_may_do(
    words: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}')
    done = lightwell_here("key", "create", *words, *([file] if words else []), data=data)
    assert (done.status, done.out) == (2, "")
    assert "--policy FILE" in done.err and "--admin" in done.err
    assert len(lightwell_here("key", "list", "--json", data=data).json()) == 1


def test_refuses_a_policy_that_will_not_do(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    for text, why in (
        (None, "cannot be read"),
        ("{", "not valid JSON"),
        ('{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*"}]}', "Resource"),
    ):
        if text is not None:
            file.write_text(text)
        done = lightwell_here("key", "create", "--policy", str(file), data=data)
        assert (done.status, done.out) == (2, "")
        assert "policy.json" in done.err
        assert why in done.err
    assert len(lightwell_here("key", "list", "--json", data=data).json()) == 1


def test_makes_no_data_folder_to_look_for_keys(tmp_path: Path) -> None:
    done = lightwell("key", "list", data=tmp_path / "new")
    assert done.status == 1
    assert "lightwell serve" in done.err
    assert not (tmp_path / "new").exists()


def test_does_not_revoke_a_root_key_that_the_settings_would_bring_back(data: Path) -> None:
    given = {"LIGHTWELL_ROOT_ACCESS_KEY_ID": "K" * 20, "LIGHTWELL_ROOT_SECRET_ACCESS_KEY": "s"}
    assert lightwell("key", "revoke", "K" * 20, data=data, environ=given).status == 2


def test_loads_nothing_that_a_server_does_not_need() -> None:
    heavy = (
        "alembic", "boto3", "botocore", "rich", "pydicom", "numpy", "imagecodecs", "psycopg", "obstore",
        "starlette", "structlog", "prometheus_client",
    )  # fmt: skip
    code = (
        "import lightwell.app, lightwell.cli.server.serve, lightwell.web.http1.server, sys; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True
    )
    assert json.loads(done.stdout.replace("'", '"')) == []
