"""A name for this machine that stays one when an AWS client puts a prefix before it.

Eight operations of HealthImaging are on hosts of their own, ``runtime-…`` and ``dicom-…``. Clients that
cannot be told to leave the prefix out, such as version 2.23 of the AWS CLI, would call ``runtime-127.0.0.1``,
which is no name. Every name below ``localhost`` may mean this machine (RFC 6761 §6.3): systemd-resolved and
nss-myhostname see to that, and elsewhere a line in the hosts file does. The server itself ignores names.
"""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_address
from time import monotonic
from urllib.parse import urlsplit

HOST = "lightwell.localhost"
NAMES = (HOST, f"runtime-{HOST}", f"dicom-{HOST}")
# Where nothing knows the names, asking may take as long as a name server that does not answer.
_SECONDS = 1.0


def named_url(url: str) -> str | None:
    """``url`` with a name that clients may put prefixes before.

    None if the names do not resolve to this machine within a second; ``url`` itself if it is not plain HTTP
    on this machine, where a name could not be exchanged: the certificate holds another one.
    """
    if not is_for_names(url):
        return url
    parts = urlsplit(url)
    wanted = _addresses([parts.hostname or ""])
    found = _addresses(NAMES)
    mine = wanted.get(parts.hostname or "", frozenset())
    for name in NAMES:
        addresses = found.get(name, frozenset())
        if not mine or not addresses >= mine or not all(map(_is_loopback, addresses)):
            return None
    return f"http://{HOST}:{parts.port}"


def is_for_names(url: str) -> bool:
    """Whether ``url`` is plain HTTP on this machine alone."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "http" and (host == "localhost" or _is_loopback(host))


def hosts_line(url: str) -> str:
    """The line of a hosts file that makes `named_url` find the names."""
    host = urlsplit(url).hostname or ""
    address = host if _is_loopback(host) else min(_addresses([host]).get(host) or {"127.0.0.1"})
    return f"{address} {' '.join(NAMES)}"


def _is_loopback(text: str) -> bool:
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return False


def _addresses(names: tuple[str, ...] | list[str]) -> dict[str, frozenset[str]]:
    """The addresses of each name; without those that could not be found in time."""
    found: dict[str, frozenset[str]] = {}

    def look_up(name: str) -> None:
        try:
            answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        found[name] = frozenset(str(answer[4][0]) for answer in answers)

    # Nothing else bounds how long a look-up takes, so it may be left behind.
    threads = [threading.Thread(target=look_up, args=(name,), daemon=True) for name in names]
    until = monotonic() + _SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - monotonic()))
    return dict(found)
