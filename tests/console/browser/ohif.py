"""A stand-in for a build of OHIF: it takes configuration and token as OHIF does, and asks DICOMweb.

The published package is 50 MB, and not to be had by whoever has no network; it was looked at by hand.
"""

from __future__ import annotations

from pathlib import Path

_INDEX = """<!doctype html><html><head><meta charset="utf-8"><title>starting</title>
<script src="/app-config.js"></script><script type="module" src="/assets/app.js"></script></head>
<body></body></html>
"""
_APP = """
const { config } = window
const { qidoRoot, wadoRoot } = config.dataSources[0].configuration
let authorization
const userAuthenticationService = {
  setServiceImplementation: ({ getAuthorizationHeader }) => (authorization = getAuthorizationHeader)
}
for (const { preRegistration } of config.extensions) {
  preRegistration({ servicesManager: { services: { userAuthenticationService } } })
}
const study = new URLSearchParams(location.search).get('StudyInstanceUIDs')
const get = (url, accept) => fetch(url, { headers: { ...authorization(), Accept: accept } })
const found = await get(`${qidoRoot}/studies/${study}/series`, 'application/dicom+json')
const series = (await found.json()).map((each) => each['0020000E'].Value[0]).sort()
const other = await get(`${qidoRoot.replace(/[^/]+$/, '0'.repeat(32))}/studies`, 'application/dicom+json')
document.body.textContent = JSON.stringify({ status: found.status, series, elsewhere: other.status })
document.title = 'shown'
"""


def write_stand_in(folder: Path) -> Path:
    """A folder that `lightwell ohif install` takes."""
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(_INDEX)
    (folder / "app-config.js").write_text("window.config = {}\n")
    (folder / "assets" / "app.js").write_text(_APP)
    return folder
