"""The page at ``/`` for people who open the server's address in a browser before the console is built.

It shows nothing stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightwell import __version__
from lightwell.web.requests.responses import Response

if TYPE_CHECKING:
    from lightwell.web.requests.request import Request

_POLICY = (
    b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)
_VIEWER = (
    '<li><a href="/ohif/">OHIF</a>, the viewer. It asks for a link that '
    "<code>lightwell token --datastore NAME --link</code> prints.</li>"
)
_NO_VIEWER = (
    "<li>A viewer: <code>lightwell serve --ohif DIST</code> serves OHIF here; "
    "<code>docs/howto/ohif.md</code> says how.</li>"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>lightwell</title>
<style>
:root { color-scheme: light dark }
body { font: 17px/1.6 system-ui, sans-serif; max-width: 40em; margin: 12vh auto; padding: 0 1.5em }
h1 { margin-bottom: 0; letter-spacing: -0.02em }
h2 { font-size: 1em; margin: 2em 0 0.4em }
ul { margin: 0; padding-left: 1.2em }
li { margin: 0.3em 0 }
code { font-size: 0.9em }
.quiet { opacity: 0.7; margin-top: 0 }
</style>
</head>
<body>
<h1>lightwell</h1>
<p class="quiet">version {version}</p>
<p>This is a medical image store. It speaks the API of AWS HealthImaging at this address, and DICOMweb below
<code>/datastore/ID</code>. Both need a signature or a token.</p>
<h2>For people</h2>
<ul>
{viewer}
<li>The documentation lies in the folder <code>docs</code> of the source; begin with
<code>docs/quickstart.md</code>; <code>lightwell</code> in a terminal lists the commands.</li>
<li>The web console has not been built here: <code>make console</code> in the folder of the source builds
it.</li>
</ul>
<h2>For programs</h2>
<ul>
<li><a href="/healthz">/healthz</a> and <a href="/readyz">/readyz</a>: is it alive, and ready?</li>
<li><a href="/metrics">/metrics</a>: counters for Prometheus; <a href="/version">/version</a></li>
<li><code>eval "$(lightwell env)"</code> points AWS's clients here.</li>
</ul>
</body>
</html>
"""


class WelcomePage:
    """The page of one process."""

    def __init__(self, *, has_viewer: bool) -> None:
        viewer = _VIEWER if has_viewer else _NO_VIEWER
        self._body = _PAGE.replace("{version}", __version__).replace("{viewer}", viewer).encode()

    def respond(self) -> Response:
        return Response(
            200,
            [
                (b"content-type", b"text/html; charset=utf-8"),
                (b"content-length", b"%d" % len(self._body)),
                (b"content-security-policy", _POLICY),
                (b"referrer-policy", b"no-referrer"),
                (b"vary", b"accept, authorization"),
            ],
            self._body,
        )


def is_for_people(request: Request) -> bool:
    """Whether this is somebody who looks at ``/``: no API has an unsigned GET of it that takes HTML."""
    if request.path != b"/" or request.method not in ("GET", "HEAD") or request.query:
        return False
    if b"authorization" in request.head:
        return False
    accepted = request.head.get(b"accept", b"*/*").lower()
    return b"text/html" in accepted or (b"*/*" in accepted and b"json" not in accepted)
