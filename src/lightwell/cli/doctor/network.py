"""The doctor's checks of what clients connect to: the TLS certificate and the port."""

from __future__ import annotations

import fcntl
import http.client
import socket
import ssl
import time

from lightwell.cli.doctor.warning import DoctorWarning
from lightwell.cli.server.network_exposure import check_exposure, listen_addresses
from lightwell.errors import LightwellError
from lightwell.settings import Settings

_EXPIRES_SOON_MS = 14 * 86_400_000


def tls(settings: Settings) -> str:
    from lightwell.auth import certificate

    if settings.tls_cert is None or settings.tls_key is None:
        return "no certificate is configured"
    certificate.load(settings.tls_cert, settings.tls_key)
    validity, now = certificate.validity(settings.tls_cert), time.time_ns() // 1_000_000
    if fault := validity.fault(now):
        raise LightwellError(f"the certificate in {settings.tls_cert} {fault}")
    if validity.fault(now + _EXPIRES_SOON_MS):
        raise DoctorWarning(
            f"the certificate in {settings.tls_cert} expires soon, on {validity.until()}: renew it"
        )
    return f"{settings.tls_cert} matches its key and is valid until {validity.until()}"


def port(settings: Settings) -> str:
    check_exposure(settings, listen_addresses(settings))
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "") else settings.host  # noqa: S104
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(2)
        if settings.port == 0 or probe.connect_ex((host, settings.port)):
            return f"{host}:{settings.port} is free for `lightwell serve`"
    connection: http.client.HTTPConnection
    if settings.tls_cert:
        context = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(host, settings.port, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection(host, settings.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise LightwellError(
            f"the program listening on {host}:{settings.port} does not speak HTTP: {error}"
        ) from None
    finally:
        connection.close()
    if response.getheader("x-amzn-RequestId") is None:
        raise LightwellError(f"another program is listening on {host}:{settings.port}: choose another port")
    if response.status != 200:
        raise LightwellError(
            f"lightwell on {host}:{settings.port} is not ready: {body}; see its log for the reason"
        )
    if not _is_served(settings):
        raise DoctorWarning(
            f"lightwell on {host}:{settings.port} is ready, but does not serve {settings.data.absolute()}: "
            "check --data and --port"
        )
    return f"lightwell is running and ready on {host}:{settings.port}"


def _is_served(settings: Settings) -> bool:
    """Whether a server has locked the data folder; True if that cannot be determined."""
    from lightwell.cli.server.serve import LOCK

    try:
        with (settings.data / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
