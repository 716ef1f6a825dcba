"""Links that sign a person in to the console once: made, and opened in a browser."""

from __future__ import annotations

import html
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from lightwell.clock import Clock
from lightwell.settings import Settings

FILE = "console.html"
MINUTES = 10

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={link}"><title>lightwell</title></head>
<body><p><a href="{link}">Open the console of lightwell</a></p></body></html>
"""


def console_link(settings: Settings, url: str) -> str:
    """What opens the console of the server at ``url``, signed in as its administrator.

    The token is in the fragment, which browsers do not send, so that no server or proxy logs it. Whoever can
    read the secret key can make one. Raises `ConfigurationError` where it cannot be read.
    """
    from lightwell.auth.key_sessions import ConsoleLinks
    from lightwell.auth.secret_box import open_secret_box

    secret_box = open_secret_box(settings.read_secret_key(), settings.data)
    token = ConsoleLinks(secret_box).make(Clock().now())
    return f"{(settings.public_url or url).rstrip('/')}/console/#link={token}"


def recorded_link(settings: Settings, url: str, verb: str) -> str:
    """`console_link`, on record first, as made by a command whose own work leaves no record of it.

    Raises `LightwellError` where it cannot be recorded.
    """
    from lightwell.cli.command_trail import keep
    from lightwell.observe.audit.record import AuditRecord

    made = AuditRecord(at=Clock().now(), operation="console", kind="access", query={"by": verb})
    keep(settings, [made])
    return console_link(settings, url)


def open_in_browser(settings: Settings, link: str) -> bool:
    """Open the link in the person's browser; False where there is none, or only one for terminals.

    The browser is told a file that leads to the link: other users of the machine can read command lines.
    """
    import webbrowser

    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    if type(browser) is webbrowser.GenericBrowser:
        return False
    path = settings.data.absolute() / FILE
    try:
        _write(path, _PAGE.format(link=html.escape(link)))
        subprocess.Popen(
            [sys.executable, "-m", "webbrowser", path.as_uri()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    return True


def forget(settings: Settings) -> None:
    """Remove the file that a browser was told."""
    with suppress(OSError):
        (settings.data / FILE).unlink()


def _write(path: Path, text: str) -> None:
    """Put a file that only this user can read, whatever was there before."""
    handle, name = tempfile.mkstemp(prefix=".console", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
