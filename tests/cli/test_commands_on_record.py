"""Every command that reads or writes what is stored, or who may do what, is on record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightwell.cli.command_line import CommandParser
from lightwell.cli.main import whole_parser
from lightwell.cli.server.serve import prepare
from lightwell.cli.trails.start_record import FILE, record_start
from lightwell.clock import Clock
from lightwell.observe.audit.record import AuditRecord
from lightwell.observe.audit.segments import segments
from lightwell.observe.audit.trail import AuditTrail
from lightwell.settings import load
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.db.schema import REVISIONS
from tests.cli.running import lightwell_here
from tests.support.server import until
from tests.unit.web.audit.audited import Kept

ID, FUNCTION = "0" * 32, "arn:aws:lambda:us-east-1:000000000000:function:f"
TRUST = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
RIGHTS = {"Effect": "Allow", "Action": "*", "Resource": "*"}

# What is asked of each, as far as it comes in a place that holds nothing; and what kind of record it leaves.
RECORDED: dict[str, tuple[list[str], str]] = {
    # First, since there has to be a trail.
    "env": ([], "access"),
    "audit query": ([], "access"),
    "audit verify": ([], "system"),
    "authorizer delete": ([FUNCTION], "access"),
    "authorizer list": ([], "access"),
    "authorizer put": (
        [FUNCTION, "https://a.example.org"],
        "access",
    ),
    "console": (["--public-url", "https://pacs.example.org"], "access"),
    "data backup": (["BACKUP"], "read"),
    "data keys list": ([], "access"),
    "data keys rewrap": ([], "access"),
    "data keys rotate": (["other"], "access"),
    "data migrate": ([], "change"),
    "data verify": (["--quick"], "read"),
    "datastore create": (["d"], "access"),
    "datastore delete": (["other"], "access"),
    "datastore list": ([], "access"),
    "datastore set-authorizer": (["other", "builtin"], "access"),
    "datastore usage": ([], "access"),
    "erase": (["--patient", "P", "--yes"], "change"),
    "export": (["OUT", "--datastore", "d"], "read"),
    "iam check": ([], "access"),
    "jobs cancel": ([ID], "change"),
    "jobs list": ([], "system"),
    "jobs show": ([ID], "system"),
    "key create": (["--name", "kim", "--admin"], "access"),
    "key disable": (["AKIANOSUCHKEYNOSUCH1"], "access"),
    "key enable": (["AKIANOSUCHKEYNOSUCH1"], "access"),
    "key list": ([], "access"),
    "key put-policy": (["AKIANOSUCHKEYNOSUCH1", "--admin"], "access"),
    "key reencrypt": ([], "access"),
    "key revoke": (["AKIANOSUCHKEYNOSUCH1"], "access"),
    "key rotate": (["AKIANOSUCHKEYNOSUCH1"], "access"),
    "policy explain": (
        ["--role", "Role", "--action", "medical-imaging:GetImageSet", "--resource", "*"],
        "access",
    ),
    "queue claims": ([], "system"),
    "queue dead": ([], "system"),
    "queue forget": ([ID], "change"),
    "queue list": ([], "system"),
    "queue priority": ([ID, "low"], "change"),
    "queue retry": ([ID], "change"),
    "role delete": (["None"], "access"),
    "role list": ([], "access"),
    "role put": (["Role", "--trust-policy", "TRUST", "--policy", "RIGHTS", "--emergency"], "access"),
    "sets delete": ([ID, "--yes"], "change"),
    "sets diff": ([ID, "1", "1"], "read"),
    "sets list": ([], "search"),
    "sets show": ([ID], "read"),
    "token": (["--datastore", "d"], "access"),
    # Last, since they change where the data is, and who has it.
    "data restore": (["BACKUP"], "change"),
    "data move": (["--to-storage-url", "file://MOVED"], "change"),
}

NOT_RECORDED: dict[str, str] = {
    "completion": "it prints a script, and looks at no data folder",
    "config show": "it shows settings to whoever gave them, secrets masked",
    "demo": "it starts a server, and asks that for everything; its import is that of `import`",
    "doctor": "it tells whether things fit together, of nobody and no key",
    "import": "tested where it is: what the command and its engine do is on record each",
    "ohif install": "it unpacks a viewer that anybody may have",
    "serve": "its processes have records of their own, and the settings with which they start",
    "wait": "it waits for a server, and tells nothing but that",
    "worker": "its process has records of its own, and the settings with which it starts",
}
# `audit query` names its record after what it is.
NAMED = {"audit query": "AuditQuery"}


def commands(parser: CommandParser, before: str = "") -> Iterator[str]:
    words = ("VERB", "ACTION", "STEP")
    below: Any = next((each for each in parser._actions if each.metavar in words), None)
    if below is None:
        yield before
        return
    for word, its in below.choices.items():
        yield from commands(its, f"{before} {word}".strip())


def test_every_command_is_on_record_or_there_is_a_reason() -> None:
    assert sorted(commands(whole_parser())) == sorted([*RECORDED, *NOT_RECORDED])
    assert all(len(reason) > 20 for reason in NOT_RECORDED.values())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("place")
    assert prepare(load({"data": place / "data"}, environ={}, file=None)) == 0
    for name, statement in (("TRUST", TRUST), ("RIGHTS", RIGHTS)):
        place.joinpath(name).write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    return place


def records(data: Path) -> list[dict[str, Any]]:
    lines = [line for each in segments(data / "audit" / "cli") for line in each.read().splitlines()]
    return [json.loads(line) for line in lines if line.startswith(b'{"n":')]


def test_commands_leave_a_record(place: Path) -> None:
    for words in RECORDED:  # in this order
        leaves_a_record(place, words)


def leaves_a_record(place: Path, words: str) -> None:
    arguments, kind = RECORDED[words]
    for name in ("BACKUP", "OUT", "MOVED", "TRUST", "RIGHTS"):
        arguments = [each.replace(name, str(place / name)) for each in arguments]
    data = place / "data"
    before = len(records(data)) if (data / "audit" / "cli").exists() else 0
    done = lightwell_here(*words.split(), *arguments, data=data)
    new = records(data)[before:]
    name, step = " ".join(words.split()[:2]), words.split()[2:]
    assert {each["do"] for each in new} == {NAMED.get(words, name)}, done.err
    assert {each["kind"] for each in new} == {kind}, words
    if words not in NAMED:
        assert [each["phase"] for each in new] == ["begun", "ended"]
        assert new[0]["id"] == new[1]["id"]
        assert [new[0]["query"]["step"]] == step if step else "step" not in new[0].get("query", {})
    if words == "data move":
        moved = f"file://{place / 'MOVED'}"
        assert new[0]["query"]["to_storage_url"] == moved
        stood = f"file://{data.resolve() / 'objects'}"
        assert new[1]["change"] == [{"what": "storage_url", "before": stood, "after": moved}]
    if words == "role put":
        assert done.status == 0 and new[0]["query"]["emergency"] is True
        (change,) = new[1]["change"]
        assert change["what"] == "role Role" and change["after"].startswith("sha256:")


def test_changes_of_access_say_what_has_changed(place: Path, tmp_path: Path) -> None:
    data, rights, admin = tmp_path / "data", str(place / "RIGHTS"), "administrator"
    encrypted = {"LIGHTWELL_ENCRYPTION": "always"}

    def run(*words: str) -> tuple[str, list[tuple[str, str | None, str | None]]]:
        done = lightwell_here(*words, data=data, environ=encrypted)
        assert done.status == 0, done.err
        changes = records(data)[-1].get("change", [])
        told = [(one["what"], one.get("before"), one.get("after")) for one in changes]
        return done.out, [each for each in told if each[0] != "database schema"]

    out, changes = run("datastore", "create", "d", "--authorizer", "builtin")
    store = out.strip()
    (_, _, arn) = changes[1]
    assert str(arn).startswith("arn:aws:lambda:")
    assert changes == [
        (f"data store made: {store}", None, None),
        (f"authorizer of data store {store}", None, arn),
        (f"name of data store {store}", None, "d"),
    ]
    _, changes = run("token", "--datastore", "d", "--store", "--ttl", "1m")
    assert changes == [(f"token for data store {store}", None, "read and store for 60 s")]
    assert run("datastore", "set-authorizer", "d", "none")[1] == [
        (f"authorizer of data store {store}", arn, None)
    ]
    assert records(data)[-2]["query"] == {"store": "d", "authorizer": "none"}
    assert run("data", "keys", "rotate", "d")[1] == [(f"newest key of data store {store}", "key 1", "key 2")]
    assert run("data", "keys", "rewrap")[1] == [("keys of data stores wrapped anew: 0", None, None)]
    assert run("datastore", "delete", "d")[1] == [(f"data store deleted: {store}", None, None)]

    target = "https://a.example.org"
    _, [(what, before, first)] = run("authorizer", "put", FUNCTION, target)
    assert (what, before, str(first)[:7]) == (f"authorizer {FUNCTION}", None, "sha256:")
    assert records(data)[-2]["query"] == {"arn": FUNCTION, "target": "https://a.example.org"}
    _, [(_, before, after)] = run("authorizer", "put", FUNCTION, "https://b.example.org")
    assert before == first != after
    assert run("authorizer", "delete", FUNCTION)[1] == [(f"authorizer {FUNCTION}", after, None)]

    out, changes = run("key", "create", "--name", "kim", "--admin", "--expires", "2100-01-01")
    key = json.loads(out)["accessKeyId"]
    end = "2100-01-01T00:00:00Z"
    assert changes == [
        (f"access key made: {key} of kim", None, admin),
        (f"end of access key {key}", None, end),
    ]
    assert records(data)[-1]["key"] == key
    _, [(what, before, after)] = run("key", "put-policy", key, "--policy", rights)
    assert (what, before) == (f"access key given other policies: {key} of kim", admin)
    out, changes = run("key", "rotate", key, "--overlap", "1h")
    new = json.loads(out)["accessKeyId"]
    assert [what for what, _, _ in changes] == [
        f"access key rotated to {new}: {key} of kim",
        f"end of access key {key}",
        f"end of access key {new}",
    ]
    assert changes[1][1] == end and str(changes[1][2]) < end and changes[2][1] is None
    assert records(data)[-2]["query"] == {"id": key, "overlap": "1h"}
    assert run("key", "disable", new)[1] == [(f"access key disabled: {new} of kim", None, None)]
    assert run("key", "enable", new)[1] == [(f"access key enabled: {new} of kim", None, None)]
    assert run("key", "revoke", new)[1] == [(f"access key revoked: {new} of kim", after, None)]
    _, [(what, _, _)] = run("key", "reencrypt")
    assert what.startswith("keys and sessions encrypted under secret key ")


def test_a_move_says_where_everything_is_from_now_on(tmp_path: Path) -> None:
    data, new = tmp_path / "data", tmp_path / "new"
    assert prepare(load({"data": data}, environ={}, file=None)) == 0
    (tmp_path / "other.key").write_text("A" * 43 + "=\n")
    database, storage = f"sqlite:///{new / 'lightwell.db'}", f"file://{new / 'objects'}"
    to = ["--to-database-url", database, "--to-storage-url", storage]
    done = lightwell_here("data", "move", *to, "--to-secret-key-file", tmp_path / "other.key", data=data)
    assert done.status == 0, done.err
    assert records(data)[-1]["change"] == [
        {
            "what": "database_url",
            "before": f"sqlite:///{data.resolve() / 'lightwell.db'}",
            "after": database,
        },
        {"what": "storage_url", "before": f"file://{data.resolve() / 'objects'}", "after": storage},
        {"what": "secret_key_file", "after": str(tmp_path / "other.key")},
        {"what": "database schema", "after": REVISIONS[-1]},
    ]


def test_settings_that_differ_from_the_last_start_are_on_record(tmp_path: Path) -> None:
    data = tmp_path / "data"
    chain = Kept()
    trail = AuditTrail(lambda: chain, Clock().now)
    trail.begin()

    def started(**settings: Any) -> list[AuditRecord]:
        chain.records.clear()
        loaded = load({"data": data, **settings}, environ={}, file=None)
        AuditFolder(data, None).root.mkdir(exist_ok=True)
        record_start(loaded, trail)
        return list(chain.records)

    assert prepare(load({"data": data}, environ={}, file=None)) == 0
    secret = {"root_access_key_id": "AKIAROOTROOTROOTROOT", "root_secret_access_key": "wonderful"}
    (first,) = started(audit_full="serve", database_url="postgresql://u:hidden@h/d", **secret)
    assert (first.via, first.operation, first.kind) == ("start", "ServerStarted", "access")
    changes = {each.what: (each.before, each.after) for each in first.change}
    assert changes["audit_full"] == ("refuse", "serve")
    assert changes["(root access key)"] == (None, "AKIAROOTROOTROOTROOT")
    assert "hidden" not in str(first) and "wonderful" not in str(first)
    assert changes["all settings"][0] is None
    # The same again is nothing new, but a start.
    (again,) = started(audit_full="serve", database_url="postgresql://u:hidden@h/d", **secret)
    (whole,) = again.change
    assert (whole.what, whole.before, whole.after) == (
        "all settings",
        changes["all settings"][1],
        whole.before,
    )
    (second,) = started(**{**secret, "root_secret_access_key": "another"})
    changes = {each.what: (each.before, each.after) for each in second.change}
    assert changes.keys() == {"all settings", "audit_full", "database_url", "root_secret_access_key"}
    assert changes["audit_full"] == ("serve", "refuse")
    assert all(str(each).startswith("#") for each in changes["root_secret_access_key"])
    assert "another" not in (data / "audit" / FILE).read_text()
    (data / "secret.key").write_text("0" * 64)
    (third,) = started(**{**secret, "root_secret_access_key": "another"})
    assert [each.what for each in third.change] == ["all settings", "(secret key)"]
    # What cannot be written is told at the next start.
    chain.is_broken = True
    assert started(throttle="aws") == []
    chain.is_broken = False
    until(lambda: trail.failure() is None)
    assert "throttle" in {each.what for record in started(throttle="aws") for each in record.change}
    # A long value is compared to its end, and told from others by a digest.
    hosts = ",".join(f"10.1.{each}.0/24" for each in range(20))
    started(trusted_proxies=hosts)
    (wider,) = started(trusted_proxies=f"{hosts},0.0.0.0/1")
    (_, change) = wider.change
    assert change.what == "trusted_proxies" and change.before != change.after
    assert max(len(str(change.before)), len(str(change.after))) < 250
    # Who writes into the file what is to come hides nothing: the start is told as a first one.
    path = data / "audit" / FILE
    written = json.loads(path.read_text())
    values = written["values"] | {"audit_mask": "none"}
    forgeries: list[Any] = [written | {"values": values}, values, []]
    for forged in forgeries:
        path.write_text(json.dumps(forged))
        (record,) = started(audit_mask="none", trusted_proxies=f"{hosts},0.0.0.0/1")
        told = {each.what: each.before for each in record.change}
        assert told["all settings"] is None and {"audit_mask", "trusted_proxies"} <= told.keys()
    trail.close()
