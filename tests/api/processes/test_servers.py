"""Several servers on one PostgreSQL database: one root key, and jobs that wait for a server."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from sqlalchemy import text

from lightwell.stores.db.database import Database
from tests.cli.running import doctor_here
from tests.support.ct_files import write_series
from tests.support.server import Server, launch, running

OLD, NEW = (Credentials(f"AKLWROOT{name}00000000", f"{name}-secret") for name in ("OLD", "NEW"))
AWAY = "UPDATE server SET seen_at = seen_at - 61000"


def given(key: Credentials, folder: Path) -> dict[str, str]:
    return {
        "LIGHTWELL_ROOT_ACCESS_KEY_ID": key.access_key,
        "LIGHTWELL_ROOT_SECRET_ACCESS_KEY": key.secret_key,
        "LIGHTWELL_SECRET_KEY": "k" * 43 + "=",
        "LIGHTWELL_STORAGE_URL": (folder / "objects").as_uri(),
    }


def refused(server: Server) -> str:
    _, said = server.process.communicate(timeout=60)
    assert server.process.returncode == 2, said
    return said


def kill(server: Server) -> None:
    """All of it at once, as when its machine loses power."""
    pids = [server.process.pid, *server.children()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    server.process.wait()


def execute(url: str, sql: str) -> None:
    db = Database(url)
    db.write(lambda conn: conn.execute(text(sql)))
    db.close()


def test_refuses_another_root_key_while_a_server_holds_the_old_one(postgres_url: str, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    with running(a, database_url=postgres_url, env=given(OLD, tmp_path)) as first:
        for key in (NEW, Credentials(OLD.access_key, "another")):
            said = refused(launch(b, database_url=postgres_url, env=given(key, tmp_path)))
            assert str(a) in said and "LIGHTWELL_ROOT_ACCESS_KEY_ID" in said
        assert first.client(OLD).list_datastores()["datastoreSummaries"] == []
        with running(b, database_url=postgres_url, env=given(OLD, tmp_path)) as second:
            second.client(OLD).list_datastores()
        assert first.stop() == 0
    with running(b, database_url=postgres_url, env=given(NEW, tmp_path)) as second:
        second.client(NEW).list_datastores()
        with pytest.raises(ClientError) as error:
            second.client(OLD).list_datastores()
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_takes_another_root_key_after_a_crash(postgres_url: str, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    with running(a, database_url=postgres_url, env=given(OLD, tmp_path)) as first:
        kill(first)
    assert str(a) in refused(launch(b, database_url=postgres_url, env=given(NEW, tmp_path)))
    with running(a, database_url=postgres_url, env=given(NEW, tmp_path)) as again:
        again.client(NEW).list_datastores()
        kill(again)
    execute(postgres_url, AWAY)
    with running(b, database_url=postgres_url, env=given(OLD, tmp_path)) as other:
        other.client(OLD).list_datastores()


def test_doctor_tells_which_jobs_wait_for_a_server_that_does_not_run(
    postgres_url: str, tmp_path: Path
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for name in ("in-bucket", "out-bucket"):
        (a / "buckets" / name).mkdir(parents=True)
    write_series(a / "buckets" / "in-bucket", 2)

    def doctor() -> dict[str, object]:
        env = {**given(OLD, tmp_path), "LIGHTWELL_DATABASE_URL": postgres_url}
        done = doctor_here("--json", data=b, environ=env)
        found: dict[str, object] = next(row for row in done.json() if row["check"] == "jobs")
        return found

    with running(a, database_url=postgres_url, env=given(OLD, tmp_path)) as first:
        client = first.client(OLD)
        store = client.create_datastore(datastoreName="a")["datastoreId"]
        job = client.start_dicom_import_job(
            datastoreId=store, clientToken="t", dataAccessRoleArn="arn:aws:iam::000000000000:role/r",
            inputS3Uri="s3://in-bucket/", outputS3Uri="s3://out-bucket/",
        )["jobId"]  # fmt: skip
        kill(first)
    # Whatever it had done by then: as if it had been killed before it listed anything.
    execute(postgres_url, "DELETE FROM chunk")
    execute(postgres_url, "DELETE FROM unit")
    execute(
        postgres_url,
        "INSERT INTO unit (job, phase, number, state, files, since, not_before, tries)"
        " SELECT key, 'list', 0, 'ready', 0, 0, 0, 0 FROM import_job",
    )
    execute(postgres_url, "UPDATE import_job SET phase = 'list', status = 'SUBMITTED'")
    assert doctor()["ok"] is True
    execute(postgres_url, AWAY)
    found = doctor()
    assert (
        found["ok"] is False
        and str(a) in str(found["says"])
        and "1 import job on local buckets is waiting" in str(found["says"])
    )
    with running(b, database_url=postgres_url, env=given(OLD, tmp_path)) as other:
        shown = other.client(OLD).get_dicom_import_job(datastoreId=store, jobId=job)["jobProperties"]
        assert shown["jobStatus"] in ("SUBMITTED", "IN_PROGRESS")
