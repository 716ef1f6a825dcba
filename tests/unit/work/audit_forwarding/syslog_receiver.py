"""A receiver of syslog over TLS that is as strict as RFC 5425 §4.3 allows; run as a process, to be killed.

``python syslog_receiver.py PORT CERT KEY OUTPUT [CLIENT_CA]`` prints its port, and appends each message to
the file as a line of hexadecimal digits and a full stop, behind that of the connection it came by. A line
without its full stop is one that a process was killed in, or that another is writing.
"""

from __future__ import annotations

import re
import socket
import ssl
import sys
from pathlib import Path

_LENGTH = re.compile(rb"([1-9][0-9]{0,7}) ")


def main(port: str, cert: str, key: str, output: str, client_ca: str | None = None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    with socket.socket() as listener, Path(output).open("ab", buffering=0) as file:
        file.write(b"started\n" if not file.tell() else b"\nstarted\n")
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", int(port)))
        listener.listen()
        print(listener.getsockname()[1], flush=True)
        while True:
            plain, _ = listener.accept()
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    file.write(b"connected\n")
                    waiting = bytearray()
                    while data := connection.recv(4096):
                        waiting += data
                        while (frame := _frame(waiting)) is not None:
                            file.write(frame.hex().encode() + b".\n")
                    # The end of TLS; without it nobody believes that anything was read.
                    connection.unwrap()
                    file.write(b"torn\n" if waiting else b"ended\n")
            except OSError as error:
                file.write(f"failed {error}\n".encode())


def _frame(waiting: bytearray) -> bytes | None:
    """Take the first message, if it is whole."""
    match = _LENGTH.match(waiting)
    if match is None:
        if len(waiting) > 9:
            raise OSError(f"no length: {bytes(waiting[:20])!r}")
        return None
    end = match.end() + int(match[1])
    if len(waiting) < end:
        return None
    frame = bytes(waiting[match.end() : end])
    del waiting[:end]
    return frame


if __name__ == "__main__":
    main(*sys.argv[1:])
