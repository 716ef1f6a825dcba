"""Syslog over TLS (RFC 5425), as DICOM PS3.15 A.6 and IHE's ATNA use it.

It has no acknowledgements: what was written to a connection may never be read. So a connection is used for a
while and then ended in order, which proves that the receiver has read all of it: it has seen our end of TLS,
and answers with its own (close_notify, RFC 8446 §6.1), which nobody on the way can forge. The end of the TCP
connection alone proves nothing, since whoever cuts it can acknowledge for the receiver.
"""

from __future__ import annotations

import array
import fcntl
import socket
import ssl
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from lightwell.observe.audit.forms.meaning import Place
from lightwell.observe.audit.forms.syslog import syslog_frames
from lightwell.observe.audit.record import AuditRecord
from lightwell.work.audit_forwarding.client_tls import client_tls
from lightwell.work.audit_forwarding.reachable import SECONDS, explained
from lightwell.work.audit_forwarding.target import DoubtfulError, ForwardingError, LeftOut

_SECONDS: Final = 20.0
_REFUSAL_SECONDS: Final = 0.5
_SETTING: Final = "audit_syslog"
_AT_ONCE: Final = 64 << 10


class SyslogTarget:
    """A receiver at a host and port. ``place`` says whose records they are; its writer is each chain's.

    ``believes_cut``: of a receiver that never sends close_notify, the end of the TCP connection without an
    error is taken for proof. Then somebody on the way can have records vanish.
    """

    name = "syslog"
    is_certain = False

    def __init__(
        self,
        host: str,
        port: int,
        place: Place,
        ca: Path | None = None,
        certificate: Path | None = None,
        *,
        believes_cut: bool = False,
    ) -> None:
        self._host, self._port = host, port
        self._place = place
        self._ca, self._certificate = ca, certificate
        self._believes_cut = believes_cut
        self._connection: ssl.SSLSocket | None = None

    def send(self, records: Sequence[AuditRecord], writer: str) -> Sequence[LeftOut]:
        connection = self._connection or self._connect()
        place = self._place._replace(writer=writer)
        waiting = bytearray()
        for record in records:
            waiting += syslog_frames(record, place)
            if len(waiting) >= _AT_ONCE:
                connection.sendall(waiting)
                waiting.clear()
        connection.sendall(waiting)
        return ()

    def confirm(self) -> None:
        """End the connection, and have the receiver show that it has read everything."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with connection:
            try:
                # Sends the end of TLS and waits for the receiver's own.
                plain = connection.unwrap()
            except ssl.SSLEOFError:
                if not self._believes_cut:
                    raise ForwardingError(
                        f"the connection to {self._host}:{self._port} ended without its close_notify, so "
                        "it is not certain that it has read everything: either somebody cuts connections, or "
                        "it never sends one (see audit_syslog_believe_cut)"
                    ) from None
                self._check_acknowledged(connection)
                return
            except TimeoutError:
                raise ForwardingError(
                    f"{self._host}:{self._port} does not end its connection, so it may not read it"
                ) from None
            with plain:
                plain.shutdown(socket.SHUT_WR)
                plain.settimeout(_SECONDS)
                while plain.recv(_AT_ONCE):
                    pass
                self._check_acknowledged(plain)

    def check(self) -> str:
        place = f"{self._host}:{self._port}"
        try:
            connection = self._connect(SECONDS)
        except (OSError, ForwardingError) as error:
            raise explained(error, place, _SETTING) from None
        self._connection = None
        with connection:
            version = connection.version()
            try:
                # With TLS 1.3 a receiver looks at the client's certificate when this side is done.
                connection.settimeout(_REFUSAL_SECONDS)
                with suppress(TimeoutError):
                    connection.recv(1)
                connection.settimeout(SECONDS)
                connection.unwrap().close()
            except ssl.SSLEOFError:
                if not self._believes_cut:
                    raise DoubtfulError(
                        f"{place} is reached by {version}, but ends connections without a close_notify: then "
                        "nothing shows that records have arrived, and they are sent again and again. Set the "
                        "receiver right, or see audit_syslog_believe_cut"
                    ) from None
            except TimeoutError:
                raise DoubtfulError(
                    f"{place} is reached by {version}, but does not end a connection within {SECONDS:.0f} "
                    "seconds, so it may not read what it is sent: look at its log"
                ) from None
            except OSError as error:
                raise explained(error, place, _SETTING) from None
        return f"syslog receiver {place} is reached by {version}, and its certificate is trusted"

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self, seconds: float | None = None) -> ssl.SSLSocket:
        # Files are read anew, since certificates are replaced.
        context = client_tls(self._ca, self._certificate)
        plain = socket.create_connection((self._host, self._port), timeout=seconds or _SECONDS)
        try:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._connection = context.wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise
        return self._connection

    def _check_acknowledged(self, connection: socket.socket) -> None:
        """That the other machine has all that was sent, and no error has come back."""
        left = array.array("i", [0])
        if sys.platform == "linux":
            # SIOCOUTQ, which has the same number: bytes that were not acknowledged.
            fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, left)
        if left[0] or connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise ForwardingError(f"{self._host}:{self._port} has ended before it read all that was sent")
