"""Access keys: the root key, the look-up and its cache, the secret_box."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lightwell.auth import principals
from lightwell.auth.administration.key_changes import set_enabled
from lightwell.auth.administration.key_rotation import Ends, rotate
from lightwell.auth.credentials import read_credentials, write_credentials
from lightwell.auth.key_sessions import KeySessions
from lightwell.auth.principals import Credentials, Principals, create_key, ensure_root
from lightwell.auth.secret_box import SecretBox, create_secret_key, open_secret_box
from lightwell.domain.recent import FRESH_MS
from lightwell.errors import AccessDeniedError, ConfigurationError, ConflictError
from lightwell.stores.account import principals as table
from lightwell.stores.db.database import Database

ACCOUNT = "000000000000"
GIVEN = Credentials("GIVEN_BY_SETTINGS", "secret")


@pytest.fixture
def secret_box() -> SecretBox:
    return SecretBox(b"k" * 32, "a test")


@pytest.fixture
def known(database: Database, secret_box: SecretBox) -> Principals:
    return Principals(database, secret_box, ACCOUNT, "us-east-1")


@pytest.fixture
def sqlite(migrated_sqlite_url: str) -> Iterator[Database]:
    db = Database(migrated_sqlite_url)
    yield db
    db.close()


def test_makes_the_root_key_once(database: Database, secret_box: SecretBox) -> None:
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda now: ensure_root(database, secret_box, None, now), range(6)))
    assert len({key for key, _ in made}) == 1
    assert [is_new for _, is_new in made].count(True) == 1


def test_puts_the_given_root_key_in_place_of_the_made_one(database: Database, secret_box: SecretBox) -> None:
    made, _ = ensure_root(database, secret_box, None, 1)
    assert ensure_root(database, secret_box, GIVEN, 2) == (GIVEN, False)
    assert ensure_root(database, secret_box, GIVEN, 3) == (GIVEN, False)
    assert ensure_root(database, secret_box, None, 4) == (GIVEN, False)
    with database.read() as conn:
        old, new = table.get(conn, made.access_key_id), table.get(conn, GIVEN.access_key_id)
    assert old is not None and old.revoked_at == 2
    assert new is not None and new.revoked_at is None and new.created_at == 2


def test_lets_no_setting_take_over_a_users_key(sqlite: Database, secret_box: SecretBox) -> None:
    user = create_key(sqlite, secret_box, "ana", 1)
    with pytest.raises(ConfigurationError, match="ana"):
        ensure_root(sqlite, secret_box, Credentials(user.access_key_id, "mine"), 2)


def test_refuses_a_database_of_another_secret_key(sqlite: Database, secret_box: SecretBox) -> None:
    create_key(sqlite, secret_box, "ana", 1)
    other = SecretBox(b"o" * 32, "another test")
    for given in (None, GIVEN):
        with pytest.raises(ConfigurationError, match="another"):
            ensure_root(sqlite, other, given, 2)


@pytest.mark.parametrize("name", ["", "root", "a b", "ü", "a/b", "n" * 65])
def test_refuses_names_that_no_arn_could_hold(sqlite: Database, secret_box: SecretBox, name: str) -> None:
    with pytest.raises(ConfigurationError):
        create_key(sqlite, secret_box, name, 1)


def test_tells_who_a_key_is(database: Database, secret_box: SecretBox, known: Principals) -> None:
    root, _ = ensure_root(database, secret_box, None, 1)
    user = create_key(database, secret_box, "ana", 1)
    found = known.load(root.access_key_id, 0)
    assert found is not None and found.arn == "arn:aws:iam::000000000000:root"
    found = known.load(user.access_key_id, 0)
    assert found is not None and found.arn == "arn:aws:iam::000000000000:user/ana"
    assert (found.secret, found.session_token) == (user.secret_access_key, None)


def test_remembers_for_a_moment(database: Database, secret_box: SecretBox, known: Principals) -> None:
    key = create_key(database, secret_box, "ana", 1).access_key_id
    assert known.cached(key, 0) == (False, None)
    found = known.load(key, 0)
    assert known.cached(key, FRESH_MS - 1) == (True, found)
    assert known.cached(key, FRESH_MS) == (False, None)
    assert known.cached(key, -1) == (False, None), "the clock went back"
    database.write(lambda conn: table.revoke(conn, key, 2))
    assert known.load(key, FRESH_MS) is None
    assert known.cached(key, FRESH_MS + 1) == (True, None)
    assert known.cached(key, 2 * FRESH_MS) == (False, None)


def test_sees_within_a_moment_that_a_key_was_disabled_or_enabled(
    database: Database, secret_box: SecretBox, known: Principals
) -> None:
    key = create_key(database, secret_box, "ana", 1).access_key_id
    found = known.load(key, 0)
    assert found is not None
    session = KeySessions(database, secret_box).of_key(found, 2).credentials.access_key_id
    assert known.load(session, 0) is not None
    set_enabled(database, key, 3, is_enabled=False)
    for id in (key, session):
        assert known.cached(id, FRESH_MS) == (False, None), "it is looked up again within a second"
        assert known.load(id, FRESH_MS) is None
    with pytest.raises(AccessDeniedError, match="disabled"):
        KeySessions(database, secret_box).of_key(found, 4)
    set_enabled(database, key, 5, is_enabled=True)
    for id in (key, session):
        assert known.cached(id, 2 * FRESH_MS) == (False, None)
        assert known.load(id, 2 * FRESH_MS) is not None


def test_rotates_a_key_once_for_as_long_a_life(
    database: Database, secret_box: SecretBox, known: Principals
) -> None:
    key = create_key(database, secret_box, "ana", 1_000, ["{}"], expires_at=91_000).access_key_id
    made = rotate(database, secret_box, key, 11_000, Ends(21_000))
    assert (made.expires_at, made.old_ends_at) == (101_000, 21_000)
    old, new = known.load(key, 0), known.load(made.credentials.access_key_id, 0)
    assert old is not None and new is not None and (old.expires_at, new.expires_at) == (21_000, 101_000)
    assert new.secret == made.credentials.secret_access_key != old.secret and new.arn == old.arn
    with pytest.raises(ConflictError, match=f"successor is {made.credentials.access_key_id}"):
        rotate(database, secret_box, key, 12_000, Ends(22_000))
    # An overlap does not lengthen the life of the old one.
    again = rotate(database, secret_box, made.credentials.access_key_id, 12_000, Ends(999_000))
    assert again.old_ends_at == 101_000
    with pytest.raises(ConflictError, match="expired"):
        rotate(database, secret_box, again.credentials.access_key_id, 10**6, Ends(10**7))
    # No key ends so late that its end could not be shown.
    late = create_key(database, secret_box, "ana", 1, expires_at=253_402_300_799_000).access_key_id
    assert rotate(database, secret_box, late, 12_000, Ends(13_000)).expires_at == 253_402_300_799_000
    # A successor whose secret nobody has is revoked, and followed by another that lives as long.
    database.write(lambda conn: table.revoke(conn, made.credentials.access_key_id, 12_000))
    another = rotate(database, secret_box, key, 13_000, Ends(999_000))
    assert (another.expires_at, another.old_ends_at) == (103_000, 21_000)
    other = create_key(database, secret_box, "ana", 1).access_key_id
    set_enabled(database, other, 2, is_enabled=False)
    with pytest.raises(ConflictError, match="disabled"):
        rotate(database, secret_box, other, 3, Ends(4))
    with pytest.raises(ConfigurationError):
        rotate(
            database, SecretBox(b"o" * 32, "another"), again.credentials.access_key_id, 13_000, Ends(14_000)
        )


def test_rotates_the_root_key_that_it_made(database: Database, secret_box: SecretBox) -> None:
    first, _ = ensure_root(database, secret_box, None, 5)
    with pytest.raises(ConflictError, match="root key"):
        rotate(database, secret_box, first.access_key_id, 6, Ends(100))
    with pytest.raises(ConflictError, match="never ends"):
        rotate(database, secret_box, first.access_key_id, 6, Ends(100, 10**9), root=True)
    made = rotate(database, secret_box, first.access_key_id, 5, Ends(100), root=True)
    assert ensure_root(database, secret_box, None, 7) == (made.credentials, False)
    with database.read() as conn:
        old, new = table.get(conn, first.access_key_id), table.root(conn, 8)
    assert old is not None and (old.expires_at, old.revoked_at) == (100, None)
    assert new is not None and new.is_root and new.policies is None and new.expires_at is None
    # Nobody is left without a root key: while the old one is good that is it, and later there is another.
    database.write(lambda conn: table.revoke(conn, new.id, 8))
    assert ensure_root(database, secret_box, None, 99) == (first, False)
    another, is_new = ensure_root(database, secret_box, None, 100)
    assert is_new and another not in (first, made.credentials)


def test_asks_nobody_about_what_is_no_id(known: Principals) -> None:
    for id in ("", "short", "x" * 129, "with blank in the id", "Ünïcödé0123456789"):
        assert known.cached(id, 0) == (True, None)


def test_keeps_what_is_in_use_when_ids_are_guessed(
    sqlite: Database, secret_box: SecretBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(principals, "_MOST_UNKNOWN", 10)
    known = Principals(sqlite, secret_box, ACCOUNT, "us-east-1")
    key = create_key(sqlite, secret_box, "ana", 1).access_key_id
    known.load(key, 0)
    for number in range(35):
        assert known.load(f"GUESS{number:020}", 0) is None
    assert len(known._unknown) <= 10
    assert known.cached(key, 0)[1] is not None


def test_makes_keys_of_the_shape_of_aws(secret_box: SecretBox) -> None:
    made = {principals.new_credentials() for _ in range(50)}
    assert len({key.access_key_id for key in made}) == 50
    assert all(len(k.access_key_id) == 20 and len(k.secret_access_key) == 40 for k in made)


def test_keeps_credentials_in_a_file_for_its_owner(tmp_path: Path) -> None:
    key = Credentials("AKLW0123456789ABCDEF", "a+b/c")
    assert read_credentials(tmp_path) is None
    assert write_credentials(tmp_path, key)
    assert not write_credentials(tmp_path, key)
    assert read_credentials(tmp_path) == key
    assert (tmp_path / "credentials").stat().st_mode & 0o777 == 0o600
    for broken in ("", "[other]\na = b\n", "[lightwell]\naws_access_key_id = x\n", "no ini", "\xff"):
        (tmp_path / "credentials").write_text(broken, "latin-1")
        assert read_credentials(tmp_path) is None
    assert write_credentials(tmp_path, key)


def test_makes_one_secret_key_however_many_ask(tmp_path: Path) -> None:
    def made(_: int) -> SecretBox:
        create_secret_key(tmp_path / "new")
        return open_secret_box(None, tmp_path / "new")

    with ThreadPoolExecutor(8) as pool:
        secret_boxes = list(pool.map(made, range(8)))
    sealed = secret_boxes[0].encrypt("text")
    assert {secret_box.decrypt(sealed) for secret_box in secret_boxes} == {"text"}
    assert (tmp_path / "new" / "secret.key").stat().st_mode & 0o777 == 0o600
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_takes_a_secret_key_in_either_alphabet(tmp_path: Path) -> None:
    raw = bytes(range(224, 256))
    sealed = SecretBox(raw, "a test").encrypt("text")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert open_secret_box(encode(raw).decode(), tmp_path).decrypt(sealed) == "text"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "short", "A" * 44, "é" * 43, "=" * 44])
def test_refuses_what_is_no_secret_key(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="openssl rand"):
        open_secret_box(text, tmp_path)
