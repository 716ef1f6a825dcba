"""The doctor's checks of what clients connect to: the TLS certificate and the port."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from urllib.parse import SplitResult, urlsplit

from lightwell.cli.doctor.warning import DoctorWarning
from lightwell.cli.running_server import (
    RunningServer,
    find,
    is_another_database,
    local_url,
    other_database,
)
from lightwell.cli.server.network_exposure import check_exposure, listen_addresses
from lightwell.cli.wording import counted
from lightwell.errors import LightwellError
from lightwell.settings import Settings

_EXPIRES_SOON_MS = 14 * 86_400_000


def tls(settings: Settings) -> str:
    from lightwell.auth import certificate
    from lightwell.web.http1.tls import offered, tls_files

    files = tls_files(settings)
    if files is None or settings.tls_cert is None:
        return "no certificate is configured"
    offers = offered(files)
    validity, now = certificate.validity(settings.tls_cert), time.time_ns() // 1_000_000
    if fault := validity.fault(now):
        raise LightwellError(f"the certificate in {settings.tls_cert} {fault}")
    if validity.fault(now + _EXPIRES_SOON_MS):
        raise DoctorWarning(
            f"the certificate in {settings.tls_cert} expires soon, on {validity.until()}: renew it"
        )
    return f"{settings.tls_cert} matches its key and is valid until {validity.until()}; offered is {offers}"


def sign_in(settings: Settings) -> str:
    """Whether people can sign in at the OpenID provider of the settings."""
    if settings.oidc_issuer is None:
        return "no identity provider is configured"
    from lightwell.auth.openid.provider import OpenIdProvider

    published = OpenIdProvider(settings.oidc_issuer, settings.oidc_ca).asked()
    if published.metadata.authorization_endpoint is None or published.metadata.token_endpoint is None:
        raise DoctorWarning(
            f"{settings.oidc_issuer} names no endpoints, so nobody can sign in to the console"
        )
    return f"{settings.oidc_issuer} answers, and publishes {counted(len(published.keys), 'key')}"


def port(settings: Settings) -> str:
    server = find(settings)
    if server is not None:
        return _running(settings, server)
    check_exposure(settings, listen_addresses(settings.host, settings.port))
    url = urlsplit(local_url(settings))
    host = url.hostname or ""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(2)
        if settings.port == 0 or probe.connect_ex((host, settings.port)):
            return f"{host}:{settings.port} is free for `lightwell serve`"
    _check_ready(settings, url)
    raise DoctorWarning(
        f"lightwell on {host}:{settings.port} is ready, but does not serve {settings.data.absolute()}: "
        "check --data and --port"
    )


def _running(settings: Settings, server: RunningServer) -> str:
    """What to say about the server that holds the data folder."""
    if is_another_database(server, settings):
        raise LightwellError(other_database(server, settings))
    if not server.is_here:
        raise DoctorWarning(f"{server} has this data folder in use; run `lightwell doctor` there")
    if not server.url:
        return f"{server} has this data folder in use"
    if not server.is_ready:
        raise DoctorWarning(f"{server} is starting or stopping: try again in a moment, or see its log")
    _check_ready(settings, urlsplit(server.local_url or server.url))
    return f"lightwell is running and ready at {server.url} (process {server.pid})"


def _check_ready(settings: Settings, url: SplitResult) -> None:
    """Raises `LightwellError` unless a lightwell server at ``url`` says that it is ready."""
    connection: http.client.HTTPConnection
    host, port, place = url.hostname or "", url.port, url.netloc
    if url.scheme == "https":
        context = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(host, port, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        if settings.tls_client_certs == "required":
            # The refusal of a client without one reaches it as an alert, or as the end of the connection.
            raise DoctorWarning(
                f"what listens on {place} requires client certificates: whether it is ready was not asked"
            ) from None
        raise LightwellError(f"the program listening on {place} does not speak HTTP: {error}") from None
    finally:
        connection.close()
    if response.getheader("x-amzn-RequestId") is None:
        raise LightwellError(f"another program is listening on {place}: choose another port")
    if response.status != 200:
        raise LightwellError(f"lightwell on {place} is not ready: {body}; see its log for the reason")
