"""Settings: flags > environment > ``lightwell.toml`` > defaults, and the source of each value.

Each field of `Settings` is one setting, declared in ``setting_groups``. Its environment variable is
``LIGHTWELL_`` followed by the name in capitals; its key in ``lightwell.toml`` is the name itself. No other
module reads the environment.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from lightwell.errors import ConfigurationError
from lightwell.setting_checks import faults
from lightwell.setting_file import read_settings_file
from lightwell.setting_groups.declaration import GiB
from lightwell.setting_groups.encryption import EncryptionSettings
from lightwell.setting_urls import masked_url
from lightwell.setting_values import convert, split_list

PREFIX = "LIGHTWELL_"
FILE = "lightwell.toml"

# The limits that `LIGHTWELL_QUOTAS=aws` sets where there would be none. Source: devguide/endpoints-quotas.
AWS_QUOTAS: dict[str, int] = {
    "import_max_files": 5_000,
    "import_max_bytes": 10 * GiB,
    "import_max_file_bytes": 4 * GiB,
    "import_max_folders": 10_000,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(EncryptionSettings):
    """All effective settings. Sizes are bytes, times are seconds; 0 means no limit where the help says so."""

    sources: Mapping[str, str] = field(default_factory=dict, repr=False, metadata={"internal": True})
    file: Path | None = field(default=None, repr=False, metadata={"internal": True})
    """The absolute path of the file that was read; None if there is none."""

    # Derived locations -------------------------------------------------------------------------------------

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data.resolve() / 'lightwell.db'}"

    @property
    def storage(self) -> str:
        return self.storage_url or f"file://{self.data.resolve() / 'objects'}"

    @property
    def upload_bucket(self) -> str:
        """`console_bucket`, or else a name that is for a folder only: in S3 it may be a stranger's."""
        return self.console_bucket or "lightwell-console"

    def read_secret_key(self) -> str | None:
        """The secret key as text, by value or from its file; None where it is in the data folder.

        Raises `ConfigurationError` if the file cannot be read.
        """
        if self.secret_key_file is None:
            return self.secret_key
        try:
            with self.secret_key_file.open(encoding="ascii") as stream:
                return stream.read(4096)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise ConfigurationError(
                f"The file {self.secret_key_file} of secret_key_file cannot be read: {reason}; check "
                "the path, its owner and its mode"
            ) from None

    @property
    def storage_cache(self) -> Path:
        return self.storage_cache_dir or self.data / "cache"

    @property
    def buckets(self) -> Path:
        return self.buckets_dir or self.data / "buckets"

    @property
    def proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of ``trusted_proxies``."""
        return tuple(ip_network(text) for text in split_list(self.trusted_proxies))

    @property
    def oidc_clients(self) -> frozenset[str]:
        """The clients of the OpenID provider whose tokens are accepted."""
        return frozenset([*split_list(self.oidc_client_id), *split_list(self.oidc_audiences)])

    @property
    def authorizers(self) -> Path:
        return self.authorizers_dir or self.data / "authorizers"

    @property
    def ohif_folder(self) -> Path:
        return self.ohif or self.data / "ohif"

    @property
    def events(self) -> Path:
        return self.events_file or self.data / "events.ndjson"

    @property
    def cores(self) -> int:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @property
    def http_workers(self) -> int:
        return self.workers or self.cores

    @property
    def codec_processes(self) -> int:
        return self.codec_workers or self.cores


FIELDS = {f.name: f for f in dataclasses.fields(Settings) if not f.metadata.get("internal")}


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """The effective settings.

    ``flags`` holds the values given on the command line (None counts as absent), ``environ`` defaults to the
    environment of the process, ``file`` to ``lightwell.toml`` in the current folder, if there is one. Raises
    `ConfigurationError` naming the setting, its source and the expected value, or if anyone but this user and
    root can write to the file.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    path = file or Path(FILE)
    table = read_settings_file(path, required=file is not None)
    for key, raw in (table or {}).items():
        name = _known(key, f"{key} in {path}", str)
        values[name], sources[name] = _convert(name, raw, f"{path}"), f"{path.absolute()}"
    for variable, raw in environ.items():
        if not variable.startswith(PREFIX) or variable.startswith(f"{PREFIX}TEST_"):
            continue
        name = _known(variable.removeprefix(PREFIX).lower(), variable, lambda n: PREFIX + n.upper())
        if raw == "":
            continue
        values[name], sources[name] = _convert(name, raw, variable), variable
    for name, raw in (flags or {}).items():
        if raw is not None:
            flag = "--" + name.replace("_", "-")
            values[name], sources[name] = _convert(name, raw, flag), flag
    if values.get("quotas") == "aws":
        for name, limit in AWS_QUOTAS.items():
            if name not in values:
                values[name], sources[name] = limit, "quotas = aws"
    return _checked(Settings(**values, sources=sources, file=None if table is None else path.absolute()))


def function_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of an administrator's ``python:`` authorizer: without the server's keys and secrets."""
    environ = os.environ if environ is None else environ
    return {name: value for name, value in environ.items() if not name.startswith((PREFIX, "AWS_"))}


# What a program needs to start and to format its output; nothing that grants access to anything.
_PROGRAM = frozenset(("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"))
_PROGRAM_PREFIXES = ("LC_", "PYTHON")


def worker_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that reads untrusted bytes: no keys, no secrets."""
    environ = os.environ if environ is None else environ

    def may_have(name: str) -> bool:
        return name in _PROGRAM or name.startswith(_PROGRAM_PREFIXES)

    return {name: value for name, value in environ.items() if may_have(name)}


def masked(name: str, value: object) -> str:
    """``value`` for display: secrets, and passwords in URLs, are replaced by asterisks."""
    if value is None:
        return ""
    if FIELDS[name].metadata["secret"]:
        return "********"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return masked_url(text) if "://" in text else text


def _convert(name: str, raw: Any, where: str) -> Any:
    setting = FIELDS[name]
    return convert(name, raw, where, str(setting.type), setting.metadata["choices"])


def _known(name: str, where: str, spell: Any) -> str:
    if name in FIELDS:
        return name
    close = difflib.get_close_matches(name, FIELDS, n=1)
    hint = f"; did you mean {spell(close[0])}?" if close else "; `lightwell config show` lists the settings"
    raise ConfigurationError(f"unknown setting {where}{hint}")


def _checked(settings: Settings) -> Settings:
    for name, words in faults(settings):
        where = "" if name is None else f"{name} from {settings.sources.get(name, 'the defaults')} "
        raise ConfigurationError(where + words)
    return settings
