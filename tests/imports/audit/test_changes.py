"""What of a change of keys, roles and sessions is on record, and of whom a token is."""

from __future__ import annotations

import json
from urllib.parse import quote

from lightwell.auth.builtin_authorizer import BuiltinAuthorizer, TokenRequest
from lightwell.auth.secret_box import open_secret_box
from lightwell.domain.arn import builtin_authorizer_arn
from lightwell.observe.audit.record import Change
from lightwell.observe.audit.search import Wanted
from lightwell.operations.authorizers import AuthorizerBindings
from tests.imports.audit.world import (
    JSON,
    Members,
    World,
)
from tests.unit.web.audit.audited import ask, signed


def test_changes_of_keys_roles_and_sessions_name_what_has_changed(world: World) -> None:
    api, policy = "/console/api", json.dumps({"Version": "2012-10-17", "Statement": [deny()]})
    answer, (record,) = world.ask("POST", f"{api}/keys", {"name": "kim", "policies": [policy]}, **JSON)
    made = json.loads(answer.body)["accessKeyId"]
    changed = f"{made} of kim"
    (change,) = record.change
    rights, was = change.after, change.before
    assert (change.what, was) == (f"access key made: {changed}", None)
    assert rights is not None and rights.startswith("sha256:")
    assert made in answer.body.decode() and json.loads(answer.body)["secretAccessKey"] not in str(record)
    _, (record,) = world.ask("PUT", f"{api}/keys/{made}/policies", {"isAdministrator": True}, **JSON)
    assert record.change == (Change(f"access key given other policies: {changed}", rights, "administrator"),)
    _, (record,) = world.ask("PUT", f"{api}/keys/{made}/status", {"status": "Inactive"}, **JSON)
    assert record.change == (Change(f"access key disabled: {changed}"),)
    _, (record,) = world.ask("PUT", f"{api}/keys/{made}/status", {"status": "Active"}, **JSON)
    answer, (record,) = world.ask("POST", f"{api}/keys/{made}/rotation", {"overlapSeconds": 60}, **JSON)
    assert answer.status == 200, answer.body
    new, end = (json.loads(answer.body)[name] for name in ("accessKeyId", "oldEndsAt"))
    assert record.change == (
        Change(f"access key rotated to {new}: {changed}"),
        Change(f"end of access key {made}", None, end),
    )
    assert all(Wanted(key=key).matches(record) for key in (made, new, world.root.access_key))
    _, (record,) = world.ask("DELETE", f"{api}/keys/{made}")
    assert record.change == (Change(f"access key revoked: {changed}", "administrator"),)
    assert record.items == (made,)
    # What was refused has changed nothing, and what it was about is on record.
    answer, (record,) = world.ask("DELETE", f"{api}/keys/{made}")
    assert (answer.status, record.items, record.change) == (404, (made,), ())

    trust = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
        }
    )
    role = {"trustPolicy": trust, "policies": [policy]}
    answer, (record,) = world.ask("PUT", f"{api}/roles/Reader", role, **JSON)
    assert answer.status == 200, answer.body
    (change,) = record.change
    made_by, rights = change.before, change.after
    assert (change.what, made_by) == ("role Reader", None) and rights != was
    # The same again changes nothing, and other policies do.
    _, (record,) = world.ask("PUT", f"{api}/roles/Reader", role, **JSON)
    assert record.change == (Change("role Reader", rights, rights),)
    _, (record,) = world.ask(
        "PUT", f"{api}/roles/Reader", role | {"policies": [policy.replace("Delete", "Copy")]}, **JSON
    )
    (change,) = record.change
    assert change.before == rights != change.after
    change_of_role = change
    form = b"Action=AssumeRole&Version=2011-06-15&RoleSessionName=me"
    form += b"&RoleArn=" + quote("arn:aws:iam::000000000000:role/Reader", safe="").encode()
    headers = {"content_type": "application/x-www-form-urlencoded"}
    answer, (record,) = world.ask("POST", "/", form, service="sts", **headers)
    (change,) = record.change
    session = change.what.split()[1]
    assert f"<AccessKeyId>{session}</AccessKeyId>" in answer.body.decode()
    assert change.what == f"session {session} of arn:aws:sts::000000000000:assumed-role/Reader/me"
    _, (record,) = world.ask("DELETE", f"{api}/roles/Reader")
    assert record.change == (Change("role Reader", change_of_role.after),)


def deny() -> Members:
    return {"Effect": "Deny", "Action": "medical-imaging:DeleteImageSet", "Resource": "*"}


def test_a_token_is_on_record_with_the_subject_that_it_names(world: World) -> None:
    state = world.trail.gateway.state
    settings, now = state.settings, state.clock.now()
    subject = "a person whose name is no name of a session"
    function = builtin_authorizer_arn(settings.region, settings.account_id)
    answer, _ = world.ask("POST", "/datastore", {"clientToken": "b", "lambdaAuthorizerArn": function}, **JSON)
    store = json.loads(answer.body)["datastoreId"]
    binding = AuthorizerBindings(state.stores.db, settings.region, settings.account_id).load(store, now)
    assert binding is not None and binding.is_builtin
    builtin = BuiltinAuthorizer(open_secret_box(None, settings.data), settings.region, settings.account_id)
    token = builtin.mint(TokenRequest(store, binding.datastore_revision, subject, 600, False, now))
    for text, status in ((token, 200), (f"{token[:-4]}AAAA", 403)):
        scope = signed(None, "GET", f"/datastore/{store}/studies", authorization=f"Bearer {text}")
        answer = ask(world.trail.gateway, scope)
        assert answer.status == status, answer.body
        (record,) = world.trail.after(answer)
        if status == 403:
            assert (record.kind, record.who, record.subject, record.count) == ("security", None, None, 1)
            continue
        assert (record.kind, record.subject, record.key) == ("search", subject, None)
        assert record.who is not None and record.who.partition(":federated-user/")[2].startswith("sub-")
        assert record.by is not None and record.by.startswith("statement 1 of policy")
