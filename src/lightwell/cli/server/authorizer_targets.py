"""Authorizers that may not be called any more, since ``authorizer_hosts`` or a release has changed."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from lightwell.errors import ConfigurationError
from lightwell.observe.logs import event
from lightwell.settings import Settings
from lightwell.stores.account import authorizers
from lightwell.stores.account.authorizers import Authorizer
from lightwell.stores.db.database import Database

log = logging.getLogger(__name__)


def warn_of_targets(settings: Settings, db: Database) -> None:
    """Tell the log, at the start of a server, which authorizers it will not call."""
    with db.read() as conn:
        rows = authorizers.page(conn)
    for row, reason in forbidden_targets(settings, rows):
        event(log, logging.WARNING, "authorizer is never called", authorizer=row.arn, reason=reason)


def forbidden_targets(settings: Settings, rows: list[Authorizer]) -> Iterator[tuple[Authorizer, str]]:
    """Those that may not be called, and why."""
    if not rows:
        return
    # Loaded here: most servers have none.
    from lightwell.auth.lambda_authorizer import parse_target
    from lightwell.web.authorizers.target_hosts import check_target

    for row in rows:
        try:
            check_target(settings.authorizer_hosts, parse_target(row.target))
        except ConfigurationError as error:
            yield row, str(error)
