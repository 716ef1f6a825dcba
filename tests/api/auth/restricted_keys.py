"""Restricted keys and roles, made behind the server's back: a command line each would take seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from botocore.credentials import Credentials

from lightwell.auth import principals
from lightwell.auth.policies.validation import check_identity_policy, check_trust_policy
from lightwell.auth.secret_box import open_secret_box
from lightwell.clock import Clock
from lightwell.stores.account import roles
from tests.support.server import Server

ACCOUNT, REGION = "000000000000", "us-east-1"
Statement = dict[str, Any]


def statement(effect: str, action: Any, resource: Any = "*", **condition: Any) -> Statement:
    """``condition`` has operators as names."""
    made = {"Effect": effect, "Action": action, "Resource": resource}
    return {**made, "Condition": condition} if condition else made


def allow(action: Any, resource: Any = "*", **condition: Any) -> Statement:
    return statement("Allow", action, resource, **condition)


def deny(action: Any, resource: Any = "*", **condition: Any) -> Statement:
    return statement("Deny", action, resource, **condition)


def document(statements: Sequence[Statement]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def key(server: Server, *statements: Statement, name: str = "ana") -> Credentials:
    """A key with one policy of these statements."""
    policy = check_identity_policy(document(statements)).text
    with server.database() as db:
        secret_box = open_secret_box(None, server.data)
        made = principals.create_key(db, secret_box, name, Clock().now(), [policy])
    return Credentials(made.access_key_id, made.secret_access_key)


def role(server: Server, name: str, trust: Any, *statements: Statement, **condition: Any) -> str:
    """A role that ``trust``, a Principal, may take; answers its ARN."""
    trusting = {"Effect": "Allow", "Principal": trust, "Action": "sts:AssumeRole"}
    if condition:
        trusting["Condition"] = condition
    policies = [check_identity_policy(document(statements)).text]
    with server.database() as db:
        text = check_trust_policy(document([trusting])).text
        db.write(lambda conn: roles.put(conn, name, text, policies, Clock().now()))
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def store_arn(datastore_id: str) -> str:
    return f"arn:aws:medical-imaging:{REGION}:{ACCOUNT}:datastore/{datastore_id}"
