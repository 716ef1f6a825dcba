"""The audit trail of engines that were killed: each version of an image set once, and nothing owed."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import select

from lightwell.observe.audit.record import AuditRecord
from lightwell.observe.audit.search import Wanted, search
from lightwell.observe.audit.verification import verify
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.db import tables
from tests.support.imports import Importing


def owed(server: Importing) -> list[str]:
    """The ids of the debts of the trail."""
    with server.stores.db.read() as conn:
        return list(conn.execute(select(tables.audit_owed.c.id)).scalars())


def check(server: Importing) -> list[AuditRecord]:
    """Assert that each version and the end of each job is on record once; the records that came late."""
    folder = AuditFolder(server.settings.data, None)
    assert not [finding for report in verify(folder.root, folder.keys(), {}) for finding in report.findings]
    records = [found.record for found in search(folder.root, Wanted(), print)]
    image_set, version, job = tables.image_set.c, tables.version.c, tables.import_job.c
    with server.stores.db.read() as conn:
        versions = conn.execute(
            select(image_set.id, version.number).join(tables.version, version.image_set == image_set.key)
        )
        made = {(id, number) for id, number in versions}
        jobs = set(conn.execute(select(job.id).where(job.phase == "done")).scalars())
    told = [each for each in records if each.operation == "ImportIntoImageSet"]
    assert Counter((each.image_set, each.version) for each in told) == Counter(made)
    ended = [each.job for each in records if each.operation == "ImportJobEnded"]
    assert Counter(ended) == Counter(jobs)
    assert not owed(server)
    return [each for each in records if each.recovered]
