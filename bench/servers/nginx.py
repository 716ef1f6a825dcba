"""Debian's nginx serving files: what the machine gives without authentication, look-ups or Python."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from bench.servers.process_tree import ProcessTree
from bench.workspace import free_port, new_folder

_CONFIGURATION = """
{user}worker_processes 2;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off; server_tokens off; etag off;
  sendfile on; sendfile_max_chunk 2m; tcp_nopush on; tcp_nodelay on;
  keepalive_timeout 300; keepalive_requests 1000000000;
  open_file_cache max=20000 inactive=600s; open_file_cache_valid 600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  types {{ }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    root {root};
    location /frames/ {{ default_type image/jph; }}
    location /metadata/ {{ default_type application/json; add_header Content-Encoding gzip; }}
  }}
}}
"""


def missing() -> str | None:
    """Why nginx cannot take part, None if it can."""
    return None if _program() else "nginx is not installed (Debian: nginx-light)"


def _wait_for(tree: ProcessTree, address: tuple[str, int]) -> None:
    for _ in tree.wait_for("open port", 10):
        with socket.socket() as probe:
            if probe.connect_ex(address) == 0:
                break


def _program() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Nginx:
    """Two workers, sendfile, open_file_cache. Put files into ``root``/frames and ``root``/metadata."""

    def __init__(self) -> None:
        program = _program()
        if program is None:
            raise FileNotFoundError(missing())
        self._folder = new_folder("nginx")
        self._folder.chmod(0o755)
        self.root = self._folder / "root"
        for name in ("frames", "metadata"):
            (self.root / name).mkdir(parents=True)
        self.address = ("127.0.0.1", free_port())
        configuration = self._folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                user="user root;\n" if os.getuid() == 0 else "",
                folder=self._folder,
                root=self.root,
                port=self.address[1],
            )
        )
        self.tree = ProcessTree(
            "nginx",
            [
                program,
                "-p",
                str(self._folder),
                "-e",
                str(self._folder / "error.log"),
                "-c",
                str(configuration),
            ],
            log=self._folder / "output.log",
        )
        _wait_for(self.tree, self.address)

    def get(self, path: str) -> bytes:
        """The bytes of a GET request of ``path``."""
        host, port = self.address
        return f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\n\r\n".encode()

    def put(self, path: str, data: bytes) -> Path:
        """Makes ``data`` what GET of ``path`` returns."""
        file = self.root / path.lstrip("/")
        file.write_bytes(data)
        return file

    def stop(self) -> None:
        self.tree.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


_PROXY = """
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_timeout 300; keepalive_requests 1000000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream servers {{ {servers} keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    merge_slashes off;
    location / {{
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_buffer_size 16k;
      proxy_buffers 8 256k;
      proxy_busy_buffers_size 512k;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
"""


class Proxy:
    """nginx before several servers, one after the other, as docs/howto/scale-out.md has it, without TLS."""

    def __init__(self, servers: Sequence[tuple[str, int]]) -> None:
        program = _program()
        if program is None:
            raise FileNotFoundError(missing())
        self._folder = new_folder("proxy")
        self._folder.chmod(0o755)
        self.address = ("127.0.0.1", free_port())
        configuration = self._folder / "nginx.conf"
        configuration.write_text(
            _PROXY.format(
                user="user root;\n" if os.getuid() == 0 else "",
                folder=self._folder,
                port=self.address[1],
                servers=" ".join(f"server {host}:{port};" for host, port in servers),
            )
        )
        error_log = self._folder / "error.log"
        self.tree = ProcessTree(
            "proxy",
            [program, "-p", str(self._folder), "-e", str(error_log), "-c", str(configuration)],
            log=self._folder / "output.log",
        )
        _wait_for(self.tree, self.address)

    def stop(self) -> None:
        self.tree.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
