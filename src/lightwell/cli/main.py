"""``lightwell``: find the verb, load its module, turn what goes wrong into a sentence and an exit code.

Exit codes: 0 done, 1 the work failed, 2 wrong usage or a wrong setting.
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from lightwell import __version__
from lightwell.errors import ConfigurationError, LightwellError

# A verb is a module with `add(parser)` and `run(args) -> exit code`, imported only when it is called.
VERBS: dict[str, tuple[str, str]] = {
    "serve": ("lightwell.cli.serve", "run the server: HTTP and background work in one process tree"),
    "import": ("lightwell.cli.importing", "import files, folders, zip files, a DICOMDIR or s3:// URIs"),
    "export": ("lightwell.cli.export", "write DICOM Part 10 files out again"),
    "sets": ("lightwell.cli.sets", "show what changed between two versions of an image set"),
    "demo": ("lightwell.cli.demo", "start the server and import sample studies"),
    "data": ("lightwell.cli.data", "verify what is kept, migrate the database"),
    "doctor": ("lightwell.cli.doctor", "check this machine and the data folder, a line each"),
    "env": ("lightwell.cli.environment", "print the exports that point AWS clients at this server"),
    "key": ("lightwell.cli.key", "create, list and revoke access keys"),
    "authorizer": ("lightwell.cli.authorizer", "say what stands for the Lambda authorizers of data stores"),
    "role": ("lightwell.cli.role", "make, list and delete roles"),
    "policy": ("lightwell.cli.policy", "explain what a key or a role may do"),
    "config": ("lightwell.cli.config", "show the settings and where each came from"),
}

# What to do about a file that cannot be used.
_ADVICE = {
    errno.EACCES: "run this as its owner, or check its owner and mode",
    errno.EPERM: "run this as its owner, or check its owner and mode",
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "make room within the quota",
    errno.EROFS: "its disk is read-only",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; answers the exit code."""
    # Patients' data are for this user alone, in all that is made here and in the processes that are started.
    before = os.umask(0o077)
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    finally:
        os.umask(before)


def _run(arguments: list[str]) -> int:
    # For every verb and action alike, wherever it stands.
    verbose = "--verbose" in arguments
    arguments = [word for word in arguments if word != "--verbose"]
    try:
        args = _parse(arguments)
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except LightwellError as error:
        if verbose:
            traceback.print_exc()
        print(f"lightwell: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has had enough; keep the interpreter from complaining when it flushes.
        sys.stdout = None
        return 1
    except OSError as error:
        if verbose:
            traceback.print_exc()
        if error.filename is None:
            return _unexpected(error, verbose=verbose)
        advice = _ADVICE.get(error.errno or 0, "check the path")
        print(f"lightwell: {error.filename}: {error.strerror}; {advice}", file=sys.stderr)
        return 1
    except Exception as error:
        if verbose:
            traceback.print_exc()
        return _unexpected(error, verbose=verbose)


def _unexpected(error: Exception, *, verbose: bool) -> int:
    hint = "" if verbose else "; --verbose shows where"
    print(f"lightwell: unexpected {type(error).__name__}: {error}{hint}", file=sys.stderr)
    return 1


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="lightwell",
        description="The open, self-hosted medical image store that speaks the AWS HealthImaging API.",
        epilog="`lightwell VERB --help` tells more of one verb.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"lightwell {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    called = next((word for word in arguments if not word.startswith("-")), None)
    for name, (module, text) in VERBS.items():
        verb = verbs.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
        )
        if name == called:
            # Imports make no garbage, and looking for it takes a fifth of their time.
            gc.disable()
            loaded = importlib.import_module(module)
            gc.enable()
            loaded.add(verb)
            verb.add_argument("--verbose", action="store_true", help="show stack traces")
            verb.set_defaults(run=loaded.run)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
