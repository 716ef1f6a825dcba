"""URLs in settings: what is wrong with one, and how it is shown without its password.

A fault is said without repeating any part of the URL: where a password contains a character that ends it,
what follows looks like a host, a port or a path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

MASK = "********"
POSTGRESQL = ("postgresql://", "postgres://")
_ENCODE = (
    "in a user name or password write @ as %40, / as %2F, : as %3A, ? as %3F, # as %23 and % as %25 "
    "(percent-encoding)"
)
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%25[\w.-]+)?\]|[^\[\]:,@]*)(?::(\d{0,5}))?")
_OPTION = re.compile(r"[a-z_0-9]+=[^&]*")


@dataclass(frozen=True, slots=True)
class _Parts:
    """A PostgreSQL URL as libpq splits it: the first @ ends user and password if no / comes before it."""

    scheme: str
    user: str | None
    password: str | None
    hosts: str
    path: str
    options: str | None

    @property
    def shown(self) -> str:
        """The URL, with what is secret in it masked."""
        text = f"{self.scheme}://"
        if self.user is not None:
            text += self.user + (f":{MASK}" if self.password is not None else "") + "@"
        text += self.hosts + self.path
        if self.options is not None:
            text += "?" + "&".join(_masked_option(option) for option in self.options.split("&"))
        return text


def database_fault(url: str) -> str | None:
    """What is wrong with the URL of a database; None if it can be tried."""
    if url.startswith("sqlite:///"):
        return None if len(url) > len("sqlite:///") else "names no file: it takes sqlite:///PATH"
    if not url.startswith(POSTGRESQL):
        return "must be sqlite:///PATH or postgresql://…"
    if _CONTROL.search(url):
        return f"contains a space or a control character: write it as %20 or the like, and {_ENCODE}"
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", url):
        return f"contains a % that begins no two hexadecimal digits: {_ENCODE}"
    try:
        unquote(url, errors="strict").encode()
    except UnicodeError:
        return f"contains bytes that are not UTF-8: {_ENCODE}"
    parts = _split(url)
    if url.count("@") > (0 if parts.user is None else 1):
        return f"contains an @ too many, or a / before the @: {_ENCODE}"
    for host in parts.hosts.split(","):
        match = _HOST.fullmatch(host)
        if match is None or (match[1] and not 1 <= int(match[1]) <= 65535):
            return f"contains no host and port, such as HOST:5432, where they belong: {_ENCODE}"
    if parts.options and not all(_OPTION.fullmatch(option) for option in parts.options.split("&")):
        return f"contains options that are not NAME=VALUE, joined by &: {_ENCODE}"
    return None


def public_fault(url: str) -> str | None:
    """What is wrong with a URL that clients are given; None if nothing is."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        return "must be http(s)://HOST[:PORT][/PATH], without a user name or password: clients are told it"
    return endpoint_fault(url)


def endpoint_fault(url: str) -> str | None:
    """What is wrong with the URL of an S3 endpoint; None if it can be tried."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        port, host = 0, None
    is_plain = re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url) and not _CONTROL.search(url)
    if not is_plain or not host or port == 0 or url.count("@") > 1 or "@" in parts.path:
        return f"must be http(s)://HOST[:PORT][/PATH]; {_ENCODE}"
    return None


def issuer_fault(url: str) -> str | None:
    """What is wrong with the URL of an OpenID provider (OpenID Connect Core 1.0 §2); None if nothing is."""
    if endpoint_fault(url) is not None or "@" in url or url.partition("://")[2].endswith("//"):
        return "must be https://HOST[:PORT][/PATH], exactly as tokens of the provider have it in iss"
    if url.startswith("http://") and not is_loopback(url):
        return "must begin with https://: with plain HTTP anybody in between could sign in as anyone"
    return None


def syslog_fault(url: str) -> str | None:
    """What is wrong with the address of a syslog receiver; None if it can be tried."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        port, host = 0, None
    if not re.fullmatch(r"tls://[^\s/?#@]+", url) or _CONTROL.search(url) or not host or port == 0:
        return "must be tls://HOST or tls://HOST:PORT: the audit trail is sent over TLS only"
    return None


def feed_fault(url: str) -> str | None:
    """What is wrong with the base URL of a FHIR server; None if it can be tried."""
    if endpoint_fault(url) is not None or "@" in url:
        return "must be https://HOST[:PORT][/PATH], without a user name or password"
    if url.startswith("http://") and not is_loopback(url):
        return "must begin with https://: the audit trail tells about patients"
    return None


def is_loopback(url: str) -> bool:
    """Whether the URL names this machine itself."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or re.fullmatch(r"127(?:\.\d{1,3}){3}", host) is not None


def storage_fault(url: str) -> str | None:
    """What is wrong with the URL of a storage; None if it can be tried."""
    if url.startswith("file:///") and "\0" not in url:
        return None
    if re.fullmatch(r"s3://[A-Za-z0-9][A-Za-z0-9._-]*(/[^\x00-\x1f?#]*)?", url):
        return None
    return "must be file:///PATH or s3://BUCKET/PREFIX"


def masked_url(url: str) -> str:
    """``url`` for display, without the password in it.

    Where it cannot be told what is the password, all that may belong to it is left out.
    """
    if url.startswith("sqlite:///"):
        return url
    if url.startswith(POSTGRESQL):
        if database_fault(url) is None:
            return _split(url).shown
        return f"{url.partition('://')[0]}://{MASK}"
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    before, at, after = rest.rpartition("@")
    return f"{scheme}://{MASK}@{after}" if at and before else url


def database_place(url: str) -> str:
    """Where a database is, without user, password and options: to tell one from another."""
    if not url.startswith(POSTGRESQL):
        return url
    parts = _split(url)
    options = dict(option.partition("=")[::2] for option in (parts.options or "").split("&"))
    name = options.get("dbname") or parts.path.strip("/")
    return f"postgresql://{parts.hosts or options.get('host', '')}/{name}"


def _split(url: str) -> _Parts:
    scheme, _, rest = url.partition("://")
    user: str | None = None
    password: str | None = None
    if (end := re.search(r"[@/]", rest)) is not None and end[0] == "@":
        user, colon, secret = rest[: end.start()].partition(":")
        password = secret if colon else None
        rest = rest[end.end() :]
    rest, mark, options = rest.partition("?")
    hosts, slash, path = rest.partition("/")
    return _Parts(scheme, user, password, hosts, slash + path, options if mark else None)


def _masked_option(option: str) -> str:
    name, mark, _ = option.partition("=")
    return f"{name}={MASK}" if mark and "password" in name else option
