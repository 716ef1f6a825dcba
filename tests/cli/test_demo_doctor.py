"""``lightwell demo`` and ``lightwell doctor``."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lightwell.auth.credentials import read_credentials
from lightwell.cli.server.demo import snippet
from lightwell.codec_pool.sandbox import landlock
from lightwell.settings import load
from tests.cli.running import doctor_here, lightwell

GIVEN = {"LIGHTWELL_ROOT_ACCESS_KEY_ID": "K" * 20, "LIGHTWELL_ROOT_SECRET_ACCESS_KEY": "a secret of theirs"}


def test_demo_checks_every_frame_once() -> None:
    done = lightwell("demo", "--once", timeout=240)
    assert done.status == 0, done
    found = re.search(r"(\d+) frames of (\d+) files read back .*: all match their files exactly", done.out)
    assert found, done.out
    assert (int(found[1]), int(found[2])) == (91, 50)


def test_demo_prints_a_snippet_that_works_as_printed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lightwell.cli.main", "demo", "--data", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None and demo.stderr is not None
        lines: list[str] = []
        try:
            for line in demo.stdout:
                lines.append(line)
                if "Ctrl-C" in line:
                    break
            text = "".join(lines)
            program = text[text.index("import boto3") : text.index("For other AWS clients")]
            done = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, timeout=240
            )
            printed = re.search(r'eval "\$\((?:\S*/)?lightwell (env .+?)\)"', text)
            assert printed, text
            variables = lightwell(*shlex.split(printed[1]))
        finally:
            demo.send_signal(signal.SIGTERM)
            said = text + demo.stderr.read()
            demo.stdout.close()
            demo.stderr.close()
    assert "Yamada^Tarou=山田^太郎=やまだ^たろう" in done.stdout, done.stderr
    assert re.search(r"image/jph \d+ bytes of HTJ2K", done.stdout)
    url = re.search(r'endpoint_url="(.+)"', program)
    assert url and f"AWS_ENDPOINT_URL_MEDICAL_IMAGING={url[1]}" in variables.out, variables
    assert demo.returncode == 0
    assert re.search(rf"^    {re.escape(url[1])}/console/#link=[\w-]{{60,}}$", text, re.MULTILINE)
    key = read_credentials(tmp_path)
    assert key is not None
    assert str(tmp_path / "credentials") in said and key.secret_access_key not in said


def test_demo_leaves_a_root_key_that_the_settings_give_to_the_environment(tmp_path: Path) -> None:
    settings = load({"data": tmp_path}, environ={**GIVEN, "LIGHTWELL_PORT": "8086"})
    text = snippet(settings, "http://127.0.0.1:8086", "a" * 32, "b" * 32)
    assert not any(value in text for value in GIVEN.values())
    assert "AWS_SHARED_CREDENTIALS_FILE" not in text
    assert re.search(r'after eval "\$\((\S*/)?lightwell env .*--port 8086\)"', text)


def test_doctor_finds_nothing_wrong_with_a_fresh_folder(tmp_path: Path) -> None:
    done = lightwell("doctor", "--port", "0", data=tmp_path / "data")
    assert done.status == 0, done.out
    lines = [line for line in done.out.splitlines() if " sandbox " not in line]
    assert all(line.startswith("ok") for line in lines)


def test_doctor_says_what_confines_codec_workers(tmp_path: Path) -> None:
    def says(**environ: str) -> dict[str, Any]:
        rows = lightwell("doctor", "--port", "0", "--json", data=tmp_path / "data", environ=environ).json()
        (found,) = (row for row in rows if row["check"] == "sandbox")
        assert found["ok"]
        return dict(found)

    held = says()
    if held["warning"]:  # the kernel that this runs on
        assert "no seccomp" in held["says"] or "no Landlock" in held["says"]
    else:
        assert f"Landlock (version {landlock.version()})" in held["says"]
    off = says(LIGHTWELL_WORKER_SANDBOX="off")
    assert off["warning"] and "worker_sandbox is off" in off["says"]


@pytest.mark.parametrize(
    ("environ", "check", "words"),
    [
        (
            {"LIGHTWELL_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"},
            "database",
            "LIGHTWELL_DATABASE_URL",
        ),
        ({"LIGHTWELL_STORAGE_URL": "file:///proc/none"}, "storage", "/proc/none"),
    ],
)
def test_doctor_says_what_is_wrong(environ: dict[str, str], check: str, words: str, tmp_path: Path) -> None:
    done = doctor_here("--json", data=tmp_path / "data", environ=environ)
    rows = {row["check"]: row for row in done.json()}
    assert done.status == 1
    assert not rows[check]["ok"]
    assert words in rows[check]["says"]


def test_doctor_closes_secrets_that_others_can_read(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("secret")
    (tmp_path / "credentials").chmod(0o644)
    done = doctor_here(data=tmp_path)
    assert (done.status, f"other users could read {tmp_path / 'credentials'} (mode 0644)" in done.out) == (
        0,
        True,
    )
    assert (tmp_path / "credentials").stat().st_mode & 0o777 == 0o600
