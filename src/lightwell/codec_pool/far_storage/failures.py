"""Errors of the engine as a codec worker is told of them."""

from __future__ import annotations

import logging

from lightwell.codec_pool.far_storage.messages import Failure
from lightwell.errors import InputError, StorageError, StorageUnavailableError
from lightwell.stores.objects.interface import MissingObjectError

log = logging.getLogger(__name__)


def failure_of(error: Exception, where: str) -> Failure:
    """The error as a worker is told of it; our faults are logged."""
    if isinstance(error, MissingObjectError):
        return Failure("missing", str(error))
    if isinstance(error, StorageUnavailableError):
        return Failure("unavailable", str(error))
    if isinstance(error, StorageError):
        return Failure("storage", str(error))
    if isinstance(error, InputError):
        return Failure("input", str(error))
    log.error("%s could not be used for a codec worker", where, exc_info=error)
    return Failure("storage", f"A fault in lightwell ({type(error).__name__}).")
