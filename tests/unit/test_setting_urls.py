"""URLs in settings: refused with a sentence, shown without a password."""

from __future__ import annotations

import random
from urllib.parse import quote, unquote

import pytest
from psycopg.conninfo import conninfo_to_dict

from lightwell.errors import ConfigurationError
from lightwell.setting_urls import (
    database_fault,
    database_place,
    endpoint_fault,
    feed_fault,
    masked_url,
    public_fault,
    storage_fault,
    syslog_fault,
)
from lightwell.settings import load, masked
from lightwell.stores.db.database import Database
from lightwell.stores.db.errors import masked as masked_message

_HEAD, _TAIL = "Zq9w", "Xk7v"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////var/lib/lightwell.db",
        "postgresql:///images",
        "postgres://me@db/images",
        "postgresql://me:secret@[2001:db8::1]:5432/images?sslmode=require",
        "postgresql://me:se:cr?e#t@a:1,b:2/images",
        "postgresql://me:p%40%2F%25@%2Ftmp%2Frun/images",
        "postgresql:///images?host=/tmp/run&port=5433&user=me&password=secret",
    ],
)
def test_takes_the_urls_of_databases_that_libpq_takes(url: str) -> None:
    assert database_fault(url) is None
    if url.startswith("postgres"):
        given = conninfo_to_dict(url)
        assert str(given.get("password", "\n")) not in masked_url(url)
        assert str(given["dbname"]) in database_place(url)


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("Zq9w@Xk7v", "an @ too many"),
        ("Zq9w/Xk7v", "a / before the @"),
        ("Zq9w%Xk7v", "no two hexadecimal digits"),
        ("Zq9w Xk7v", "a space"),
        ("Zq9w@1?Xk7v", "an @ too many"),
        ("1/Zq9w?Xk7v=", "a / before the @"),
    ],
)
def test_says_how_to_write_a_password_and_repeats_none_of_it(password: str, words: str) -> None:
    url = f"postgresql://me:{password}@db.example/images"
    with pytest.raises(
        ConfigurationError, match=f"database_url from LIGHTWELL_DATABASE_URL.*{words}"
    ) as found:
        load(environ={"LIGHTWELL_DATABASE_URL": url})
    assert "%40" in str(found.value) and "percent-encoding" in str(found.value)
    for said in (str(found.value), masked("database_url", url), Database(url).address):
        assert _HEAD not in said and _TAIL not in said
    right = f"postgresql://me:{quote(password, safe='')}@db.example/images"
    assert database_fault(right) is None
    assert masked_url(right) == "postgresql://me:********@db.example/images"
    assert conninfo_to_dict(right)["password"] == password


def test_leaks_no_part_of_a_password_whatever_it_is() -> None:
    dice = random.Random(20)
    characters = "@/:?#%&=[],;'\"\\ \t\n\0é~+$!*()<>^`{|}ab01"
    accepted = 0
    for _ in range(10_000):
        middle = "".join(dice.choices(characters, k=dice.randrange(1, 8)))
        password = dice.choice((_HEAD, "")) + middle + _TAIL
        host = dice.choice(("db", "db:5432", "", "[::1]:1", "a,b:2"))
        rest = dice.choice(("/images", "", "/images?sslmode=require", "?x=1"))
        url = f"{dice.choice(('postgresql', 'postgres'))}://me:{password}@{host}{rest}"
        said = [masked("database_url", url), Database(url).address, masked_message(f'bad "{url}"')]
        try:
            loaded = load({"database_url": url}, environ={})
        except ConfigurationError as error:
            said[2:] = [str(error)]
        else:
            accepted += 1
            said.append(database_place(loaded.database))
            try:
                given = conninfo_to_dict(url)
            except Exception:
                assert rest == "?x=1"  # an option that libpq does not know
            else:
                assert given["password"] == unquote(password)
        assert all(_HEAD not in text and _TAIL not in text for text in said), (url, said)
    assert 1_000 < accepted < 9_000


def test_no_text_at_all_is_more_than_a_wrong_setting() -> None:
    dice = random.Random(21)
    pieces = [
        "http",
        "s3",
        "file",
        "postgresql",
        "sqlite",
        "://",
        ":",
        "/",
        "@",
        "[",
        "]",
        "%",
        "?",
        "#",
        "..",
        "~",
    ]
    pieces += [
        "host",
        "99999",
        "-1",
        "8085",
        "é",
        "\0",
        "\ud800",
        " ",
        "10.0.0.0",
        "/8",
        ",",
        "::",
        "1e9",
        "\u2100",
    ]
    names = ["database_url", "storage_url", "storage_endpoint_url", "s3_endpoint_url", "public_url"]
    names += ["trusted_proxies", "host", "data", "tls_cert", "buckets_dir"]
    for _ in range(10_000):
        name, text = dice.choice(names), "".join(dice.choices(pieces, k=dice.randrange(1, 9)))
        try:
            loaded = load({name: text}, environ={})
        except ConfigurationError as error:
            assert name in str(error) or "tls" in str(error)
        else:
            masked(name, getattr(loaded, name))
            if name == "database_url":
                database_place(loaded.database)


@pytest.mark.parametrize(
    "url",
    ["http://h:x", "http://[::1", "http://h:99999", "http://h:0", "ftp://h", "http:///x", "http://a\u2100b"],
)
def test_refuses_urls_of_servers_that_nothing_can_call(url: str) -> None:
    for fault in (endpoint_fault, public_fault):
        assert str(fault(url)).startswith("must be http(s)://HOST[:PORT][/PATH]")


def test_takes_a_password_for_an_endpoint_and_none_for_clients() -> None:
    url = "http://me:secret@minio:9000"
    assert endpoint_fault(url) is None
    assert "without a user name" in (public_fault(url) or "")
    assert masked_url(url) == "http://********@minio:9000"
    for wrong in ("http://me:Zq@Xk7v@minio", "http://me:Zq/Xk7v@minio"):
        assert "%40" in str(endpoint_fault(wrong)) and "Xk7v" not in str(endpoint_fault(wrong))
    assert public_fault("https://[2001:db8::1]:9000/path") is None


def test_refuses_storage_that_is_neither_a_folder_nor_a_bucket() -> None:
    assert storage_fault("file:///var/lib/a[b") is None and storage_fault("s3://bucket/pre/fix") is None
    for url in ("s3://", "s3://a@b/c", "s3://[x", "gs://b", "file://host/x", "s3://b?x"):
        assert storage_fault(url) == "must be file:///PATH or s3://BUCKET/PREFIX", url


@pytest.mark.parametrize(
    ("url", "is_right"),
    [
        ("tls://arr.example.org:6514", True),
        ("tls://arr", True),
        ("tls://[2001:db8::7]:6514", True),
        ("tcp://arr.example.org:601", False),
        ("tls://", False),
        ("tls://arr:0", False),
        ("tls://arr:65536", False),
        ("tls://arr/path", False),
        ("tls://user@arr", False),
        ("tls://a rr", False),
        ("arr.example.org", False),
    ],
)
def test_sends_the_audit_trail_over_tls_only(url: str, is_right: bool) -> None:
    assert (syslog_fault(url) is None) == is_right
    if not is_right:
        with pytest.raises(ConfigurationError, match="audit_syslog from --audit-syslog must be tls://"):
            load({"audit_syslog": url}, environ={})


@pytest.mark.parametrize(
    ("url", "is_right"),
    [
        ("https://fhir.example.org/r4", True),
        ("http://127.0.0.1:8080/fhir", True),
        ("http://fhir.example.org/r4", False),
        ("https://user:word@fhir.example.org", False),
        ("https://fhir.example.org?x=1", False),
        ("ftp://fhir.example.org", False),
    ],
)
def test_tells_no_stranger_of_patients(url: str, is_right: bool) -> None:
    assert (feed_fault(url) is None) == is_right
    if not is_right:
        with pytest.raises(ConfigurationError, match="audit_fhir from --audit-fhir must "):
            load({"audit_fhir": url}, environ={})
