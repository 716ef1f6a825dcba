"""The audit trail by syslog over TLS, to a receiver that is killed, hangs, or is not who it should be."""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import nullcontext
from pathlib import Path
from threading import Thread

import pytest

from lightwell.work.audit_forwarding import forwarder as forwarding
from lightwell.work.audit_forwarding import syslog_target
from lightwell.work.audit_forwarding.forwarder import FORWARDED, LAG, MISSED, Forwarder
from lightwell.work.audit_forwarding.syslog_target import SyslogTarget
from lightwell.work.audit_forwarding.target import ForwardingError
from tests.support.certificates import Authority
from tests.unit.observe.audit.chains import place, records, write
from tests.unit.work.audit_forwarding.forwarding import PLACE, Receiver, Told, in_order, until


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "POLL", 0.02)
    monkeypatch.setattr(forwarding, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(forwarding, "_LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(forwarding, "LONGEST_UNCONFIRMED", 0.3)
    monkeypatch.setattr(forwarding, "MOST_UNCONFIRMED", 300)


def forwarder(root: Path, receiver: Receiver, authority: Authority, told: Told) -> Forwarder:
    target = SyslogTarget("localhost", receiver.port, PLACE, authority.cert)
    return Forwarder(root, target, told.telling)


def arrived(told: Told) -> int:
    return told.counted[FORWARDED, "syslog"]


def test_nothing_is_lost_while_the_receiver_is_killed_again_and_again(tmp_path: Path) -> None:
    root, authority, told = tmp_path / "audit", Authority(tmp_path, "authority"), Told()
    chains = [place(root, "http-0", rotate_bytes=20_000), place(root, "work")]
    receiver = Receiver(tmp_path, authority)
    receiver.start()
    sender = forwarder(root, receiver, authority, told)
    sender.begin()
    try:
        for times in range(1, 4):
            for chain in chains:
                write(chain, [7, 100, 3])
            seen = len(receiver.messages())
            until(lambda seen=seen: len(receiver.messages()) > seen + 20, "some have come")  # type: ignore[misc]
            receiver.kill()
            for chain in chains:
                write(chain, [40] * times)
            receiver.start()
        total = 3 * 110 + 40 * (1 + 2 + 3)
        until(lambda: arrived(told) >= 2 * total, "all have come")
    finally:
        sender.end()
        receiver.kill()
    for writer in ("http-0", "work"):
        assert in_order(receiver.numbers(writer)) == list(range(1, total + 1))
    assert told.measured[LAG, "syslog"] == 0
    assert told.counted[MISSED, "syslog"] == 0


def test_goes_on_behind_the_last_record_that_has_arrived_and_sends_none_twice(tmp_path: Path) -> None:
    root, authority = tmp_path / "audit", Authority(tmp_path, "authority")
    chain, receiver = place(root), Receiver(tmp_path, authority)
    with receiver.running():
        for times in range(1, 4):
            write(chain, [5])
            told = Told()
            sender = forwarder(root, receiver, authority, told)
            sender.begin()
            until(lambda told=told: arrived(told) == 5, "it has arrived")  # type: ignore[misc]
            sender.end()
            assert receiver.numbers("http-0") == list(range(1, 5 * times + 1))
    assert "ended" in receiver.lines() and "torn" not in receiver.lines()


def test_one_process_forwards_and_another_takes_over(tmp_path: Path) -> None:
    root, authority, told, others = tmp_path / "audit", Authority(tmp_path, "authority"), Told(), Told()
    chain, receiver = place(root), Receiver(tmp_path, authority)
    write(chain, [5])
    with receiver.running():
        first = forwarder(root, receiver, authority, told)
        first.begin()
        until(lambda: arrived(told) == 5, "it has arrived")
        second = forwarder(root, receiver, authority, others)
        second.begin()
        write(chain, [5])
        until(lambda: arrived(told) == 10, "the first goes on")
        first.end()
        write(chain, [5])
        until(lambda: arrived(others) == 5, "the second takes over")
        second.end()
    assert receiver.numbers("http-0") == list(range(1, 16))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_sends_nothing_to_a_receiver_that_it_cannot_be_sure_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    """Its certificate is of another name, or of an authority that is not trusted."""
    root, told = tmp_path / "audit", Told()
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    write(place(root), [5])
    receiver = Receiver(tmp_path, authority)
    with receiver.running(), caplog.at_level(logging.WARNING):
        trusted = authority if host == "127.0.0.1" else other
        target = SyslogTarget(host, receiver.port, PLACE, trusted.cert)
        sender = Forwarder(root, target, told.telling)
        sender.begin()
        until(lambda: any(line.startswith("failed") for line in receiver.lines()), "it has been refused")
        until(lambda: told.measured.get((LAG, "syslog"), 0) > 0, "it lags behind")
        sender.end()
    assert receiver.messages() == []
    assert "certificate verify failed" in caplog.text
    # The same reason is told once.
    assert caplog.text.count("cannot be forwarded") == 1


def test_shows_a_client_certificate(tmp_path: Path) -> None:
    root, authority, told = tmp_path / "audit", Authority(tmp_path, "authority"), Told()
    chain, receiver = place(root), Receiver(tmp_path, authority, authority.cert)
    write(chain, [5])
    cert, key = authority.issue("pacs")
    both = tmp_path / "both.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    with receiver.running():
        without = forwarder(root, receiver, authority, told)
        without.begin()
        until(lambda: any(line.startswith("failed") for line in receiver.lines()), "it has been refused")
        without.end()
        assert arrived(told) == 0
        target = SyslogTarget("localhost", receiver.port, PLACE, authority.cert, both)
        sender = Forwarder(root, target, told.telling)
        sender.begin()
        until(lambda: arrived(told) == 5, "it has arrived")
        sender.end()
    assert receiver.numbers("http-0") == [1, 2, 3, 4, 5]


def test_does_not_believe_that_what_a_receiver_has_not_read_has_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its system takes what is sent, and nobody ever reads it there."""
    monkeypatch.setattr(syslog_target, "_SECONDS", 0.5)
    root, authority, told = tmp_path / "audit", Authority(tmp_path, "authority"), Told()
    write(place(root), [5])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("receiver", hosts=["localhost"]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        target = SyslogTarget("localhost", listener.getsockname()[1], PLACE, authority.cert)
        sender = Forwarder(root, target, told.telling)
        sender.begin()
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True):
            until(lambda: "does not end its connection" in caplog.text, "it gives up")
        again, _ = listener.accept()
        with context.wrap_socket(again, server_side=True) as connection:
            received = b""
            while b"http-0 5<" not in received:
                received += connection.recv(4096)
    sender.end()
    assert received.count(b"<ParticipantObjectName>http-0 ") == 5
    assert arrived(told) == 0


@pytest.mark.parametrize("believes_cut", [False, True])
def test_a_connection_that_is_cut_proves_nothing(tmp_path: Path, believes_cut: bool) -> None:
    """All was acknowledged and the connection ended without an error, which anybody on the way can do."""
    authority = Authority(tmp_path, "authority")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("receiver", hosts=["localhost"]))

    def read_and_cut(listener: socket.socket) -> None:
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as connection:
            while connection.recv(4096):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=read_and_cut, args=[listener])
        thread.start()
        port = listener.getsockname()[1]
        target = SyslogTarget("localhost", port, PLACE, authority.cert, believes_cut=believes_cut)
        target.send(records(5), "http-0")
        with nullcontext() if believes_cut else pytest.raises(ForwardingError, match="close_notify"):
            target.confirm()
        thread.join()


def test_tells_of_what_was_removed_before_it_could_be_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, authority, told = tmp_path / "audit", Authority(tmp_path, "authority"), Told()
    chain, receiver = place(root, rotate_bytes=1), Receiver(tmp_path, authority)
    write(chain, [4])
    with receiver.running():
        sender = forwarder(root, receiver, authority, told)
        sender.begin()
        until(lambda: arrived(told) == 4, "it has arrived")
        sender.end()
        write(chain, [4] * 3)
        for number in (1, 2, 3):
            (chain.folder / f"{number:012d}.jsonl").unlink()
        sender = forwarder(root, receiver, authority, told)
        sender.begin()
        until(lambda: arrived(told) == 8, "it has gone on")
        sender.end()
    assert receiver.numbers("http-0") == [1, 2, 3, 4, 13, 14, 15, 16]
    assert told.counted[MISSED, "syslog"] == 8
    assert "8 records of the audit trail's chain http-0 were removed" in caplog.text
    [record] = told.records
    assert (record.operation, record.kind, record.count) == ("AuditForwardMissed", "security", 8)
