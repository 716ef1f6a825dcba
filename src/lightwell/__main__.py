"""``python -m lightwell``, and what the command ``lightwell`` starts with.

Ctrl-C is answered with one line from here on; until `lightwell.cli.main` has been imported, there is nothing
to undo.
"""

# Not `signal`, which takes ten milliseconds to import: until then Python itself answers, with a stack trace.
import _signal  # type: ignore[import-not-found]
import os
import sys


def _interrupt(number: int, frame: object) -> None:
    os.write(2, b"lightwell: interrupted\n")
    os._exit(128 + number)


def start() -> int:
    """Run the command line and return the exit code."""
    before = _signal.signal(_signal.SIGINT, _interrupt)
    from lightwell.cli.main import main

    _signal.signal(_signal.SIGINT, before)
    status = main()
    # Too late to change anything.
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    if status == 128 + _signal.SIGINT:
        # Python would end with the signal instead of this code if it interrupted the making of a class.
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(start())
