"""``lightwell audit``: found with the server up, and damage that is named."""

from __future__ import annotations

import json
import os
import re
import shutil
from argparse import Namespace
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from lightwell.cli import command_trail
from lightwell.cli.called import Called
from lightwell.cli.server.serve import prepare
from lightwell.cli.store_session import store_session
from lightwell.observe.audit.chain import Chain
from lightwell.observe.audit.heads import durable_heads
from lightwell.observe.audit.record import AuditRecord, SystemUser
from lightwell.observe.audit.segments import segments
from lightwell.settings import load
from lightwell.stores.background import audit_heads
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.db.open import open_database
from lightwell.stores.db.schema import REVISIONS, schema_revision
from lightwell.stores.db.tables import datastore, image_set
from tests.cli.running import Done, import_series, lightwell_here
from tests.support.ct_files import write_series
from tests.support.server import ended_job, running

ADA = "arn:aws:iam::000000000000:user/ada"
RECORDS = {
    "http-0": [
        AuditRecord(
            at=1_000, operation="GetImageFrame", who=ADA, key="AKIAADA", patient="P1", study="1.2", status=200
        ),
        AuditRecord(at=3_000, operation="SearchImageSets", who=ADA, patients=("P1", "P2"), status=200),
        AuditRecord(at=5_000, operation="GetImageFrame", who=ADA, patient="P10", status=403, error="Denied"),
        AuditRecord(at=7_000, claimed="AKIAADA", count=12, status=403, id="refused"),
    ],
    "http-1": [
        AuditRecord(at=2_000, who="arn:aws:sts::0:assumed-role/r/s", subject="bob@example.org", patient="P1"),
        AuditRecord(at=4_000, image_set="s1", store="d1", study="1.3", who="arn:aws:iam::0:root"),
        AuditRecord(
            at=6_000, user=SystemUser(0, "root", loginuid=1000), operation="export", patients=tuple("abcdef")
        ),
    ],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    folder = AuditFolder(data, None)
    for writer, records in RECORDS.items():
        chain = Chain(folder.chain(writer, lambda: 9_000))
        for record in records:
            chain.append([record])
        chain.sync()
        chain.close()
    return data


def times(data: Path, *words: str) -> list[int]:
    done = lightwell_here("audit", "query", "--json", *words, data=data)
    assert (done.status, done.err) == (0, "")
    found = [json.loads(line) for line in done.out.splitlines()]
    return [one["at"] for one in found if one["writer"] != "cli"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], [1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000]),
        (["--patient", "P1"], [1_000, 2_000, 3_000]),
        (["--patient", "P"], []),
        (["--patient", "P1", "--until", "1970-01-01T00:00:03Z"], [1_000, 2_000]),
        (["--from", "1970-01-01T00:00:06"], [6_000, 7_000]),
        (["--study", "1.2"], [1_000]),
        (["--set", "s1"], [4_000]),
        (["--datastore", "d1"], [4_000]),
        (["--key", "AKIAADA"], [1_000, 7_000]),
        (["--principal", "ada"], [1_000, 3_000, 5_000]),
        (["--principal", ADA, "--denied"], [5_000]),
        (["--principal", "bob@example.org"], [2_000]),
        (["--request", "refused"], [7_000]),
        (["--denied"], [5_000, 7_000]),
    ],
)
def test_finds_what_is_asked_for_by_its_time(data: Path, words: list[str], found: list[int]) -> None:
    assert times(data, *words) == found


def test_shows_who_did_what_and_is_on_record_itself(data: Path) -> None:
    done = lightwell_here("audit", "query", data=data)
    shown = [" ".join(line.split()) for line in done.out.splitlines()]
    assert shown[1] == "1970-01-01T00:00:01Z user/ada - - GetImageFrame 200 P1 1.2"
    assert "assumed-role/r/s (bob@example.org)" in shown[2]
    assert shown[6] == "1970-01-01T00:00:06Z OS user root (login 1000) - - export - a, b, c and 3 more -"
    assert shown[7] == "1970-01-01T00:00:07Z claims AKIAADA - - - 403 12 times - -"
    lightwell_here("audit", "query", "--patient", "P1", data=data)
    done = lightwell_here("audit", "query", "--json", data=data)
    asked = [json.loads(line) for line in done.out.splitlines()[-3:]]
    assert [(one["writer"], one["do"], one["query"]) for one in asked] == [
        ("cli", "AuditQuery", {}),
        ("cli", "AuditQuery", {"patient": "P1"}),
        ("cli", "AuditQuery", {}),
    ]
    assert asked[0]["os"]["uid"] == os.getuid()


def test_prints_what_others_read(data: Path) -> None:
    """The forms themselves are tested elsewhere."""

    def printed(*words: str) -> list[str]:
        query = lightwell_here("audit", "query", "--patient", "P1", *words, data=data)
        assert (query.status, query.err) == (0, "")
        return query.out.splitlines()

    atna = printed("--as", "atna")
    assert len(atna) >= 3 and all("<AuditMessage><EventIdentification " in line for line in atna)
    kinds = {json.loads(line)["resourceType"] for line in printed("--as", "fhir")}
    assert kinds == {"AuditEvent"}
    found = printed("--cloudtrail")
    assert printed("--as", "cloudtrail")[: len(found)] == found
    assert json.loads(found[0])["eventName"] == "GetImageFrame"


def test_refuses_what_it_cannot_record(data: Path) -> None:
    (data / "audit" / "cli").write_text("in the way")
    refused = lightwell_here("audit", "query", data=data)
    assert (refused.status, refused.out) == (1, "")
    assert "Nothing is done that it cannot record" in refused.err
    assert lightwell_here("audit", "query", "--audit-full", "serve", data=data).status == 0


def verify(data: Path, *words: str) -> Done:
    return lightwell_here("audit", "verify", *words, data=data)


def test_says_that_the_trail_is_whole_or_what_is_not(data: Path) -> None:
    done = verify(data, "--without-database")
    assert done.status == 0
    assert [line.split()[0] for line in done.out.splitlines() if line.endswith(" whole")] == [
        "http-0",
        "http-1",
    ]
    path = segments(data / "audit" / "http-1")[0].path
    path.write_bytes(path.read_bytes().replace(b"bob@", b"eve@"))
    done = verify(data, "--without-database")
    assert done.status == 1
    assert (
        "FINDING http-1 segment 1: the block behind record 0, at byte 0, is not what was sealed" in done.out
    )
    as_json = lightwell_here("audit", "verify", "--without-database", "--json", data=data)
    assert as_json.status == 1
    assert [len(one["findings"]) for one in as_json.json()["chains"]] == [0, 1]


def test_proves_copies_of_files_by_the_key_of_the_data_folder(data: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(data / "audit", archive)
    shutil.rmtree(data / "audit")
    done = verify(data, str(archive))
    assert done.status == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines() if line.endswith(" whole")] == [
        "http-0",
        "http-1",
    ]
    # It can be asked, too, where there is no trail and no key; where there is a trail, that is on record.
    elsewhere = tmp_path / "elsewhere"
    asked = ["audit", "query", "--json", "--patient", "P1", "--archive"]
    for where in (data, elsewhere):
        done = lightwell_here(*asked, str(archive), data=where)
        assert [json.loads(line)["at"] for line in done.out.splitlines()] == [1_000, 2_000, 3_000]
    assert not (data / "audit").exists() and not elsewhere.exists()
    (data / "audit").mkdir()
    assert lightwell_here(*asked, str(archive), data=data).out == done.out
    (record,) = on_record(data, "AuditQuery")[:1]
    assert record["query"] == {"patient": "P1", "archive": str(archive)}
    done = lightwell_here(*asked, str(tmp_path), data=data)
    assert done.status == 1 and "holds no audit trail: name the folder" in done.err
    path = segments(archive / "http-1")[0].path
    path.write_bytes(path.read_bytes().replace(b"bob@", b"eve@"))
    done = verify(data, str(archive), "--json")
    assert (done.status, [len(one["findings"]) for one in done.json()["chains"]]) == (1, [0, 1])
    done = verify(data, str(tmp_path))
    assert done.status == 1 and "holds no audit trail: name the folder" in done.err


def test_says_where_there_is_none(tmp_path: Path) -> None:
    tmp_path.joinpath("data").mkdir()
    done = lightwell_here("audit", "verify", data=tmp_path / "data")
    assert (done.status, "There is no audit trail" in done.err) == (1, True)


def test_says_who_saw_a_patient_of_a_server_that_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_series(data / "buckets" / "inn", 1)
    with running(data, "--workers", "1") as server:
        client = server.client()
        store = client.create_datastore(datastoreName="d")["datastoreId"]
        job = client.start_dicom_import_job(
            datastoreId=store,
            dataAccessRoleArn="arn:aws:iam::000000000000:role/import",
            inputS3Uri="s3://inn/",
            outputS3Uri="s3://inn/results/",
        )["jobId"]
        assert ended_job(client, store, job)["jobStatus"] == "COMPLETED"
        (found,) = client.search_image_sets(datastoreId=store)["imageSetsMetadataSummaries"]
        patient = found["DICOMTags"]["DICOMPatientId"]
        answer = client.get_image_set_metadata(datastoreId=store, imageSetId=found["imageSetId"])
    done = lightwell_here("audit", "query", "--patient", patient, "--json", data=data)
    seen = [json.loads(line) for line in done.out.splitlines()]
    (read,) = [one for one in seen if one["do"] == "GetImageSetMetadata"]
    assert read["id"] == answer["ResponseMetadata"]["RequestId"]
    assert (read["set"], read["from"], read["by"]) == (found["imageSetId"], "127.0.0.1", "root")
    assert verify(data).status == 0


def test_the_database_knows_how_far_the_trail_had_come(tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = load({"data": data}, environ={}, file=None)
    assert prepare(settings) == 0
    folder = AuditFolder(data, None)
    chain = Chain(folder.chain("http-0", lambda: 9_000))
    chain.append([AuditRecord(at=1)])
    path = segments(data / "audit" / "http-0")[0].path
    early = path.read_bytes()
    chain.append([AuditRecord(at=2)])
    chain.close()
    heads = list(durable_heads(folder.root))
    with store_session(settings) as stores:
        stores.db.write(lambda conn: audit_heads.note(conn, heads, 17))
    assert verify(data).status == 0
    path.write_bytes(early)
    done = verify(data)
    assert done.status == 1
    assert "its end is missing: record 2 was noted elsewhere, and 1 is the last" in done.out
    assert lightwell_here("audit", "verify", "--without-database", data=data).status == 0
    (data / "node.id").unlink()
    done = verify(data)
    assert (done.status, "--without-database" in done.err) == (1, True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an image set, imported by a command."""
    return import_series(tmp_path_factory.mktemp("served"))


def on_record(data: Path, operation: str, *words: str) -> list[dict[str, Any]]:
    done = lightwell_here("audit", "query", "--json", *words, data=data)
    found = [json.loads(line) for line in done.out.splitlines()]
    return [one for one in found if one["do"] == operation]


@pytest.mark.parametrize(
    ("words", "operation", "kind", "asked"),
    [
        (["sets", "list", "--datastore", "d"], "sets list", "search", {"datastore": "d"}),
        (["sets", "show", "SET"], "sets show", "read", {"id": "SET"}),
        (["sets", "diff", "SET", "1", "1"], "sets diff", "read", {"id": "SET", "first": "1", "second": "1"}),
        (["export", "FOLDER", "--datastore", "d"], "export", "read", {"datastore": "d"}),
        (["sets", "delete", "SET"], "sets delete", "change", {"ids": ["SET"]}),
        (
            ["sets", "delete", "--all", "--datastore", "d", "--yes"],
            "sets delete",
            "change",
            {"all": True, "datastore": "d", "yes": True},
        ),
        (["erase", "--patient", "PATIENT", "--yes"], "erase", "change", {"patient": "PATIENT", "yes": True}),
    ],
)
def test_commands_are_on_record_with_whom_they_were_about(
    served: Path, tmp_path: Path, words: list[str], operation: str, kind: str, asked: dict[str, Any]
) -> None:
    data = Path(shutil.copytree(served, tmp_path / "data"))
    with store_session(load({"data": data}, environ={}, file=None)) as stores, stores.db.read() as conn:
        query = select(
            datastore.c.id, image_set.c.id, image_set.c.patient_id, image_set.c.study_instance_uid
        ).join(datastore, datastore.c.key == image_set.c.datastore)
        (row,) = conn.execute(query)
    store, image_set_id, patient, _ = row
    own = {"FOLDER": str(tmp_path / "out"), "PATIENT": patient, "SET": image_set_id}
    assert lightwell_here(*(own.get(word, word) for word in words), data=data).status == 0
    begun, *steps, ended = on_record(data, operation)
    assert (begun["phase"], begun["kind"], begun["os"]["uid"]) == ("begun", kind, os.getuid())
    shown = json.loads(json.dumps(asked).replace("PATIENT", patient).replace("SET", image_set_id))
    assert begun["query"] == shown
    assert begun.get("set") == (image_set_id if "SET" in words else None)
    assert (ended["phase"], ended["id"], ended.get("error")) == ("ended", begun["id"], None)
    # What is deleted is on record before it is.
    (told,) = steps if kind == "change" else [ended]
    assert (told["store"], told["set"], told["patient"], told["study"]) == tuple(row)
    for words_of in (["--patient", patient], ["--datastore", store], ["--set", image_set_id]):
        assert told in on_record(data, operation, *words_of)


def test_each_record_of_a_command_is_of_one_data_store_and_of_as_much_as_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load({"data": tmp_path}, environ={}, file=None)
    monkeypatch.setattr(command_trail, "MOST", 2)
    command = command_trail.Command(Called("export", Namespace()))
    with command.recorded(settings):
        for store, sets in (("d1", "abc"), ("d2", "d")):
            command.goes_to(settings, store)
            for each in sets:
                command.got_on(settings)
                command.note.saw(each, f"P{each}")
    found = [one for one in on_record(tmp_path, "export") if one.get("phase") != "begun"]
    assert [(one["store"], one.get("sets", one.get("set"))) for one in found] == [
        ("d1", ["a", "b"]),
        ("d1", "c"),
        ("d2", "d"),
    ]


def test_what_commands_were_asked_for_is_masked_as_the_settings_say(tmp_path: Path) -> None:
    settings = load({"data": tmp_path, "audit_mask": "all"}, environ={}, file=None)
    asked = {"patient": "P1", "ids": ["a", "b"], "destination": "/mnt/meyer", "yes": True, "since": 7}
    command_trail.keep(settings, [AuditRecord(operation="export", query=dict(asked))])
    command_trail.keep(replace(settings, audit_mask="texts"), [AuditRecord(operation="export", query=asked)])
    for mask in ("texts", "none"):
        made = AuditRecord(operation="import", query={"name": "Meyer", "datastore": "d"})
        command_trail.keep(replace(settings, audit_mask=mask), [made])
    masked, as_typed = (one["query"] for one in on_record(tmp_path, "export"))
    assert as_typed == asked
    assert masked.keys() == asked.keys() and masked["yes"] is True
    hidden = [masked["patient"], *masked["ids"], masked["destination"], masked["since"]]
    assert all(re.fullmatch("#[0-9a-f]{10}", each) for each in hidden) and len(set(hidden)) == 5
    texts, none = (one["query"] for one in on_record(tmp_path, "import"))
    assert none == {"name": "Meyer", "datastore": "d"}
    assert re.fullmatch("#[0-9a-f]{10}", texts["name"]) and texts["datastore"] == "d"


def test_an_import_without_a_server_says_with_which_settings_it_works(served: Path) -> None:
    (record,) = on_record(served, "ServerStarted")
    assert (record["writer"], record["change"][0]["what"]) == ("import", "all settings")


def test_whoever_looks_for_damage_sees_whose_it_is(served: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(served, tmp_path / "data"))
    (pack,) = (data / "objects" / "packs").rglob("*.pack")
    pack.write_bytes(bytes(reversed(pack.read_bytes())))
    done = lightwell_here("data", "verify", "--quick", "--json", data=data)
    ((store, image_set_id, patient, study),) = (
        tuple(one.values()) for each in done.json()["problems"] for one in each["concerns"]
    )
    (_, ended) = on_record(data, "data verify")
    assert (ended["store"], ended["set"], ended["patient"], ended["study"]) == (
        *(store, image_set_id, patient, study),
    )
    assert ended in on_record(data, "data verify", "--patient", patient)


def test_commands_on_keys_and_jobs_say_so(served: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(served, tmp_path / "data"))
    key = lightwell_here("key", "create", "--admin", data=data).json()["accessKeyId"]
    assert lightwell_here("key", "disable", key, data=data).status == 0
    begun, _ = on_record(data, "key disable", "--key", key)
    assert ("set" in begun, begun["key"]) == (False, key)
    assert lightwell_here("key", "enable", key, data=data).status == 0
    new = lightwell_here("key", "rotate", key, data=data).json()["accessKeyId"]
    assert [one["phase"] for one in on_record(data, "key rotate", "--key", key)] == ["begun", "ended"]
    (rotated,) = on_record(data, "key rotate", "--key", new)
    assert (rotated["key"], rotated["phase"]) == (key, "ended")
    (store,) = lightwell_here("datastore", "list", "--json", data=data).json()
    (job,) = lightwell_here("jobs", "list", "--json", "--datastore", "d", data=data).json()
    assert lightwell_here("jobs", "show", job["jobId"], data=data).status == 0
    (shown,) = on_record(data, "jobs show", "--datastore", store["datastoreId"])
    assert ("set" in shown, shown["job"]) == (False, job["jobId"])
    assert on_record(data, "jobs list", "--datastore", store["datastoreId"])
    (imported,) = on_record(data, "import", "--datastore", store["datastoreId"])
    assert imported["job"] == job["jobId"]
    assert lightwell_here("datastore", "set-authorizer", "d", "builtin", data=data).status == 0
    assert lightwell_here("token", "--datastore", "d", "--store", data=data).status == 0
    assert len(on_record(data, "token", "--datastore", store["datastoreId"])) == 1
    begun, _ = on_record(data, "token")
    assert begun["query"] == {"datastore": "d", "store": True, "ttl": "8h"}


def test_a_command_that_fails_is_on_record_with_its_error(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert prepare(load({"data": data}, environ={}, file=None)) == 0
    assert lightwell_here("key", "revoke", "AKIANOSUCHKEYNOSUCH1", data=data).status == 1
    begun, ended = on_record(data, "key revoke")
    assert (begun["kind"], begun["query"]["id"]) == ("access", "AKIANOSUCHKEYNOSUCH1")
    assert ended["error"] == "LightwellError"


def test_what_cannot_be_recorded_is_not_done(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert prepare(load({"data": data}, environ={}, file=None)) == 0
    (data / "audit").mkdir()
    (data / "audit" / "cli").write_text("in the way")
    refused = lightwell_here("datastore", "create", "d", data=data)
    assert (refused.status, refused.out) == (1, "")
    assert "Nothing is done that it cannot record" in refused.err
    # Nor is the database made or migrated for it.
    (tmp_path / "new" / "audit").mkdir(parents=True)
    (tmp_path / "new" / "audit" / "cli").write_text("in the way")
    for words in (["datastore", "create", "d"], ["import", str(tmp_path)]):
        refused = lightwell_here(*words, data=tmp_path / "new")
        assert refused.status == 1 and "Nothing is done that it cannot record" in refused.err
    with closing(open_database(load({"data": tmp_path / "new"}, environ={}, file=None))) as db:
        assert schema_revision(db) is None
    (tmp_path / "new" / "audit" / "cli").unlink()
    assert lightwell_here("datastore", "create", "d", data=tmp_path / "new").status == 0
    begun, ended = on_record(tmp_path / "new", "datastore create")
    assert begun["phase"] == "begun"
    assert ended["change"][0] == {"what": "database schema", "after": REVISIONS[-1]}
    (data / "audit" / "cli").unlink()
    assert json.loads(lightwell_here("datastore", "list", "--json", data=data).out) == []
