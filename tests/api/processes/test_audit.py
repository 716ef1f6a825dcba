"""The audit trail of a running server: a chain for each process, and what happens while that fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lightwell.observe.audit.record import AuditRecord, decode_line
from lightwell.observe.audit.segments import all_segments
from lightwell.observe.audit.verification import verify
from lightwell.stores.data_folder.audit_folder import AuditFolder
from tests.api.processes.test_serve import failed
from tests.support.certificates import Authority
from tests.support.server import Server, launch, running, until
from tests.unit.work.audit_forwarding.forwarding import Receiver, in_order


def records(data: Path, writer: str) -> list[AuditRecord]:
    return [
        decode_line(line)
        for name, segment in all_segments(data / "audit")
        for line in segment.read().splitlines()
        if name == writer and line.startswith(b'{"n":')
    ]


def test_each_process_has_a_chain_that_goes_on_over_restarts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for _ in range(2):
        with running(data, "--workers", "2"):
            pass
    writers = ["http-0", "http-1", "work"]
    folder = AuditFolder(data, None)
    found = list(verify(folder.root, folder.keys(), {}))
    assert [one.writer for one in found] == writers
    assert [(one.findings, one.remarks, one.segments) for one in found] == [([], [], 1)] * 3
    for writer in writers:
        said = [record.operation for record in records(data, writer) if record.via == "start"]
        # One of them has told with which settings the server starts.
        said = [operation for operation in said if operation != "ServerStarted"]
        assert said == ["ProcessStarted", "ProcessEnded"] * 2


def audit(server: Server) -> str:
    found: str = json.loads(server.call("GET", "/readyz").body)["checks"]["audit"]
    return found


def test_is_not_ready_while_the_trail_cannot_be_written_and_is_when_it_can_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "audit").mkdir(parents=True)
    (data / "audit" / "http-0").write_text("in the way")
    with running(data, "--workers", "1") as server:
        until(lambda: audit(server) == "unavailable")
        assert server.call("GET", "/readyz").status == 503
        metrics = server.call("GET", "/metrics").body.decode()
        assert 'lightwell_audit_stopped{process="http"} 1' in metrics
        (data / "audit" / "http-0").unlink()
        until(lambda: audit(server) == "ok")
    assert any("the audit trail cannot be written" in line for line in server.err)
    said = [record.operation for record in records(data, "http-0")]
    assert said == ["ProcessStarted", "AuditInterrupted", "ProcessEnded"]


def test_does_not_start_without_the_key_of_its_trail(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data, "--workers", "1"):
        pass
    key = (data / "audit.key").read_bytes()
    (data / "audit.key").unlink()
    status, err = failed(launch(data))
    assert status == 2 and "audit.key, the key of the audit trail, cannot be read" in err
    shutil.rmtree(data / "audit")
    with running(data, "--workers", "1"):
        pass
    assert (data / "audit.key").read_bytes() != key


def test_sends_its_trail_on_and_serves_while_nobody_takes_it(tmp_path: Path) -> None:
    data, authority = tmp_path / "data", Authority(tmp_path, "authority")
    receiver = Receiver(tmp_path, authority)
    with receiver.running():
        pass  # It has a port now, and is away.
    flags = ["--audit-syslog", f"tls://localhost:{receiver.port}", "--audit-syslog-ca", str(authority.cert)]
    with running(data, "--workers", "1", *flags) as server:
        server.client().create_datastore(datastoreName="away")
        until(lambda: any("cannot be forwarded by syslog" in line for line in server.err))
        until(
            lambda: (
                'forward_lag_seconds{target="syslog"} 0\n' not in server.call("GET", "/metrics").body.decode()
            )
        )
        with receiver.running():
            until(lambda: "http-0" in receiver.writers())
            server.client().create_datastore(datastoreName="back")
            until(lambda: receiver.numbers("http-0")[-1] == records(data, "http-0")[-1].number)
            # It makes sure that all has arrived before it ends, and notes it.
            server.stop()
            assert json.loads((data / "audit" / "syslog.cursor").read_bytes()).keys() >= {"http-0", "work"}
    for writer in ("http-0", "work"):
        numbers = in_order(receiver.numbers(writer))
        assert numbers == list(range(1, len(numbers) + 1))
