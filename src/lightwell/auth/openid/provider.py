"""What an OpenID provider publishes about itself: its endpoints and its keys, fetched and kept.

Sources: OpenID Connect Discovery 1.0 §4, RFC 8414 §2 (the document), RFC 7517 (the keys). Only addresses that
the administrator or the provider itself names are fetched, over TLS, without redirects, and up to a size.
"""

from __future__ import annotations

import logging
import re
import ssl
import threading
import urllib.error
import urllib.request
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry

from lightwell.auth.openid.errors import ProviderUnreachableError
from lightwell.errors import LightwellError
from lightwell.observe.logs import event
from lightwell.setting_urls import is_loopback

log = logging.getLogger(__name__)

WELL_KNOWN = "/.well-known/openid-configuration"
FRESH_SECONDS = 3600.0
"""How old keys may be; keys that cannot be renewed are used for longer, see `STALE_SECONDS`."""
STALE_SECONDS = 24 * 3600.0
AGAIN_SECONDS = 30.0
"""How soon keys are fetched again because a token names one that is not among them."""
RETRY_SECONDS = 5.0
"""How soon a provider that did not answer is asked again."""
WAIT_SECONDS = 6.0
_SOCKET_SECONDS = 5.0
_BODY_SECONDS = 10.0
"""How long one answer may take, once it has begun."""
_FETCH_SECONDS = 30.0
"""How long all answers may take; then they are given up, for the next one who asks."""
_MOST_FETCHING = 4
"""How many threads may fetch, those included whose answers were given up."""
_LARGEST = 512 << 10
_MOST_KEYS = 100
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
# Symmetric keys are none that a provider could publish.
_KINDS = frozenset(("RSA", "EC", "OKP"))


class Metadata(msgspec.Struct, frozen=True):
    """The parts of the provider's discovery document that are used."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    end_session_endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A public key. ``key`` is joserfc's; ``algorithm`` is the only one that it is for, if it says so."""

    id: str | None
    algorithm: str | None
    key: Any


@dataclass(frozen=True, slots=True)
class Published:
    """What the provider publishes, as it was at ``fetched``, by the monotonic clock."""

    metadata: Metadata
    keys: tuple[ProviderKey, ...]
    fetched: float


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


_METADATA = msgspec.json.Decoder(Metadata)
_KEY_SET = msgspec.json.Decoder(_KeySet)


class _Fault(LightwellError):
    """The provider could not be asked, or its answer not used; the message says why, for the log."""


class OpenIdProvider:
    """One provider, as one process knows it; safe to use from several threads.

    One thread at a time fetches, however many wait for it; none waits longer than `WAIT_SECONDS`.
    """

    def __init__(self, issuer: str, ca: Path | None = None) -> None:
        self.issuer = issuer
        self._ca = ca
        self._lock = threading.Lock()
        self._published: Published | None = None
        self._flight: Future[Published] | None = None
        self._began = 0.0
        self._fetching: list[threading.Thread] = []
        self._failed: tuple[float, str] | None = None

    def known(self) -> Published | None:
        """What was fetched before, however long ago. Never blocks."""
        return self._published

    def has_failed(self) -> bool:
        """Whether it did not answer, or not usefully, when it was asked last. Never blocks."""
        return self._failed is not None

    def asked(self) -> Published:
        """What the provider publishes now, asked at once and by this thread.

        Raises `LightwellError`, which says what is wrong, for an administrator.
        """
        return self._ask()

    def published(self) -> Published:
        """What the provider publishes, not older than `FRESH_SECONDS`. Blocks.

        Raises `ProviderUnreachableError` if it cannot be fetched and was not within `STALE_SECONDS`.
        """
        found = self._published
        if found is not None and monotonic() - found.fetched < FRESH_SECONDS:
            return found
        try:
            return self._fetched()
        except ProviderUnreachableError:
            if found is not None and monotonic() - found.fetched < STALE_SECONDS:
                return found
            raise

    def published_since(self, seen: Published) -> Published:
        """The same for a token with a key that is not among those seen, since keys change. Blocks.

        Returns ``seen`` itself if it is so new that there is nothing to find. Raises
        `ProviderUnreachableError`.
        """
        found = self._published
        if found is not None and found.fetched > seen.fetched:
            return found
        return seen if monotonic() - seen.fetched < AGAIN_SECONDS else self._fetched()

    def _fetched(self) -> Published:
        with self._lock:
            if self._flight is not None and monotonic() - self._began >= _FETCH_SECONDS:
                # A provider that sends a byte now and then keeps its thread, but nobody else.
                self._failed, self._flight = (monotonic(), "its answer takes too long"), None
            if self._flight is None:
                if self._failed is not None and monotonic() - self._failed[0] < RETRY_SECONDS:
                    raise _unreachable(self.issuer)
                self._fetching = [thread for thread in self._fetching if thread.is_alive()]
                if len(self._fetching) >= _MOST_FETCHING:
                    raise _unreachable(self.issuer)
                self._flight, self._began = Future(), monotonic()
                thread = threading.Thread(
                    target=self._fetch, args=(self._flight,), name="openid-provider", daemon=True
                )
                self._fetching.append(thread)
                thread.start()
            flight = self._flight
        try:
            return flight.result(WAIT_SECONDS)
        except (_Fault, LateError):
            raise _unreachable(self.issuer) from None

    def _fetch(self, flight: Future[Published]) -> None:
        try:
            found = self._ask()
        except Exception as error:
            reason = str(error) if isinstance(error, _Fault) else f"{type(error).__name__}: {error}"
            event(log, logging.WARNING, "OpenID provider not usable", issuer=self.issuer, reason=reason[:500])
            with self._lock:
                if self._flight is flight:
                    self._failed, self._flight = (monotonic(), reason), None
            flight.set_exception(_Fault(reason))
            return
        with self._lock:
            if self._published is None or self._published.fetched < found.fetched:
                self._published = found
            if self._flight is flight:
                self._failed, self._flight = None, None
        flight.set_result(found)

    def _ask(self) -> Published:
        fetched, opener = monotonic(), _opener(self._ca)
        address = self.issuer.rstrip("/") + WELL_KNOWN
        try:
            metadata = _METADATA.decode(_get(opener, address))
        except (ValueError, RecursionError) as error:
            raise _Fault(f"{address} is no discovery document: {error}") from None
        if metadata.issuer != self.issuer:
            # Discovery §4.3: it must be identical, or one provider could speak for another.
            raise _Fault(f"{address} is about {metadata.issuer!r:.200}, not about {self.issuer}")
        for url in (metadata.jwks_uri, metadata.authorization_endpoint, metadata.token_endpoint):
            if url is not None and not _is_usable(url, self.issuer):
                raise _Fault(f"its discovery document names {url!r:.200}, which is not https://…")
        end_session = metadata.end_session_endpoint
        if end_session is not None and not _is_usable(end_session, self.issuer):
            # Nobody has to go there.
            metadata = msgspec.structs.replace(metadata, end_session_endpoint=None)
        keys = _keys(_get(opener, metadata.jwks_uri))
        if not keys:
            raise _Fault(f"{metadata.jwks_uri} has no key that can be used")
        return Published(metadata, keys, fetched)


def origin(url: str) -> str:
    """``https://HOST[:PORT]`` of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _unreachable(issuer: str) -> ProviderUnreachableError:
    return ProviderUnreachableError(
        f"The identity provider {issuer} could not be reached to verify the token. Try again in a moment; "
        "the server's log says what happened."
    )


def _is_usable(url: str, issuer: str) -> bool:
    """Whether a browser may be sent there; the origin is named in the console's Content-Security-Policy."""
    try:
        parts = urlsplit(url)
        is_safe = parts.scheme == "https" or (
            parts.scheme == "http" and is_loopback(url) and is_loopback(issuer)
        )
        return is_safe and _HOST.fullmatch(parts.netloc) is not None and url.isprintable()
    except ValueError:
        return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


def _opener(ca: Path | None) -> urllib.request.OpenerDirector:
    try:
        context = ssl.create_default_context()
        if ca is not None:
            context.load_verify_locations(cafile=ca)
    except OSError as error:
        raise _Fault(f"the certificates in {ca} cannot be used: {error}") from None
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirects)


def _get(opener: urllib.request.OpenerDirector, address: str) -> bytes:
    request = urllib.request.Request(address, headers={"accept": "application/json"})  # noqa: S310 — checked
    try:
        with opener.open(request, timeout=_SOCKET_SECONDS) as answer:
            end, data = monotonic() + _BODY_SECONDS, b""
            while len(data) <= _LARGEST and (piece := answer.read1(1 << 16)):
                data += piece
                if monotonic() >= end:
                    raise _Fault(f"{address} takes longer than {_BODY_SECONDS:.0f} seconds to answer")
    except urllib.error.HTTPError as error:
        with error:
            where = f", to {error.headers.get('location')!r:.200}" if 300 <= error.code < 400 else ""
            raise _Fault(f"{address} answers {error.code}{where}") from None
    except OSError as error:
        raise _Fault(f"{address} cannot be read: {error}") from None
    if len(data) > _LARGEST:
        raise _Fault(f"{address} answers more than {_LARGEST} bytes")
    return data


def _keys(data: bytes) -> tuple[ProviderKey, ...]:
    try:
        given = _KEY_SET.decode(data).keys
    except (ValueError, RecursionError) as error:
        raise _Fault(f"its keys are not a JSON Web Key Set: {error}") from None
    found = []
    for each in given[:_MOST_KEYS]:
        if each.get("kty") not in _KINDS or each.get("use", "sig") != "sig":
            continue
        id, algorithm = each.get("kid"), each.get("alg")
        # One that cannot be used is left out rather than all the others with it.
        with suppress(JoseError, ValueError, TypeError, KeyError):
            found.append(
                ProviderKey(
                    id if isinstance(id, str) else None,
                    algorithm if isinstance(algorithm, str) else None,
                    JWKRegistry.import_key(each),
                )
            )
    return tuple(found)
