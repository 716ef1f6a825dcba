"""A reverse proxy as commonly deployed: it adds the headers that nginx adds, and keeps Host."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.server import Server

# Those of one connection only (RFC 9110 §7.6.1), and what is framed anew.
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@contextmanager
def proxy(server: Server, tls: tuple[Path, Path] | None = None) -> Iterator[tuple[str, int]]:
    """The address of a proxy before ``server``; ``tls`` are its certificate and key."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.forward()

        def do_OPTIONS(self) -> None:
            self.forward()

        def forward(self) -> None:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            before = self.headers.get("X-Forwarded-For")
            own = self.client_address[0]
            headers["X-Forwarded-For"] = own if before is None else f"{before}, {own}"
            headers["X-Forwarded-Proto"] = "http" if tls is None else "https"
            connection = http.client.HTTPConnection(*server.address, timeout=60)
            connection.request(self.command, self.path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as front:
        front.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            front.socket = context.wrap_socket(front.socket, server_side=True)
        thread = threading.Thread(target=front.serve_forever)
        thread.start()
        try:
            yield "127.0.0.1", front.server_address[1]
        finally:
            front.shutdown()
            thread.join()
