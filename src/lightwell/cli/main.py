"""``lightwell``: find the verb, load its module, turn any error into a message and an exit code.

Exit codes: 0 done, 1 the work failed, 2 wrong usage or an invalid setting.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Container, Sequence

from lightwell import __version__
from lightwell.cli import called
from lightwell.cli.command_line import CommandParser
from lightwell.errors import ConfigurationError, LightwellError

# A verb is a module with `add(parser)` and `run(args) -> exit code`, imported only if it is the verb called.
VERBS: dict[str, tuple[str, str]] = {
    "serve": ("lightwell.cli.server.serve", "run the server: HTTP and background work in one process tree"),
    "worker": (
        "lightwell.cli.server.worker",
        "work on imports and other background tasks, without HTTP, beside servers on PostgreSQL",
    ),
    "wait": ("lightwell.cli.server.wait", "wait until the server of a data folder is ready"),
    "import": (
        "lightwell.cli.contents.importing",
        "import files, folders, zip files, DICOMDIRs or s3:// URIs",
    ),
    "export": ("lightwell.cli.contents.export", "export image sets as DICOM Part 10 files"),
    "datastore": (
        "lightwell.cli.contents.datastore",
        "list, create and delete data stores, and measure them",
    ),
    "sets": ("lightwell.cli.contents.sets", "list, show, compare and delete image sets"),
    "jobs": ("lightwell.cli.contents.jobs", "list, show and cancel import jobs"),
    "queue": (
        "lightwell.cli.contents.queue",
        "show what import jobs wait for, who works on what, and what was given up",
    ),
    "erase": ("lightwell.cli.contents.erase", "erase all that is stored of a patient or a study"),
    "demo": ("lightwell.cli.server.demo", "start the server and import sample studies"),
    "data": (
        "lightwell.cli.contents.data",
        "verify, move, back up and restore stored data, or migrate the database",
    ),
    "doctor": ("lightwell.cli.doctor", "check this machine, the settings and the data folder"),
    "env": ("lightwell.cli.environment", "print export lines that point AWS clients at this server"),
    "key": ("lightwell.cli.access.key", "create, list, change, disable and revoke access keys"),
    "ohif": ("lightwell.cli.server.ohif", "install the viewer OHIF, to be served beside the console"),
    "console": ("lightwell.cli.access.console", "print a link that signs you in to the console, once"),
    "token": ("lightwell.cli.access.token", "print a token that lets a viewer into a data store"),
    "authorizer": (
        "lightwell.cli.access.authorizer",
        "set what stands in for a data store's Lambda authorizer",
    ),
    "role": ("lightwell.cli.access.role", "create or replace, list and delete roles"),
    "iam": ("lightwell.cli.access.iam", "find keys and roles that somebody should look at"),
    "policy": ("lightwell.cli.access.policy", "explain what a key or a role may do"),
    "audit": (
        "lightwell.cli.access.audit",
        "say who saw or changed what, and whether the audit trail is what was written",
    ),
    "completion": ("lightwell.cli.completion", "print a script that makes a shell complete commands"),
    "config": ("lightwell.cli.config", "show each setting and where it came from"),
}

_EXAMPLES = """\
examples:
  lightwell demo                          a server with sample studies, to look around
  lightwell serve                         a server on the data folder ./lightwell-data
  lightwell import ~/dicom                import everything in a folder
  lightwell sets list --patient PAT1      what is stored of a patient
  lightwell doctor                        check this machine and the settings

Run `lightwell VERB --help` for more about a verb.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit code."""
    # Patient data is for this user alone, in every file created here and by the processes started from here.
    before = os.umask(0o077)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    finally:
        os.umask(before)


def _run(arguments: list[str]) -> int:
    # Accepted for every verb and action, anywhere on the line.
    verbose = "--verbose" in arguments
    arguments = [word for word in arguments if word != "--verbose"]
    try:
        args = _parse(arguments)
        verb = next((word for word in arguments if word in VERBS), "")
        called.commands[:] = [called.Called(verb, args)]
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except LightwellError as error:
        if verbose:
            traceback.print_exc()
        from lightwell.cli.wording import printable

        # Line by line: names in it may come from files, and must not control the terminal.
        text = "\n".join(printable(line) for line in str(error).split("\n"))
        print(f"lightwell: {text}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1
    except KeyboardInterrupt:
        print("lightwell: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of the output has gone; keep the interpreter from complaining when it flushes.
        sys.stdout = None
        return 1
    except Exception as error:
        if verbose:
            traceback.print_exc()
        print(f"lightwell: {_sentence(error, verbose=verbose)}", file=sys.stderr)
        return 1


def _sentence(error: Exception, *, verbose: bool) -> str:
    from lightwell.cli import file_advice

    if isinstance(error, OSError) and _is_of_output(error):
        sys.stdout = None  # as above
        return f"the output cannot be written: {file_advice.sentence(error)}"
    if isinstance(error, OSError) and (error.filename is not None or error.errno):
        return file_advice.sentence(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory: free some, or raise the limit of this process"
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        return (
            "an argument holds bytes that are not UTF-8: write it again, in a terminal whose locale is UTF-8"
        )
    hint = "" if verbose else "run it again with --verbose to see where, and "
    return f"this is a fault in lightwell: {type(error).__name__}: {error}; {hint}please report it"


def _is_of_output(error: OSError) -> bool:
    """Whether a command could not print: it is its own line that failed, and no file has a part in it."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return error.filename is None and "/lightwell/cli/" in frames[-1][0].f_code.co_filename


def _parse(arguments: list[str]) -> argparse.Namespace:
    called = next((word for word in arguments if not word.startswith("-")), None)
    parser = _parser([] if called is None else [called])
    if not arguments:
        parser.print_help()
        parser.exit(0)
    return parser.parse_args(arguments)


def whole_parser() -> CommandParser:
    """The parser with all verbs, which loads their modules."""
    return _parser(VERBS)


def _parser(loaded: Container[str]) -> CommandParser:
    """The parser with the arguments of the verbs in ``loaded``; of the others it knows only what they do."""
    parser = CommandParser(
        prog="lightwell",
        description="The open, self-hosted medical image store that speaks the AWS HealthImaging API.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"lightwell {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, (module, text) in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name in loaded:
            # Importing modules makes no garbage, and looking for it takes a fifth of the time.
            gc.disable()
            found = importlib.import_module(module)
            gc.enable()
            found.add(verb)
            for each in verb.everything_below():
                each.add_argument("--verbose", action="store_true", help="show stack traces")
            verb.set_defaults(run=found.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
