"""What tags, data stores, jobs, uploads and searches of events say of themselves in their records."""

from __future__ import annotations

import json
from hashlib import sha256
from secrets import token_hex
from urllib.parse import quote

import pytest

from lightwell.observe.audit.record import AuditRecord, Change
from tests.imports.audit.world import JSON, SERIES, World, members

KEY = "arn:aws:kms:us-east-1:000000000000:key/0123abcd-0000-0000-0000-000000000001"


def tags_of(world: World) -> str:
    arn = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{world.store}"
    return f"/tags/{quote(f'{arn}/imageset/{world.sets[SERIES]}', safe='')}"


def changes(record: AuditRecord) -> dict[str, tuple[str | None, str | None]]:
    return {each.what: (each.before, each.after) for each in record.change}


def test_tags_are_on_record_by_key_and_by_what_tells_one_value_from_another(world: World) -> None:
    url = tags_of(world)
    answer, (first,) = world.ask("POST", url, {"tags": {"team": "Dr Doe", "site": "north"}}, **JSON)
    assert answer.status == 200, answer.body
    assert set(first.items) == {"team", "site"} and "Doe" not in str(first)
    told = changes(first)
    assert told.keys() == {"tag team", "tag site"} and told["tag team"][0] is None
    doe = told["tag team"][1]
    assert doe is not None and doe.startswith("#") and told["tag site"][1] != doe
    _, (second,) = world.ask("POST", url, {"tags": {"team": "Dr Who"}}, **JSON)
    ((before, who),) = changes(second).values()
    assert before == doe != who
    # Of those that are not there, none is removed.
    _, (third,) = world.ask("DELETE", f"{url}?tagKeys=team&tagKeys=none")
    assert third.items == ("team", "none") and changes(third) == {"tag team": (who, None)}
    # What was refused has changed nothing, and says what was asked for.
    nowhere = url.replace(world.sets[SERIES], "0" * 32)
    answer, (refused,) = world.ask("POST", nowhere, {"tags": {"team": "x"}}, **JSON)
    assert (answer.status, refused.items, refused.change) == (404, ("team",), ())


def test_a_data_store_is_on_record_with_its_name_its_key_and_its_tags(world: World) -> None:
    asked = {"clientToken": "thick", "datastoreName": "north", "kmsKeyArn": KEY, "tags": {"team": "x"}}
    answer, (record,) = world.ask("POST", "/datastore", asked, **JSON)
    assert answer.status == 200, answer.body
    told = changes(record)
    assert told[f"name of data store {record.store}"] == (None, "north")
    assert told[f"kmsKeyArn of data store {record.store}"] == (None, KEY)
    assert (told["tag team"][1] or "").startswith("#")
    # The same token again makes nothing.
    _, (again,) = world.ask("POST", "/datastore", asked, **JSON)
    assert (again.store, again.change) == (record.store, ())


def test_a_search_of_events_says_what_for_and_which_image_sets_it_showed(world: World) -> None:
    url, asked = "/console/api/events", {"datastoreId": world.store, "kinds": ["imageset"]}
    answer, (record,) = world.ask("POST", url, asked, **JSON)
    assert answer.status == 200, answer.body
    assert (record.store, record.query) == (world.store, asked)
    shown = [each["detail"]["imagesetId"] for each in json.loads(answer.body)["events"]]
    assert record.found == len(shown) > 1 and record.image_sets == tuple(dict.fromkeys(shown))
    asked = {"imageSetId": world.sets[SERIES], "types": ["Image Set Created"]}
    _, (record,) = world.ask("POST", url, asked, **JSON)
    assert record.query == asked


@pytest.fixture
def upload(world: World) -> tuple[str, dict[str, str], AuditRecord]:
    """An upload of three files of which one has arrived, to a data store; and the record of its begin."""
    answer, _ = world.ask("POST", "/datastore", {"clientToken": token_hex(8)}, **JSON)
    store = json.loads(answer.body)["datastoreId"]
    url = f"/console/api/datastores/{store}/uploads"
    answer, (begun,) = world.ask("POST", url, {"name": "DOE^JOHN", "files": 3, "bytes": 9}, **JSON)
    assert answer.status == 200, answer.body
    given: dict[str, str] = json.loads(answer.body)
    body = b"one"
    headers = {"x_lightwell_name": "a.dcm", "x_amz_content_sha256": sha256(body).hexdigest()}
    answer, records = world.ask("PUT", f"{url}/{given['uploadId']}/files", body, **headers)
    assert (answer.status, records) == (200, []), answer.body
    return store, given, begun


def test_an_upload_is_on_record_at_its_begin_and_at_its_end_with_how_many_files(
    world: World, upload: tuple[str, dict[str, str], AuditRecord]
) -> None:
    store, given, begun = upload
    id = given["uploadId"]
    assert begun.items == (id,) and begun.query is not None and "DOE" not in str(begun)
    assert members(begun, {"kind": 0, "via": 0}) == {"kind": "change", "via": "console"}
    assert (begun.query["files"], begun.query["bytes"]) == ("3", "9")
    role = f"role lightwell-console-import-{store}, for import jobs of uploads"
    assert begun.change == (Change(role),)
    url = f"/console/api/datastores/{store}/uploads/{id}"
    answer, (discarded,) = world.ask("DELETE", url)
    assert (answer.status, discarded.items, discarded.found) == (204, (id,), 1)


def test_the_job_of_an_upload_says_of_how_many_files_it_is(
    world: World, upload: tuple[str, dict[str, str], AuditRecord]
) -> None:
    store, given, _ = upload
    role = given["dataAccessRoleArn"]
    asked = {
        "dataAccessRoleArn": role, "clientToken": "u", "inputS3Uri": given["inputS3Uri"],
        "outputS3Uri": given["outputS3Uri"],
    }  # fmt: skip
    answer, (record,) = world.ask("POST", f"/startDICOMImportJob/datastore/{store}", asked, **JSON)
    assert answer.status == 200, answer.body
    assert (record.items, record.found, record.kind) == ((given["uploadId"],), 1, "change")
    assert record.job is not None and record.query is not None
    assert record.query["dataAccessRoleArn"] == role and record.query["inputS3Uri"].startswith("#")


def test_an_authorizer_is_on_record_with_what_answered_before_and_who_is_refused_with_what_for(
    world: World,
) -> None:
    url, arn = "/console/api/authorizers", "arn:aws:lambda:us-east-1:000000000000:function:told"
    told = []
    for target in ("http://127.0.0.1:1/a", "http://127.0.0.1:1/b"):
        _, (record,) = world.ask("POST", url, {"arn": arn, "target": target}, **JSON)
        told.append(changes(record)[f"authorizer {arn}"])
        assert record.items == (arn,)
    _, (record,) = world.ask("POST", f"{url}/delete", {"arn": arn}, **JSON)
    told.append(changes(record)[f"authorizer {arn}"])
    assert told == [(None, told[0][1]), (told[0][1], told[1][1]), (told[1][1], None)]
    assert None not in (told[0][1], told[1][1]) and told[0][1] != told[1][1]
    nothing = {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}
    nobody = world.secret_of("nobody-who-changes", json.dumps(nothing))
    for path, asked, item in (
        ("authorizers", {"arn": arn, "target": "http://127.0.0.1:1/c"}, arn),
        ("keys", {"name": "eve", "isAdministrator": True}, "user/eve"),
    ):
        answer, (record,) = world.ask("POST", f"/console/api/{path}", asked, nobody, **JSON)
        assert (answer.status, record.items, record.change) == (403, (item,), ())


def test_how_long_a_session_of_a_role_may_last_is_among_its_rights(world: World) -> None:
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    policy = document.replace('"Principal": {"AWS": "*"}', '"Resource": "*"')
    role = {"trustPolicy": document, "policies": [policy]}
    digests = []
    for seconds in (3_600, 43_200, 43_200):
        asked = role | {"maxSessionSeconds": seconds}
        answer, (record,) = world.ask("PUT", "/console/api/roles/Long", asked, **JSON)
        assert answer.status == 200, answer.body
        digests.append(changes(record)["role Long"])
    (_, short), (was, long), last = digests
    assert was == short != long and last == (long, long)
