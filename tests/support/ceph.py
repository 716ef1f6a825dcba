"""Ceph's RADOS Gateway, the S3 server of Debian's packages, as small as it can be: one of each daemon."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.support.services import S3, Unavailable, boto3_client, free_ports

_PROGRAMS = (
    "ceph",
    "ceph-authtool",
    "ceph-mon",
    "ceph-mgr",
    "ceph-osd",
    "monmaptool",
    "radosgw",
    "radosgw-admin",
)
_SECONDS = 120.0
_OSD_BYTES = 8 << 30  # a sparse file


@contextlib.contextmanager
def rados_gateway(folder: Path) -> Iterator[S3]:
    """A cluster of its own in ``folder``, with an S3 gateway on loopback; it has no buckets yet.

    Raises `Unavailable` without Debian's ceph-mon, ceph-osd, ceph-mgr, radosgw and ceph-common.
    """
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise Unavailable(
            f"no {', '.join(missing)}: apt-get install --no-install-recommends ceph-mon ceph-osd ceph-mgr "
            "radosgw ceph-common"
        )
    with contextlib.ExitStack() as stack:
        yield _Cluster(folder, stack).start()


class _Cluster:
    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._conf = folder / "ceph.conf"
        self._keys = folder / "keys"

    def start(self) -> S3:
        monitor, port = free_ports(2)
        identity = uuid.uuid4()
        classes = next(Path("/usr/lib").glob("*/rados-classes"), Path("/usr/lib/rados-classes"))
        self._conf.write_text(f"""[global]
fsid = {identity}
mon_host = v2:127.0.0.1:{monitor}
mon_initial_members = a
keyring = {self._keys}
run_dir = {self._folder}
admin_socket = {self._folder}/$name.asok
pid_file = {self._folder}/$name.pid
log_file = {self._folder}/$name.log
osd_class_dir = {classes}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_crush_chooseleaf_type = 0
osd_objectstore = bluestore
bluestore_block_size = {_OSD_BYTES}
bluestore_cache_autotune = false
osd_memory_target = 939524096
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
auth_allow_insecure_global_id_reclaim = false
[mon.a]
mon_data = {self._folder}/mon
[mgr.x]
mgr_data = {self._folder}/mgr
[osd.0]
osd_data = {self._folder}/osd
[client.rgw.a]
rgw_frontends = beast endpoint=127.0.0.1:{port}
""")
        for name, rights in {
            "mon.": ["mon", "allow *"],
            "client.admin": ["mon", "allow *", "mgr", "allow *", "osd", "allow *"],
            "mgr.x": ["mon", "allow profile mgr", "osd", "allow *"],
            "osd.0": ["mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *"],
            "client.rgw.a": ["mon", "allow rw", "mgr", "allow rw", "osd", "allow rwx"],
        }.items():
            caps = [
                part
                for kind, what in zip(rights[::2], rights[1::2], strict=True)
                for part in ("--cap", kind, what)
            ]
            make = [] if self._keys.exists() else ["--create-keyring"]
            self._run("ceph-authtool", *make, str(self._keys), "--gen-key", "-n", name, *caps)
        for name in ("mon", "mgr", "osd"):
            (self._folder / name).mkdir()
        map_ = str(self._folder / "monmap")
        self._run(
            "monmaptool",
            "--create",
            "--fsid",
            str(identity),
            "--addv",
            "a",
            f"[v2:127.0.0.1:{monitor}]",
            map_,
        )
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", map_, "--keyring", str(self._keys))
        self._daemon("ceph-mon", "-i", "a")
        self._until("-s")
        self._run("ceph", "auth", "import", "-i", str(self._keys))
        self._daemon("ceph-mgr", "-i", "x")
        osd = str(uuid.uuid4())
        self._run("ceph", "osd", "new", osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._daemon("ceph-osd", "-i", "0")
        self._until("osd", "pool", "create", "ready", "1")
        s3 = S3(f"http://127.0.0.1:{port}")
        keys = ["--access-key", s3.access_key_id, "--secret-key", s3.secret_access_key]
        self._run("radosgw-admin", "user", "create", "--uid=test", "--display-name=test", *keys)
        self._daemon("radosgw", "-n", "client.rgw.a")
        self._wait(lambda: _lists(s3), "the gateway answers")
        return s3

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [command[0], *self._at, *command[1:]],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()[-800:]}")

    @property
    def _at(self) -> list[str]:
        return ["-c", str(self._conf)]

    def _daemon(self, *command: str) -> None:
        program, *more = command
        log = (self._folder / f"{program}.out").open("wb")
        self._stack.callback(log.close)
        process = subprocess.Popen([program, *self._at, *more, "-f"], stdout=log, stderr=log)
        self._stack.callback(_end, process)

    def _until(self, *command: str) -> None:
        def answers() -> bool:
            try:
                return not subprocess.run(
                    ["ceph", *self._at, *command], capture_output=True, timeout=20, check=False
                ).returncode
            except subprocess.TimeoutExpired:
                return False

        self._wait(answers, f"ceph {' '.join(command)}")

    def _wait(self, done: object, what: str) -> None:
        assert callable(done)
        end = time.monotonic() + _SECONDS
        while not done():
            if time.monotonic() > end:
                raise Unavailable(f"Ceph did not get as far as: {what}")
            time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _lists(s3: S3) -> bool:
    client = boto3_client(s3)
    try:
        client.list_buckets()
    except Exception:
        return False
    finally:
        client.close()
    return True
