"""``lightwell ohif install``: puts OHIF where `serve` finds it, below ``/ohif/`` beside the console."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from lightwell.cli import flags
from lightwell.errors import ConfigurationError

_PLACES = ("data", "allow_other_user", "ohif")


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    install = actions.add_parser(
        "install",
        help="fetch the viewer OHIF by npm, or take it from a file or folder; `serve` shows it at /ohif/",
        allow_abbrev=False,
    )
    install.add_argument(
        "source",
        metavar="SOURCE",
        type=Path,
        nargs="?",
        help="what `npm pack @ohif/app` downloaded, or a folder of an unpacked build; fetched if not given",
    )
    flags.add(install, _PLACES)


def run(args: argparse.Namespace) -> int:
    from lightwell.cli.running_server import check_folder
    from lightwell.cli.server import ohif_package
    from lightwell.cli.store_session import check_owner
    from lightwell.cli.wording import counted

    settings = flags.settings(args)
    check_folder(settings)
    check_owner(settings)
    source: Path | None = args.source
    if source is not None and not source.exists():
        raise ConfigurationError(f"There is no {source}")
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = settings.ohif_folder
    with tempfile.TemporaryDirectory(prefix="lightwell-ohif-") as folder:
        if source is None:
            print(f"fetching {ohif_package.PACKAGE} {ohif_package.VERSION} with npm, about 50 MB", flush=True)
            source = ohif_package.fetch(Path(folder))
        count = ohif_package.put(source, target)
    print(
        f"OHIF is in {target}, {counted(count, 'file')}: `lightwell serve` shows it at /ohif/, and the "
        "console opens studies in it"
    )
    return 0
