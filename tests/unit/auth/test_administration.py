"""What several administrators do at the same moment."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lightwell.auth.administration.administration import Administration
from lightwell.auth.secret_box import SecretBox
from lightwell.errors import ConflictError
from lightwell.stores.account import roles as roles_table
from lightwell.stores.db.database import Database
from tests.unit.auth.policies.decisions import ACCOUNT, GET, REGION, STORE, allow

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "medical-imaging.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [allow(GET, STORE)]})


def test_one_of_two_who_create_a_role_at_once_is_told_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2, timeout=60)
    create_role = roles_table.create

    def create_together(*arguments: Any, **more: Any) -> bool:
        if database.dialect == "postgresql":  # SQLite has one writer at a time
            both.wait()
        return create_role(*arguments, **more)

    monkeypatch.setattr(roles_table, "create", create_together)
    administrators = Administration(database, SecretBox(b"k" * 32, "a test"), REGION, ACCOUNT)

    def create(now: int) -> str:
        try:
            administrators.put_role("Reader", TRUST, [POLICY], now, seen=0)
        except ConflictError as error:
            return str(error)
        return "created"

    with ThreadPoolExecutor(2) as threads:
        created, refused = sorted(threads.map(create, (1, 2)), key=lambda answer: answer != "created")
    assert (created, refused.partition(".")[0]) == ("created", "There is a role Reader already")
    role = administrators.role("Reader")
    assert role is not None and len(role.policies) == 1
