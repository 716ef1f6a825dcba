"""`lightwell data verify` of a person: beside the server's own run, after an accident, with two damages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import select, update

from lightwell.cli.main import main
from lightwell.domain.integrity import FaultKind
from lightwell.stores.db import tables
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.work.verifying.run import Mode, Verifier
from tests.support.ct_files import ct, write
from tests.support.imports import Importing, importing


def turn_a_bit(server: Importing, pack: int) -> None:
    path = server.settings.data / "objects" / pack_name(pack)
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)


def packs(server: Importing) -> list[int]:
    with server.stores.db.read() as conn:
        return list(conn.execute(select(tables.pack.c.key).order_by(tables.pack.c.key)).scalars())


def past_the_packs(server: Importing, mode: Mode) -> Verifier:
    run = Verifier(server.stores, server.settings, lambda done, total: None, mode=mode, processes=1)
    run.begin()
    while run._phase in ("pages", "packs"):
        run.step()
    return run


def verify(server: Importing, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    places = ("--data", str(server.settings.data), "--database-url", server.settings.database)
    code = main(["data", "verify", *places, *words])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.long
def test_looks_at_everything_whatever_another_run_has_looked_at(
    sqlite: Importing, capsys: pytest.CaptureFixture[str]
) -> None:
    write(sqlite.input / "a" / "x.dcm", ct(1))
    sqlite.run("a/")
    of_server, own = past_the_packs(sqlite, "regular"), past_the_packs(sqlite, "sample")
    own.close()
    turn_a_bit(sqlite, packs(sqlite)[0])  # the accident
    code, out, err = verify(sqlite, capsys, "--resume")
    assert code == 0 and "everything is intact" in out
    assert "went on with a run that began at 20" in err and "was not looked at again" in err
    past_the_packs(sqlite, "sample").close()
    code, out, err = verify(sqlite, capsys)
    assert code == 1 and "its bytes have changed" in err and "went on" not in err
    # The server's is its own still.
    while not of_server.step():
        pass
    of_server.close()


@pytest.mark.long
def test_goes_on_where_what_a_fault_concerns_is_damaged_too(
    sqlite: Importing, capsys: pytest.CaptureFixture[str]
) -> None:
    write(sqlite.input / "a" / "x.dcm", ct(1))
    sqlite.run("a/")
    turn_a_bit(sqlite, packs(sqlite)[0])
    value = tables.level_value
    with sqlite.stores.db.read() as conn:
        key = conn.execute(select(tables.record.c.series_value)).scalar_one()
        body = bytearray(conn.execute(select(value.c.body_z).where(value.c.key == key)).scalar_one())
    body[len(body) // 2] ^= 4
    statement = update(value).where(value.c.key == key).values(body_z=bytes(body))
    sqlite.stores.db.write(lambda conn: conn.execute(statement))
    code, _, err = verify(sqlite, capsys, "--quick")
    assert code == 1 and "its bytes have changed" in err and "A stored attribute block" in err
    with sqlite.stores.db.read() as conn:
        told = [json.loads(event) for event in conn.execute(select(tables.outbox.c.event)).scalars()]
    of_pack = [each for each in told if each["detail"].get("place") == pack_name(packs(sqlite)[0])]
    assert [each["detail"]["imagesetIds"] for each in of_pack] == [[]]


@pytest.mark.long
def test_a_missing_key_file_hides_no_damage_and_stops_nothing(
    tmp_path: Path, migrated_sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = importing(tmp_path / "data", migrated_sqlite_url, encryption="always")
    for name in "ab":
        write(server.input / name / "x.dcm", ct(1, study=f"7{ord(name)}", PatientID=name))
        server.run(f"{name}/")
    damaged, _ = packs(server)
    turn_a_bit(server, damaged)
    (server.settings.data / "encryption.key").unlink()
    code, out, _ = verify(server, capsys, "--json")
    found = {(each["kind"], each["pack"]) for each in json.loads(out)["problems"]}
    without = {(FaultKind.WITHOUT_KEY.value, pack_name(key)) for key in packs(server)}
    assert code == 1 and {("damaged", pack_name(damaged))} | without <= found
    code, _, err = verify(server, capsys)
    assert code == 1 and "What is encrypted was not looked at, but for its bytes" in err
    assert "No data is known to be lost" not in err
    server.close()


def test_a_dropped_document_is_no_damage(sqlite: Importing, capsys: pytest.CaptureFixture[str]) -> None:
    path = sqlite.stores.documents.root / "ab" / f"{171:016x}" / "1-3-json.gz"
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_bytes(b"lwd1cut off")
    code, out, err = verify(sqlite, capsys)
    assert code == 0 and "everything is intact" in out and not path.exists()
    assert "1 cached document dropped" in err and "Nothing is to be done" in err and "Restore" not in err
