"""The server's certificate: read again while it serves, and what is wrong with one."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.cli.running import lightwell
from tests.support.certificates import certificate, key_text
from tests.support.server import Server, launch, running, trusting, until

Pair = tuple[Path, Path]


def flags(pair: Pair) -> tuple[str, ...]:
    return ("--tls-cert", str(pair[0]), "--tls-key", str(pair[1]))


def shows(server: Server, cert: Path) -> bool:
    """Whether some new connections are all given this certificate: each worker takes some of them."""
    return {ssl.get_server_certificate(server.address) for _ in range(8)} == {cert.read_text()}


def put(new: Pair, old: Pair) -> None:
    """Replace files as those do who renew certificates: at once, the certificate first."""
    for source, target in zip(new, old, strict=True):
        beside = target.with_suffix(".new")
        shutil.copy(source, beside)
        beside.replace(target)


def test_uses_a_replaced_certificate_for_new_connections(tmp_path: Path) -> None:
    pair, new = certificate(tmp_path, "old"), certificate(tmp_path, "new")
    with running(tmp_path / "data", *flags(pair), workers=2) as server:
        connection = http.client.HTTPSConnection(*server.address, timeout=60, context=trusting())
        connection.connect()
        assert shows(server, pair[0])
        put(new, pair)
        until(lambda: shows(server, new[0]))
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()


def test_reloads_the_certificate_on_sighup(tmp_path: Path) -> None:
    pair, new = certificate(tmp_path, "old"), certificate(tmp_path, "new")
    with running(tmp_path / "data", *flags(pair), workers=2) as server:
        # In place, with size and time as they were, so that nobody could see the change.
        for source, target in zip(new, pair, strict=True):
            state = target.stat()
            text = source.read_bytes().ljust(state.st_size, b"\n")
            with target.open("r+b") as stream:
                stream.write(text)
            os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
        server.process.send_signal(signal.SIGHUP)
        until(lambda: shows(server, new[0]))
        assert server.stop() == 0


def test_keeps_the_certificate_while_its_replacement_is_broken(tmp_path: Path) -> None:
    pair, new = certificate(tmp_path, "old"), certificate(tmp_path, "new")
    old = pair[0].read_text()
    kept = tmp_path / "kept.pem"
    kept.write_text(old)
    with running(tmp_path / "data", *flags(pair), workers=1) as server:
        for broken, why in (
            (new[0].read_text(), "does not match the certificate"),
            (old[:200], "cannot be loaded"),
        ):
            pair[0].write_text(broken)
            until(lambda: any("certificate refused" in line and why in line for line in server.err))  # noqa: B023
            assert shows(server, kept)
        # One that dies meanwhile is started again with the certificate of the start.
        first = set(server.children())
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not first & set(server.children()) and listens(server))
        assert shows(server, kept)
        put(new, pair)
        until(lambda: shows(server, new[0]))


def listens(server: Server) -> bool:
    try:
        ssl.get_server_certificate(server.address, timeout=5)
    except OSError:
        return False
    return True


def swapped(folder: Path) -> Pair:
    cert, key = certificate(folder)
    return key, cert


def of_another(folder: Path) -> Pair:
    return certificate(folder, "one")[0], certificate(folder, "other")[1]


def encrypted(folder: Path) -> Pair:
    cert, key = certificate(folder)
    key.write_bytes(key_text(ec.generate_private_key(ec.SECP256R1()), b"hush"))
    return cert, key


def without_key(folder: Path) -> Pair:
    cert, _ = certificate(folder)
    return cert, cert


def without_certificate(folder: Path) -> Pair:
    _, key = certificate(folder)
    return key, key


def missing(folder: Path) -> Pair:
    return certificate(folder)[0], folder / "nowhere.key"


def folder_for_key(folder: Path) -> Pair:
    return certificate(folder)[0], folder


UNUSABLE: list[tuple[Callable[[Path], Pair], str]] = [
    (swapped, "are swapped"),
    (of_another, "does not match the certificate"),
    (encrypted, "openssl pkey"),
    (without_key, "contains no private key"),
    (without_certificate, "contains no certificate"),
    (missing, "nowhere.key does not exist"),
    (folder_for_key, "cannot be read"),
]


@pytest.mark.parametrize(("make", "why"), UNUSABLE, ids=lambda each: getattr(each, "__name__", ""))
def test_refuses_what_is_not_a_certificate_with_its_key(
    make: Callable[[Path], Pair], why: str, tmp_path: Path
) -> None:
    pair = make(tmp_path)
    server = launch(tmp_path / "data", *flags(pair))
    _, err = server.process.communicate(timeout=60)
    assert server.process.returncode == 2
    assert why in err and "Traceback" not in err
    found = doctor(pair, tmp_path)
    assert (found["ok"], why in str(found["says"])) == (False, True), found


@pytest.mark.parametrize(
    ("begins", "ends", "ok", "warning", "says"),
    [
        (-30, -1, False, False, "expired on 20"),
        (1, 30, False, False, "is not valid before 20"),
        (-30, 3, True, True, "expires soon"),
        (-30, 300, True, False, "valid until 20"),
    ],
)
def test_doctor_reports_when_a_certificate_is_valid(
    begins: int, ends: int, ok: bool, warning: bool, says: str, tmp_path: Path
) -> None:
    found = doctor(certificate(tmp_path, begins=begins, ends=ends), tmp_path)
    assert (found["ok"], found["warning"], says in str(found["says"])) == (ok, warning, True), found


def test_serves_with_an_expired_certificate_and_says_so(tmp_path: Path) -> None:
    pair = certificate(tmp_path, begins=-30, ends=-1)
    with running(tmp_path / "data", *flags(pair)) as server:
        assert shows(server, pair[0])
    assert any("expired on" in line for line in server.err)


def doctor(pair: Pair, folder: Path) -> dict[str, object]:
    done = lightwell("doctor", "--json", "--port", "0", *flags(pair), data=folder / "data")
    rows: dict[str, dict[str, object]] = {row["check"]: row for row in done.json()}
    return rows["tls"]


def pipe(file: Path) -> None:
    os.mkfifo(file)


def endless(file: Path) -> None:
    file.symlink_to("/dev/zero")


def large(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(1 << 32)


@pytest.mark.parametrize("put_there", [pipe, endless, large])
def test_keeps_serving_while_the_certificate_is_unreadable(
    put_there: Callable[[Path], None], tmp_path: Path
) -> None:
    """Neither waiting for a writer nor for all its bytes."""
    pair, new = certificate(tmp_path, "old"), certificate(tmp_path, "new")
    kept = tmp_path / "kept.pem"
    shutil.copy(pair[0], kept)
    with running(tmp_path / "data", *flags(pair), workers=1) as server:
        pair[0].unlink()
        put_there(pair[0])
        server.process.send_signal(signal.SIGHUP)
        until(
            lambda: any("certificate refused" in line and "is not a file of" in line for line in server.err)
        )
        assert shows(server, kept)
        pair[0].unlink()
        put(new, pair)
        until(lambda: shows(server, new[0]))
        assert server.stop() == 0
