"""What a person who types `lightwell` is told: help, what was meant, and completion in a real shell."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from lightwell.cli.main import VERBS, main, whole_parser


def said(words: list[str], capsys: pytest.CaptureFixture[str], status: int = 2) -> str:
    with pytest.raises(SystemExit) as end:
        main(words)
    shown = capsys.readouterr()
    assert end.value.code == status
    return shown.err if status else shown.out


def test_prints_its_help_if_nothing_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    text = said([], capsys, 0)
    assert all(f"\n    {verb}" in text for verb in VERBS)
    examples = [line.split("   ")[0].split() for line in text.splitlines() if line.startswith("  lightwell ")]
    assert len(examples) >= 4
    for _, verb, *_ in examples:
        assert verb in VERBS


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["serv"], "there is no verb serv; did you mean serve?"),
        (["fly"], "there is no verb fly; choose from serve"),
        (["key", "creat"], "there is no action creat; did you mean create?"),
        (["key"], "an action is missing: create, list, revoke"),
        (["import", "--datstore", "x", "y"], "there is no flag --datstore; did you mean --datastore?"),
        (["import", "x", "--datstore=y"], "there is no flag --datstore; did you mean --datastore?"),
        (["key", "create", "--nmae", "x"], "there is no flag --nmae; did you mean --name?"),
        (["serve", "--wings", "2"], "there is no flag --wings"),
        (["serve", "now"], "'now' is too much"),
        (["serve", "--quotas", "all"], "invalid choice: 'all' (choose from"),
        (["import"], "required: PATH"),
        (["import", "--data"], "--data: expected one argument"),
    ],
)
def test_says_what_was_meant(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(words, capsys)
    assert expected in text
    assert "usage: lightwell" in text and len(text.splitlines()) <= 6


def test_shows_defaults_and_choices_in_every_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = said(["serve", "--help"], capsys, 0)
    for line in (
        "folder for the database, stored objects, buckets and keys [default: lightwell-data]",
        "port to listen on; 0 picks a free one [default: 8085]",
        "maximum bytes that a deflated or zipped file may expand to [default: 16g]",
        "minimum level to log [one of debug, info, warning, error; default: info]",
    ):
        assert line in text
    text = said(["token", "--help"], capsys, 0)
    assert "[default: default]" in text and "at most 12h [default: 8h]" in text


def test_shows_verbose_in_the_help_of_every_action() -> None:
    parsers = list(whole_parser().everything_below())
    assert len(parsers) > 2 * len(VERBS)
    for parser in parsers[1:]:
        assert "--verbose" in parser.format_help(), parser.prog
        assert "[default: None]" not in parser.format_help(), parser.prog


def test_completes_words_in_bash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "a-file.dcm").touch()
    ask = """
    source ./script
    function_of() { complete -p lightwell | sed 's/.*-F \\([^ ]*\\).*/\\1/'; }
    try() {
      COMP_WORDS=("$@") COMP_CWORD=$(( $# - 1 )) COMPREPLY=() COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
      "$(function_of)" lightwell "${@: -1}" "${@: -2:1}"
      echo "${COMPREPLY[*]}"
    }
    """
    cases = {
        ("to",): "token",
        ("datastore", "set"): "set-authorizer",
        ("key", "create", "--na"): "--name",
        ("serve", "--quotas", ""): "off aws",
        ("completion", ""): "bash zsh fish",
        ("import", "a-f"): "a-file.dcm",
        ("config", "show", "--config", "a-f"): "a-file.dcm",
    }
    lines = [shlex.join(["try", "lightwell", *words]) for words in cases]
    done = subprocess.run(
        [bash, "--norc", "-c", ask + "\n".join(lines)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == list(cases.values())


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_writes_completion_for_other_shells(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert "set-authorizer" in text and "lightwell" in text
    program = shutil.which(shell)
    if program is not None:
        (tmp_path / "script").write_text(text)
        assert subprocess.run([program, "-n", str(tmp_path / "script")], timeout=240).returncode == 0
